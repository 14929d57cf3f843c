// The normals of a field, a vector of Philox blocks at a time (field.cpp).
#pragma once
#include "cpu/simd/vector.h"
#include "msda/field/field.h"

namespace msda {
namespace {

// How many Philox blocks are made at a time.  A round is a chain of slow operations, so four chains
// run beside each other.
constexpr int32_t kBlocks = 4 * kLanes;

// field_words() of kGroups * kLanes blocks from `first` on: w[k][i] is word k of block first + i.
template <int32_t kGroups>
inline void field_words_of(uint32_t (*w)[kBlocks], const Field& f, uint32_t first) {
  Words c[kGroups][4];
#pragma GCC unroll 4
  for (int32_t g = 0; g < kGroups; ++g) {
    c[g][0] = Words{} + (first + g * kLanes);
    for (int32_t i = 0; i < kLanes; ++i) c[g][0][i] += i;
    c[g][1] = c[g][2] = Words{};
    c[g][3] = Words{} + (uint32_t{kDrawField} << 24);
  }
  uint32_t k0 = f.seed[0], k1 = f.seed[1];
#pragma GCC unroll 10
  for (int32_t round = 0; round < kPhiloxRounds; ++round) {
#pragma GCC unroll 4
    for (int32_t g = 0; g < kGroups; ++g) {
      const Product a = product(kPhiloxA, c[g][0]), b = product(kPhiloxB, c[g][2]);
      c[g][0] = b.high ^ c[g][1] ^ k0;
      c[g][1] = b.low;
      c[g][2] = a.high ^ c[g][3] ^ k1;
      c[g][3] = a.low;
    }
    k0 += kPhiloxKeyA;
    k1 += kPhiloxKeyB;
  }
#pragma GCC unroll 4
  for (int32_t g = 0; g < kGroups; ++g)
    for (int32_t k = 0; k < 4; ++k) __builtin_memcpy(w[k] + g * kLanes, &c[g][k], kVectorBytes);
}

// The normals of Philox blocks: each has one for an entry of even number (part 0) and one for an
// entry of odd number (part 1).  Where the next blocks are wanted too, they are made ahead, since
// many at a time cost less.
struct FieldNormals {
  static constexpr int32_t kRoom = 8 * kBlocks;
  uint32_t first = 0;  // number of the first block that is held
  int32_t count = 0;   // how many are held, in whole vectors
  alignas(64) float re[2][kRoom + kLanes], im[2][kRoom + kLanes];

  // Where the normals of `blocks` blocks from `from` on lie, kBlocks at most.  `ahead` says that
  // the blocks after them come next.
  int32_t place(const Field& f, uint32_t from, int32_t blocks, bool ahead) {
    if (from < first || from >= first + count) first = from, count = 0;
    int32_t at = static_cast<int32_t>(from - first);
    if (at + blocks <= count) return at;
    if (count + kBlocks > kRoom) {
      const int32_t passed = at / kLanes * kLanes;
      for (int32_t part = 0; part < 2; ++part) {
        __builtin_memmove(re[part], re[part] + passed, (count - passed) * sizeof(float));
        __builtin_memmove(im[part], im[part] + passed, (count - passed) * sizeof(float));
      }
      first += passed, count -= passed, at -= passed;
    }
    count += make(f, ahead ? kBlocks : at + blocks - count);
    return at;
  }

 private:
  // `flatten` inlines all of normals(), so that the loop is vectorised.
  __attribute__((flatten)) int32_t make(const Field& f, int32_t blocks) {
    alignas(64) uint32_t w[4][kBlocks];
    blocks <= kLanes       ? field_words_of<1>(w, f, first + count)
    : blocks <= 2 * kLanes ? field_words_of<2>(w, f, first + count)
                           : field_words_of<4>(w, f, first + count);
    const int32_t whole = (blocks + kLanes - 1) / kLanes * kLanes;
    for (int32_t part = 0; part < 2; ++part)
      for (int32_t i = 0; i < whole; ++i) {
        const Complex<float> n = normals(w[2 * part][i], w[2 * part + 1][i]);
        re[part][count + i] = n.re;
        im[part][count + i] = n.im;
      }
    return whole;
  }
};

}  // namespace
}  // namespace msda
