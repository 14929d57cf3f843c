// Vectors of RGB pixels of bytes, and what takes intrinsics on them, for aarch64 (rgb_vector.h).
#pragma once
#include "cpu/simd/vector/neon.h"

namespace msda {
namespace {

// Four pixels, in the first 12 bytes.
typedef uint8x16_t Pixels;

inline Pixels load_pixels(const uint8_t* from) {
  uint64_t low;
  uint32_t high;
  __builtin_memcpy(&low, from, sizeof low);
  __builtin_memcpy(&high, from + 8, sizeof high);
  return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
}

inline void store_pixels(uint8_t* to, Pixels pixels) {
  vst1_u8(to, vget_low_u8(pixels));
  vst1q_lane_u32(reinterpret_cast<uint32_t*>(to + 8), (uint32x4_t)pixels, 2);
}

inline void colours_of(Ints* colours, Pixels pixels) {
  for (uint32_t c = 0; c < 3; ++c) {
    const Words taken = {c, c + 3, c + 6, c + 9};  // other bytes become 0
    colours[c] = (Ints)vqtbl1q_u8(pixels, (uint8x16_t)(taken | ~0xFFu));
  }
}

inline Ints whole(Ints v) {
  asm("" : "+w"(v));
  return v;
}

inline uint64_t bits_of_values(uint32_t bits) {
  return ((bits & 1) | (bits & 2) << 2 | (bits & 4) << 4 | (bits & 8) << 6) * 7;
}

inline Pixels load_chosen(uint32_t bits, const uint8_t* own, const uint8_t* partner) {
  const uint8x16_t pixel = {1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8};  // each byte the bit of its pixel
  const uint8x16_t all = vdupq_n_u8(static_cast<uint8_t>(bits));
  return vbslq_u8(vtstq_u8(all, pixel), load_pixels(own), load_pixels(partner));
}

}  // namespace
}  // namespace msda
