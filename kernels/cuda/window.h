// How a GPU thread reads neighbouring values of a sample into its registers.  Once loops are
// unrolled, the arrays here are indexed by constants only, so that they are registers.
#pragma once
#include "msda/blend.h"

namespace msda {

// Loads kWords words by the widest loads that they are a multiple of.  The address is one, too.
template <int32_t kWords>
MSDA_FN void load_words(uint32_t* words, const char* at) {
  constexpr int32_t kStep = kWords % 4 == 0 ? 4 : kWords % 2 == 0 ? 2 : 1;
#pragma unroll
  for (int32_t i = 0; i < kWords; i += kStep) {
    if constexpr (kStep == 4) {
      const Words16 w = load16(at + 4 * i);
#pragma unroll
      for (int32_t k = 0; k < 4; ++k) words[i + k] = w.word[k];
    } else if constexpr (kStep == 2) {
      load8(words + i, at + 4 * i);
    } else {
      words[i] = load4(at + 4 * i);
    }
  }
}

// The same of bytes at any address.  The words around them must be the sample's, too.
template <int32_t kWords>
MSDA_FN void load_skewed(uint32_t* words, const char* at, uint8_t) {
  const uint32_t skew = address_bits(at) & 3u;
  const char* first = at - skew;
  uint32_t raw[kWords + 1];
#pragma unroll
  for (int32_t i = 0; i <= kWords; ++i) raw[i] = load4(first + 4 * i);
#pragma unroll
  for (int32_t i = 0; i < kWords; ++i) words[i] = shift_out(raw[i], raw[i + 1], 8 * skew);
}

// The same of floats, which are aligned as floats are.
template <int32_t kWords>
MSDA_FN void load_skewed(uint32_t* words, const char* at, float) {
#pragma unroll
  for (int32_t i = 0; i < kWords; ++i) words[i] = load4(at + 4 * i);
}

// The same, from byte `start` of a sample of `size` bytes on, at the ends of the sample.  What lies
// outside it is not touched and reads as 0.
template <int32_t kWords>
MSDA_FN void load_at_end(uint32_t* words, const char* sample, int64_t size, int64_t start) {
#pragma unroll
  for (int32_t i = 0; i < kWords; ++i) words[i] = 0;
  const int64_t last = size - start < 4 * kWords ? size - start : 4 * kWords;
#pragma unroll 1
  for (int64_t k = last - 1; k >= 0; --k) {  // each byte pushes those after it into place
#pragma unroll
    for (int32_t i = kWords - 1; i > 0; --i) words[i] = words[i] << 8 | words[i - 1] >> 24;
    const int64_t at = start + k;
    words[0] = words[0] << 8 | (at >= 0 ? static_cast<unsigned char>(sample[at]) : 0u);
  }
}

// The word of four bytes of a window, by their numbers.
MSDA_FN uint32_t word_of(const uint32_t* words, int32_t a, int32_t b, int32_t c, int32_t d) {
  const uint32_t low = pick_bytes(words[a / 4], words[b / 4], a % 4 | (4 + b % 4) << 4);
  const uint32_t high = pick_bytes(words[c / 4], words[d / 4], c % 4 | (4 + d % 4) << 4);
  return pick_bytes(low, high, 0x5410);
}

// 2^23: from here to 2^24 the floats are the integers, and their low bits count from 0.  So one
// instruction makes 2^23 + b of a byte b, where a conversion takes several or a slow one, and the
// difference of two such floats is exactly that of the bytes.
constexpr float kTwo23 = 8388608.0f;

// 2^23 + byte `at` of a window.
MSDA_FN float above_two23(const uint32_t* words, int32_t at) {
  return float_of(pick_bytes(words[at / 4], bits_of(kTwo23), 0x7440u + at % 4));
}

// Value `at` of a window.
MSDA_FN float window_value(const uint32_t* words, int32_t at, uint8_t) {
  return above_two23(words, at) - kTwo23;
}
MSDA_FN float window_value(const uint32_t* words, int32_t at, float) { return float_of(words[at]); }

// mix_two() of value `at` of two windows.
MSDA_FN float window_mix(const uint32_t* own, const uint32_t* partner, int32_t at, float weight,
                         uint8_t) {
  const float a = above_two23(own, at), b = above_two23(partner, at);
  return fmaf(weight, a - b, b - kTwo23);
}
MSDA_FN float window_mix(const uint32_t* own, const uint32_t* partner, int32_t at, float weight,
                         float) {
  return mix_floats(float_of(own[at]), float_of(partner[at]), weight);
}

// mix_further() of byte `at` of two windows.
MSDA_FN float window_further(float mixed, const uint32_t* base, const uint32_t* next, int32_t at,
                             float weight) {
  return fmaf(weight, above_two23(next, at) - above_two23(base, at), mixed);
}

}  // namespace msda
