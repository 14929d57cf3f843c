// The operations on vectors that take intrinsics, for aarch64 (vector.h says what they do).
#pragma once
#include <arm_neon.h>

#include "cpu/simd/vector/lanes.h"

namespace msda {
namespace {

constexpr bool kBypasses = false;

inline void finish_stores() {}

inline Floats fused(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }

inline Ints load_integers(const uint8_t* from) {
  uint32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return (Ints)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}

inline Ints chosen(uint32_t bits, Ints own, Ints partner) {
  const Words lanes = {1, 2, 4, 8};
  return vbslq_s32(vtstq_u32(vdupq_n_u32(bits), lanes), own, partner);
}

inline Product product(uint32_t a, Words b) {
  const Words factor = vdupq_n_u32(a);
  const Words first = (Words)vmull_u32(vget_low_u32(factor), vget_low_u32(b));
  const Words second = (Words)vmull_high_u32(factor, b);
  return {vuzp2q_u32(first, second), vuzp1q_u32(first, second)};
}

inline void put(float* to, Floats v, bool) { vst1q_f32(to, v); }

inline void put_halves(void* to, Halves v, bool) { __builtin_memcpy(to, &v, sizeof v); }

inline Halves float16_of(Floats v) { return (Halves)vcvt_f16_f32(v); }

inline void put_bytes(uint8_t* to, Floats v) {
  const uint16x4_t words = vmovn_u32(vcvtnq_u32_f32(v));
  const uint32x2_t bytes = (uint32x2_t)vmovn_u16(vcombine_u16(words, words));
  const uint32_t four = vget_lane_u32(bytes, 0);
  __builtin_memcpy(to, &four, sizeof four);
}

// A bit of each lane that is all ones.
inline uint32_t bits_of_lanes(Words all_or_none) {
  const Words lanes = {1, 2, 4, 8};
  return vaddvq_u32(all_or_none & lanes);
}

inline uint32_t greater(Floats a, Floats b) { return bits_of_lanes(vcgtq_f32(a, b)); }
inline uint32_t at_least(Floats a, Floats b) { return bits_of_lanes(vcgeq_f32(a, b)); }
inline uint32_t equal(Floats a, Floats b) { return bits_of_lanes(vceqq_f32(a, b)); }

// A lane counts down where the comparison is true, which is -1.
class Counter {
 public:
  void add_greater(Floats a, Floats b) { counts_ -= (Ints)vcgtq_f32(a, b); }
  void add_at_least(Floats a, Floats b) { counts_ -= (Ints)vcgeq_f32(a, b); }
  int64_t total() const { return vaddlvq_s32(counts_); }

 private:
  Ints counts_ = {};
};

inline int32_t keep(float* to, Floats v, uint32_t some) {
  if (some == 15) return put(to, v, false), kLanes;
  int32_t count = 0;
  for (; some; some &= some - 1) to[count++] = v[__builtin_ctz(some)];
  return count;
}

}  // namespace
}  // namespace msda
