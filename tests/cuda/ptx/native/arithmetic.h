// What the instructions of PTX do that C++ has no operator for (instructions.py).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace ptx {

template <typename To, typename From>
inline To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline float as_float(uint32_t bits) { return same_bits<float>(bits); }
inline double as_double(uint64_t bits) { return same_bits<double>(bits); }
inline uint32_t as_bits(float v) { return same_bits<uint32_t>(v); }
inline uint64_t as_bits(double v) { return same_bits<uint64_t>(v); }

inline uint64_t both(uint32_t high, uint32_t low) { return uint64_t{high} << 32 | low; }

// Four of eight bytes, each chosen by four bits; the fourth bit repeats the byte's sign instead.
inline uint32_t permuted(uint64_t bytes, uint32_t chosen) {
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t by = chosen >> (4 * i) & 15, byte = bytes >> (8 * (by & 7)) & 255;
    result |= (by & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
  }
  return result;
}

inline uint32_t by_table(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (uint32_t k = 0; k < 8; ++k)
    if (table >> k & 1) result |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
  return result;
}

// The lowest `count` bits of a, put into b from bit `at` on.
template <typename T>
inline T inserted(T a, T b, uint32_t at, uint32_t count) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  at &= 255, count &= 255;
  if (at >= kBits) return b;
  const T ones = count < kBits ? (T{1} << count) - 1 : ~T{0};
  return (b & ~(ones << at)) | (a & ones) << at;
}

// `count` bits of a from bit `at` on.
template <typename T>
inline T extracted(T a, uint32_t at, uint32_t count) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  at &= 255, count &= 255;
  if (at >= kBits) return 0;
  return a >> at & (count < kBits ? (T{1} << count) - 1 : ~T{0});
}

// The same with the sign of the last bit.
inline int32_t extracted(int32_t a, uint32_t at, uint32_t count) {
  at &= 255, count &= 255;
  if (count == 0) return 0;
  const int64_t from_there = int64_t{a} >> (at < 63 ? at : 63);
  const uint32_t above = count < 64 ? 64 - count : 0;
  return static_cast<int32_t>(static_cast<int64_t>(uint64_t(from_there) << above) >> above);
}

// Products of two 16-bit numbers and two bytes, added to c.
inline uint32_t dot2(uint32_t a, uint32_t b, uint32_t c) {
  return c + (a & 0xFFFF) * (b & 255) + (a >> 16) * (b >> 8 & 255);
}

// The least of two, of which -0 is less than 0; a number if one of them is NaN.
template <typename T>
inline T least(T a, T b) {
  if (a != a || b != b) return a != a ? b : a;
  return a == b ? (std::signbit(a) ? a : b) : (a < b ? a : b);
}

// NaN becomes 0, and what is too large the nearest that there is.
template <typename T>
inline T whole(double v) {
  if (v != v) return 0;
  if (v <= std::numeric_limits<T>::min()) return std::numeric_limits<T>::min();
  if (v >= std::numeric_limits<T>::max()) return std::numeric_limits<T>::max();
  return static_cast<T>(v);
}

// float16 and bfloat16, rounded half to even; NaN becomes the one that a GPU makes.
inline uint32_t half(float v) {
  if (v != v) return 0x7FFF;
  const uint32_t sign = as_bits(v) >> 16 & 0x8000;
  const float size = std::fabs(v);
  if (size >= 65520.0f) return sign | 0x7C00;
  if (size < 0x1p-14f) return sign | static_cast<uint32_t>(std::rint(size * 0x1p24f));
  const uint32_t bits = as_bits(size);
  return sign | (((bits + 0xFFF + (bits >> 13 & 1)) >> 13) - (112 << 10));
}
inline uint32_t brain(float v) {
  const uint32_t bits = as_bits(v);
  return v != v ? 0x7FFF : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

}  // namespace ptx
