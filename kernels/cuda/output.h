// How a GPU thread writes neighbouring values of an output: converted, packed into words, and 16 or
// 8 bytes at a time where their address allows it.
#pragma once
#include "cuda/window.h"

// ENTRY(types, In, Out) for each pair of types of inputs and outputs, as entry points name them.
#define MSDA_EACH_TYPES(ENTRY)             \
  ENTRY(uint8_uint8, uint8_t, uint8_t)     \
  ENTRY(uint8_float32, uint8_t, float)     \
  ENTRY(uint8_float16, uint8_t, Float16)   \
  ENTRY(uint8_bfloat16, uint8_t, Bfloat16) \
  ENTRY(float32_float32, float, float)     \
  ENTRY(float32_float16, float, Float16)   \
  ENTRY(float32_bfloat16, float, Bfloat16)

namespace msda {

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

// to_uint8() in the low byte.  Adding 2^23 rounds half to even, as rintf() does.
MSDA_FN uint32_t rounded_byte(float v) { return bits_of(fminf(fmaxf(v, 0.0f), 255.0f) + kTwo23); }

// Word i of a run of values, converted to the type of the output.
MSDA_FN uint32_t packed(const float* v, int32_t i, const float*) { return bits_of(v[i]); }
MSDA_FN uint32_t packed(const float* v, int32_t i, const Float16*) {
  return float16_pair(v[2 * i], v[2 * i + 1]);
}
MSDA_FN uint32_t packed(const float* v, int32_t i, const Bfloat16*) {
  return bfloat16_pair(v[2 * i], v[2 * i + 1]);
}
MSDA_FN uint32_t packed(const float* v, int32_t i, const uint8_t*) {
  const uint32_t low = pick_bytes(rounded_byte(v[4 * i]), rounded_byte(v[4 * i + 1]), 0x0040);
  const uint32_t high = pick_bytes(rounded_byte(v[4 * i + 2]), rounded_byte(v[4 * i + 3]), 0x0040);
  return pick_bytes(low, high, 0x5410);
}

MSDA_FN void store_part(uint32_t bits, uint8_t* out) { *out = static_cast<uint8_t>(bits); }
MSDA_FN void store_part(uint32_t bits, Float16* out) { out->bits = static_cast<uint16_t>(bits); }
MSDA_FN void store_part(uint32_t bits, Bfloat16* out) { out->bits = static_cast<uint16_t>(bits); }
MSDA_FN void store_part(uint32_t bits, float* out) { *out = float_of(bits); }

MSDA_FN void store_word(char* at, uint32_t word) { *reinterpret_cast<uint32_t*>(at) = word; }

// Stores the words of kValues values of two bytes, at any address of theirs.
template <int32_t kValues, typename Out>
MSDA_FN void store_halves(Out* out, const Words16& w) {
  char* at = reinterpret_cast<char*>(out);
  constexpr int32_t kWords = kValues / 2;
  if ((address_bits(at) & 2u) == 0) {
#pragma unroll
    for (int32_t i = 0; i < kWords; ++i) store_word(at + 4 * i, w.word[i]);
    return;
  }
  store_part(w.word[0], out);
#pragma unroll
  for (int32_t i = 1; i < kWords; ++i)
    store_word(at + 4 * i - 2, shift_out(w.word[i - 1], w.word[i], 16));
  store_part(w.word[kWords - 1] >> 16, out + kValues - 1);
}

// Stores the words of kValues values, of which `count` are there.  With kAligned all are, and the
// address is a multiple of their size.
template <int32_t kValues, bool kAligned, typename Out>
MSDA_FN void store_run(Out* out, int32_t count, const Words16& w) {
  constexpr int32_t kBytes = kValues * static_cast<int32_t>(sizeof(Out));
  constexpr int32_t kBits = 8 * static_cast<int32_t>(sizeof(Out));
  static_assert(kBytes == 16 || kBytes == 8 || kBytes == 4, "a run fills a store");
  char* at = reinterpret_cast<char*>(out);
  const auto store_value = [&](int32_t i) {
    store_part(w.word[i * kBits / 32] >> (i * kBits % 32), out + i);
  };
  if (kAligned || (count >= kValues && (address_bits(at) & (kBytes - 1u)) == 0)) {
    kBytes == 16 ? store16(at, w) : kBytes == 8 ? store8(at, w) : store4(at, w);
  } else if (count >= kValues) {  // without a question for each value
    if constexpr (sizeof(Out) == 2) return store_halves<kValues>(out, w);
#pragma unroll
    for (int32_t i = 0; i < kValues; ++i) store_value(i);
  } else {
#pragma unroll
    for (int32_t i = 0; i < kValues; ++i)
      if (i < count) store_value(i);
  }
}

}  // namespace msda
