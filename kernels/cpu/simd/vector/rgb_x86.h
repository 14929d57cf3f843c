// Vectors of RGB pixels of bytes, and what takes intrinsics on them, for x86 (rgb_vector.h).
#pragma once
#include "cpu/simd/vector/x86.h"

namespace msda {
namespace {

#if defined(__AVX512F__)
// Interleaved RGB pixels of bytes, kLanes of them.
typedef __m512i Pixels;
#if defined(__AVX512VBMI__)
inline Pixels load_pixels(const uint8_t* from) { return _mm512_maskz_loadu_epi32(0xfff, from); }
#else
inline Pixels load_pixels(const uint8_t* from) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 32));
  return _mm512_inserti32x4(_mm512_castsi256_si512(low), high, 2);
}
#endif

inline void store_pixels(uint8_t* to, Pixels pixels) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(pixels));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 32), _mm512_extracti32x4_epi32(pixels, 2));
}

// The red, green and blue of the pixels, as whole numbers.
inline void colours_of(Ints* colours, Pixels pixels) {
#if defined(__AVX512VBMI__)
  Ints bytes = {};
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; ++i) bytes[i] = 3 * i;
  for (int32_t c = 0; c < 3; ++c)
    colours[c] =
        (Ints)_mm512_maskz_permutexvar_epi8(0x1111111111111111, (__m512i)(bytes + c), pixels);
#else
  // Each quarter of the vector gets four pixels.
  const __m512i words = _mm512_setr_epi32(0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 11);
  const __m512i quarters = _mm512_permutexvar_epi32(words, pixels);
  for (int32_t c = 0; c < 3; ++c) {
    const __m128i bytes = _mm_setr_epi32(c, c + 3, c + 6, c + 9);  // other bytes become 0
    const __m512i taken = _mm512_or_si512(_mm512_broadcast_i32x4(bytes), _mm512_set1_epi32(-256));
    colours[c] = (Ints)_mm512_shuffle_epi8(quarters, taken);
  }
#endif
}
#elif defined(__AVX2__)
// The same: kLanes pixels are 24 bytes.  A vector holds the first 16 and the last 16 of them.
typedef __m256i Pixels;
inline Pixels load_pixels(const uint8_t* from) {
  const __m128i* low = reinterpret_cast<const __m128i*>(from);
  const __m128i* high = reinterpret_cast<const __m128i*>(from + 8);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)),
                                 _mm_loadu_si128(high), 1);
}

inline void store_pixels(uint8_t* to, Pixels pixels) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(pixels));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8), _mm256_extracti128_si256(pixels, 1));
}

inline void colours_of(Ints* colours, Pixels pixels) {
  for (int32_t c = 0; c < 3; ++c) {
    const __m256i taken = _mm256_setr_epi32(c, c + 3, c + 6, c + 9, c + 4, c + 7, c + 10, c + 13);
    colours[c] = (Ints)_mm256_shuffle_epi8(pixels, _mm256_or_si256(taken, _mm256_set1_epi32(-256)));
  }
}
#else
struct Pixels {
  uint8_t bytes[3 * kLanes];
};

inline Pixels load_pixels(const uint8_t* from) {
  Pixels pixels;
  __builtin_memcpy(&pixels, from, sizeof pixels);
  return pixels;
}

inline void store_pixels(uint8_t* to, const Pixels& pixels) {
  __builtin_memcpy(to, &pixels, sizeof pixels);
}

inline void colours_of(Ints* colours, const Pixels& pixels) {
  for (int32_t c = 0; c < 3; ++c)
    for (int32_t i = 0; i < kLanes; ++i) colours[c][i] = pixels.bytes[3 * i + c];
}
#endif

inline Ints whole(Ints v) {
  asm("" : "+x"(v));
  return v;
}

inline uint64_t bits_of_values(uint32_t bits) {
#if defined(__BMI2__)
  return _pdep_u64(bits, 0x0000249249249249) * 7;
#else
  uint64_t values = 0;
  for (int32_t i = 0; i < kLanes; ++i) values |= uint64_t{7} * (bits >> i & 1) << 3 * i;
  return values;
#endif
}

inline Pixels load_chosen(uint32_t bits, const uint8_t* own, const uint8_t* partner) {
#if defined(__AVX512F__)
  const Pixels pixels = load_pixels(own), others = load_pixels(partner);
  return _mm512_mask_blend_epi8(bits_of_values(bits), others, pixels);
#elif defined(__AVX2__)
  const Pixels pixels = load_pixels(own), others = load_pixels(partner);
  const uint64_t eight = 0x8040201008040201;  // each byte the bit of its pixel
  const __m256i pixel = _mm256_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5,  //
                                         2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7);
  const __m256i bit = _mm256_shuffle_epi8(_mm256_set1_epi64x(eight), pixel);
  const __m256i all = _mm256_set1_epi8(static_cast<char>(bits));
  return _mm256_blendv_epi8(others, pixels, _mm256_cmpeq_epi8(_mm256_and_si256(all, bit), bit));
#else
  Pixels pixels;
  for (int32_t i = 0; i < kLanes; ++i)
    __builtin_memcpy(pixels.bytes + 3 * i, (bits >> i & 1 ? own : partner) + 3 * i, 3);
  return pixels;
#endif
}

#if defined(__AVX512VBMI__)
typedef uint8_t ManyBytes __attribute__((vector_size(kVectorBytes)));

// The pixels of a vector are picked from two or four vectors of the row that hold them all.
inline int32_t pick_pixels(uint8_t* to, const uint8_t* row, int32_t row_bytes,
                           const int32_t* columns, int32_t n) {
  if (n < kLanes) return 0;
  constexpr int32_t kTwo = 2 * kVectorBytes;
  ManyBytes pixels = {}, colours = {};  // of each byte: where its pixel's place lies, its colour
#pragma GCC unroll 64
  for (int32_t i = 0; i < 3 * kLanes; ++i) pixels[i] = i / 3 * 4, colours[i] = i % 3;
  for (int32_t x = 0; x < n; x += kLanes) {
    if (x > n - kLanes) x = n - kLanes;  // the last vector overlaps the one before
    const int32_t first = columns[x], last = columns[x + kLanes - 1];
    const int32_t low = first < last ? first : last, high = first < last ? last : first;
    const int32_t held = high + 3 - low > kTwo ? 2 * kTwo : kTwo;
    if (high + 3 - low > held || held > row_bytes) return x;
    const int32_t from = low < row_bytes - held ? low : row_bytes - held;
    const Ints places = (Ints)_mm512_loadu_si512(columns + x) - from;
    const __m512i bytes = _mm512_add_epi8(_mm512_permutexvar_epi8((__m512i)pixels, (__m512i)places),
                                          (__m512i)colours);
    const auto picked = [row, from, bytes](int32_t at) {
      const uint8_t* two = row + from + at;
      return _mm512_permutex2var_epi8(_mm512_loadu_si512(two), bytes,
                                      _mm512_loadu_si512(two + kVectorBytes));
    };
    __m512i made = picked(0);
    if (held > kTwo) made = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), made, picked(kTwo));
    store_pixels(to + 3 * x, made);
  }
  return n;
}

inline void reverse_rgb(uint8_t* out, const uint8_t* in) {
  ManyBytes from = {};
#pragma GCC unroll 64
  for (int32_t i = 0; i < 48; ++i) from[i] = 45 - i + 2 * (i % 3);
  store_pixels(out, _mm512_permutexvar_epi8((__m512i)from, load_pixels(in)));
}
#endif

}  // namespace
}  // namespace msda
