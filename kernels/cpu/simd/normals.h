// The normals of a field, a vector of Philox blocks at a time (field.cpp).
#pragma once
#include "cpu/simd/vector.h"
#include "msda/field/field.h"

namespace msda {
namespace {

// How many Philox blocks are made at a time.  A round is a chain of slow operations, so four chains
// run beside each other.
constexpr int32_t kBlocks = 4 * kLanes;

// field_words() of the kBlocks blocks that `blocks` names: w[k][i] is word k of block blocks[i].
inline void field_words_of(uint32_t (*w)[kBlocks], const uint32_t* blocks, const uint32_t* seed) {
  constexpr int32_t kGroups = kBlocks / kLanes;
  Words c[kGroups][4];
#pragma GCC unroll 4
  for (int32_t g = 0; g < kGroups; ++g) {
    __builtin_memcpy(&c[g][0], blocks + g * kLanes, kVectorBytes);
    c[g][1] = c[g][2] = Words{};
    c[g][3] = Words{} + (uint32_t{kDrawField} << 24);
  }
  uint32_t k0 = seed[0], k1 = seed[1];
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

// Makes the entries of kBlocks blocks: normals times amplitudes.  A block has two entries.
// `flatten` inlines all that makes normals, so that the loops are vectorised.  The logarithms have
// a loop of their own: a core looks only so far ahead, and finds more vectors that wait for nothing
// in a shorter one.
__attribute__((flatten)) inline void draw_blocks(float* re, float* im, const uint32_t* blocks,
                                                 const uint32_t* seed, const float* amplitude_re,
                                                 const float* amplitude_im) {
  alignas(64) uint32_t w[4][kBlocks];
  alignas(64) float logarithm[2][kBlocks], parts[2][2][kBlocks];
  field_words_of(w, blocks, seed);
  for (int32_t part = 0; part < 2; ++part)
    for (int32_t i = 0; i < kBlocks; ++i) logarithm[part][i] = log32(uniform_float(w[2 * part][i]));
  for (int32_t part = 0; part < 2; ++part)
    for (int32_t i = 0; i < kBlocks; ++i) {
      const Complex<float> n = normals_of(logarithm[part][i], w[2 * part + 1][i]);
      parts[0][part][i] = n.re;
      parts[1][part][i] = n.im;
    }
  for (int32_t i = 0; i < kBlocks; i += kLanes) {
    Floats real[2], imaginary[2];
    interleave(real, load(parts[0][0] + i), load(parts[0][1] + i));
    interleave(imaginary, load(parts[1][0] + i), load(parts[1][1] + i));
    for (int32_t k = 0; k < 2; ++k) {
      const int32_t at = 2 * i + k * kLanes;
      put(re + at, real[k] * load(amplitude_re + at), false);
      put(im + at, imaginary[k] * load(amplitude_im + at), false);
    }
  }
}

}  // namespace
}  // namespace msda
