// Philox4x32-10: a pure function from (counter, key) to four random words, so that no state is
// kept, saved or shared.  Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
//
// How the project counts: key = seed; counter = (identity low, identity high, step,
// purpose << 24 | number).  The identity is (rank << 32 | slot), or the dataset index of a sample.
#pragma once
#include "msda/portable.h"

namespace msda {

struct Words4 {
  uint32_t v[4];
};

constexpr int32_t kPhiloxRounds = 10;
constexpr uint32_t kPhiloxA = 0xD2511F53u, kPhiloxB = 0xCD9E8D57u;
constexpr uint32_t kPhiloxKeyA = 0x9E3779B9u,
                   kPhiloxKeyB = 0xBB67AE85u;  // golden ratio, sqrt(3) - 1

MSDA_FN Words4 philox4x32(Words4 c, uint32_t k0, uint32_t k1) {
  for (int32_t round = 0; round < kPhiloxRounds; ++round) {
    uint32_t high_a, high_b;
    const uint32_t low_a = product(&high_a, kPhiloxA, c.v[0]);
    const uint32_t low_b = product(&high_b, kPhiloxB, c.v[2]);
    c = {{exclusive_or(high_b, c.v[1], k0), low_b, exclusive_or(high_a, c.v[3], k1), low_a}};
    k0 += kPhiloxKeyA;
    k1 += kPhiloxKeyB;
  }
  return c;
}

// What a draw is for: draws of different purposes never share a counter.
enum Purpose : uint32_t {
  kDrawLam = 1,
  kDrawPosition = 2,
  kDrawPartner = 3,
  kDrawProb = 4,
  kDrawChoice = 5,
  kDrawField = 6,
  kDrawSide = 7,
  kDrawRatio = 8,
  kDrawRounding = 9,
  kDrawBlocks = 10,  // of Puzzle Mix's masks
  // Those of loaders and of training steps, numbered from the greatest down
  // (dali_msda/loader_draws.py).
  kDrawPrior = 247,  // of Co-Mixup (cpu/comixup/part.h), as is the next
  kDrawStart = 248,
  kDrawStyle = 249,
  kDrawPaste = 250,
  kDrawDirection = 251,
  kDrawLayer = 252,
  kDrawOrder = 253,
  kDrawCrop = 254,
  kDrawFlip = 255,
};

// Number `index` of the 64-bit words of one (seed, identity, step, purpose).  A block holds two.
MSDA_FN uint64_t word64(uint64_t seed, uint64_t identity, uint32_t step, uint32_t purpose,
                        uint32_t index) {
  const Words4 counter = {{static_cast<uint32_t>(identity), static_cast<uint32_t>(identity >> 32),
                           step, (purpose << 24) | (index >> 1)}};
  const Words4 w =
      philox4x32(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const uint32_t half = (index & 1u) * 2;
  return (uint64_t{w.v[half]} << 32) | w.v[half + 1];
}

// Uniform in the open interval (0, 1): 52 bits, centred in their cell.  (53 would round up to 1.)
MSDA_FN double uniform(uint64_t word) { return (static_cast<double>(word >> 12) + 0.5) * 0x1p-52; }

// The same in float: 23 bits.  (24 would round up to 1.)
MSDA_FN float uniform_float(uint32_t word) {
  const float from_1_to_2 = float_of(0x3F800000u | (word >> 9));
  return from_1_to_2 - (1.0f - 0x1p-24f);  // exact
}

}  // namespace msda
