// How a GPU thread reads and writes some values of a sample: 16 bytes at a time, by way of its
// registers.  Once loops are unrolled, the arrays here are indexed by constants only, so that they
// are registers.
#pragma once
#include "msda/blend.h"

namespace msda {

// Loads kWords words, from byte `start` of a sample of `size` bytes on.  What lies outside the
// sample is not touched and reads as 0.
template <int32_t kWords>
MSDA_FN void load_bytes(uint32_t* words, const char* sample, int64_t size, int64_t start) {
#pragma unroll
  for (int32_t i = 0; i < kWords; ++i) words[i] = 0;
  const int64_t last = size - start < 4 * kWords ? size - start : 4 * kWords;
  for (int64_t k = last - 1; k >= 0; --k) {  // each byte pushes those after it into place
#pragma unroll
    for (int32_t i = kWords - 1; i > 0; --i) words[i] = words[i] << 8 | words[i - 1] >> 24;
    const int64_t at = start + k;
    words[0] = words[0] << 8 | (at >= 0 ? static_cast<unsigned char>(sample[at]) : 0u);
  }
}

// The same by aligned loads of 16 bytes, whose bytes are then shifted into place.  Where such a
// load would reach out of the sample, load_bytes() is called.
template <int32_t kWords>
MSDA_FN void load_window(uint32_t* words, const char* sample, int64_t size, int64_t start) {
  constexpr int32_t kLoads = (4 * kWords + 15) / 16 + 1;
  const int32_t skew = static_cast<int32_t>(address_bits(sample + start) & 15u);
  const int32_t loads = (skew + 4 * kWords + 15) / 16;
  if (start < skew || start - skew + 16 * loads > size)
    return load_bytes<kWords>(words, sample, size, start);
  const char* first = sample + (start - skew);
  uint32_t raw[4 * kLoads];
#pragma unroll
  for (int32_t i = 0; i < kLoads; ++i) {
    Words16 w = {};
    if (i < loads) w = load16(first + 16 * i);
#pragma unroll
    for (int32_t k = 0; k < 4; ++k) raw[4 * i + k] = w.word[k];
  }
#pragma unroll
  for (int32_t i = 0; i < kWords + 2; ++i)
    if (skew & 8) raw[i] = raw[i + 2];
#pragma unroll
  for (int32_t i = 0; i < kWords + 1; ++i)
    if (skew & 4) raw[i] = raw[i + 1];
#pragma unroll
  for (int32_t i = 0; i < kWords; ++i)
    words[i] = static_cast<uint32_t>((uint64_t{raw[i + 1]} << 32 | raw[i]) >> (8 * (skew & 3)));
}

// Puts kCount values at the start of a window, and moves those that it holds behind them.
template <int32_t kWords, int32_t kCount>
MSDA_FN void push_values(uint32_t* words, const uint8_t* values) {
  static_assert(kCount < 4, "they are part of a word");
#pragma unroll
  for (int32_t i = kWords - 1; i >= 0; --i)
    words[i] = words[i] << 8 * kCount | (i > 0 ? words[i - 1] >> (32 - 8 * kCount) : 0u);
#pragma unroll
  for (int32_t c = 0; c < kCount; ++c) words[0] |= uint32_t{values[c]} << 8 * c;
}

template <int32_t kWords, int32_t kCount>
MSDA_FN void push_values(uint32_t* words, const float* values) {
#pragma unroll
  for (int32_t i = kWords - 1; i >= kCount; --i) words[i] = words[i - kCount];
#pragma unroll
  for (int32_t c = 0; c < kCount; ++c) words[c] = bits_of(values[c]);
}

// Value i of a window.
MSDA_FN float window_value(const uint32_t* words, int32_t i, uint8_t) {
  return static_cast<float>((words[i / 4] >> (8 * (i % 4))) & 0xFFu);
}
MSDA_FN float window_value(const uint32_t* words, int32_t i, float) { return float_of(words[i]); }

MSDA_FN uint32_t float16_pair(float low, float high) {
  uint32_t pair;
  if (hardware_float16_pair(&pair, low, high)) return pair;
  return to_float16(low) | uint32_t{to_float16(high)} << 16;
}

MSDA_FN uint32_t bfloat16_pair(float low, float high) {
  uint32_t pair;
  if (hardware_bfloat16_pair(&pair, low, high)) return pair;
  return to_bfloat16(low) | uint32_t{to_bfloat16(high)} << 16;
}

// Word i of a run of values, converted to the type of the output.
MSDA_FN uint32_t packed(const float* v, int32_t i, const float*) { return bits_of(v[i]); }
MSDA_FN uint32_t packed(const float* v, int32_t i, const Float16*) {
  return float16_pair(v[2 * i], v[2 * i + 1]);
}
MSDA_FN uint32_t packed(const float* v, int32_t i, const Bfloat16*) {
  return bfloat16_pair(v[2 * i], v[2 * i + 1]);
}
MSDA_FN uint32_t packed(const float* v, int32_t i, const uint8_t*) {
  return to_uint8(v[4 * i]) | uint32_t{to_uint8(v[4 * i + 1])} << 8 |
         uint32_t{to_uint8(v[4 * i + 2])} << 16 | uint32_t{to_uint8(v[4 * i + 3])} << 24;
}

MSDA_FN void store_part(uint32_t bits, uint8_t* out) { *out = static_cast<uint8_t>(bits); }
MSDA_FN void store_part(uint32_t bits, Float16* out) { out->bits = static_cast<uint16_t>(bits); }
MSDA_FN void store_part(uint32_t bits, Bfloat16* out) { out->bits = static_cast<uint16_t>(bits); }
MSDA_FN void store_part(uint32_t bits, float* out) { *out = float_of(bits); }

// Stores the first `count` of value(0), value(1), ... beside each other.  All kValues of them fill
// 16 or 8 bytes, which is one store if their address is aligned.
template <int32_t kValues, typename Out, typename Value>
MSDA_FN void store_run(Out* out, int32_t count, Value value) {
  constexpr int32_t kBytes = kValues * static_cast<int32_t>(sizeof(Out));
  constexpr int32_t kBits = 8 * static_cast<int32_t>(sizeof(Out));
  static_assert(kBytes == 16 || kBytes == 8, "a run fills a store");
  float values[kValues];
#pragma unroll
  for (int32_t i = 0; i < kValues; ++i) values[i] = value(i);
  Words16 w = {};
#pragma unroll
  for (int32_t i = 0; i < kBytes / 4; ++i) w.word[i] = packed(values, i, out);
  char* at = reinterpret_cast<char*>(out);
  if (count >= kValues && (address_bits(at) & (kBytes - 1u)) == 0)
    return kBytes == 16 ? store16(at, w) : store8(at, w);
#pragma unroll
  for (int32_t i = 0; i < kValues; ++i)
    if (i < count) store_part(w.word[i * kBits / 32] >> (i * kBits % 32), out + i);
}

}  // namespace msda
