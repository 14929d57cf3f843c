// Vectors of RGB pixels, and the bits of a mask that choose among them.  Each has the bits of its
// scalar twin in msda/blend.h.
#pragma once
#include "cpu/simd/vector.h"

namespace msda {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint8_t ManyBytes __attribute__((vector_size(kVectorBytes)));
typedef uint8_t LooseBytes __attribute__((vector_size(16), aligned(1), may_alias));

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
#endif

#if defined(__AVX512VBMI__)
// Copies the pixels of a row at n columns, which are given as places of bytes in the row.  It
// copies as many as vectors can, from the first on, and returns how many.  The pixels of a vector
// are picked from two or four vectors of the row that hold them all.
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
#else
inline int32_t pick_pixels(uint8_t*, const uint8_t*, int32_t, const int32_t*, int32_t) { return 0; }
#endif
inline int32_t pick_pixels(float*, const float*, int32_t, const int32_t*, int32_t) { return 0; }

// Red, green and blue of kLanes interleaved pixels of bytes, as whole numbers.
inline void load_colours(Ints* colours, const uint8_t* from) {
#if defined(__AVX2__)
  colours_of(colours, load_pixels(from));
#else
  for (int32_t c = 0; c < 3; ++c)
    for (int32_t i = 0; i < kLanes; ++i) colours[c][i] = from[3 * i + c];
#endif
}

// Keeps the compiler from loading only the lanes that are chosen.
inline Ints whole(Ints v) {
  asm("" : "+x"(v));
  return v;
}

// Repeats each of kLanes bits three times: bits of pixels become bits of their RGB values.
inline uint64_t bits_of_values(uint32_t bits) {
#if defined(__BMI2__)
  return _pdep_u64(bits, 0x0000249249249249) * 7;
#else
  uint64_t values = 0;
  for (int32_t i = 0; i < kLanes; ++i) values |= uint64_t{7} * (bits >> i & 1) << 3 * i;
  return values;
#endif
}

#if defined(__AVX2__)
// Loads kLanes pixels from two sources.  Those whose bit is set come from `own`.
inline Pixels load_chosen(uint32_t bits, const uint8_t* own, const uint8_t* partner) {
  const Pixels pixels = load_pixels(own), others = load_pixels(partner);
#if defined(__AVX512F__)
  return _mm512_mask_blend_epi8(bits_of_values(bits), others, pixels);
#else
  const uint64_t eight = 0x8040201008040201;  // each byte the bit of its pixel
  const __m256i pixel = _mm256_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5,  //
                                         2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7);
  const __m256i bit = _mm256_shuffle_epi8(_mm256_set1_epi64x(eight), pixel);
  const __m256i all = _mm256_set1_epi8(static_cast<char>(bits));
  return _mm256_blendv_epi8(others, pixels, _mm256_cmpeq_epi8(_mm256_and_si256(all, bit), bit));
#endif
}
#endif

// The colours of kLanes pixels from two sources, chosen as load_chosen() does.
inline void choose_colours(Ints* colours, uint32_t bits, const uint8_t* own,
                           const uint8_t* partner) {
#if defined(__AVX2__)
  colours_of(colours, load_chosen(bits, own, partner));
#else
  Ints others[3];
  load_colours(colours, own);
  load_colours(others, partner);
  for (int32_t c = 0; c < 3; ++c) colours[c] = chosen(bits, colours[c], others[c]);
#endif
}

// The bits of a mask, from pixel 0 on: set where a pixel is the own sample's.
struct Bits {
  const uint32_t* words;
  int64_t first;  // bit of pixel 0

  static bool own_only(int32_t) { return false; }
  static bool partner_only(int32_t) { return false; }
  uint32_t bits(int32_t x) const {
    const int64_t low = first + x, high = low + kLanes - 1;
    const uint64_t both = uint64_t{words[high >> 5]} << 32 | words[low >> 5];
    return static_cast<uint32_t>(both >> (low & 31));
  }
  bool own_at(int32_t x) const {
    const int64_t at = first + x;
    return words[at >> 5] >> (at & 31) & 1;
  }
};

// Colour kColour of kLanes interleaved RGB pixels: `first` picks what lies in their first two
// vectors, `second` adds what lies in the third.
template <int32_t kColour>
inline Floats colour(Floats a, Floats b, Floats c) {
  Ints first = {}, second = {};
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; ++i) {
    const int32_t at = 3 * i + kColour;
    first[i] = at < 2 * kLanes ? at : 0;
    second[i] = at < 2 * kLanes ? i : at - kLanes;
  }
  return __builtin_shuffle(__builtin_shuffle(a, b, first), c, second);
}

// Reverses 16 RGB pixels of bytes.
#if defined(__AVX512VBMI__)
inline void reverse_rgb(uint8_t* out, const uint8_t* in) {
  ManyBytes from = {};
#pragma GCC unroll 64
  for (int32_t i = 0; i < 48; ++i) from[i] = 45 - i + 2 * (i % 3);
  store_pixels(out, _mm512_permutexvar_epi8((__m512i)from, load_pixels(in)));
}
#else
inline void reverse_rgb(uint8_t* out, const uint8_t* in) {
  const Bytes low = {29, 30, 31, 26, 27, 28, 23, 24, 25, 20, 21, 22, 17, 18, 19, 14};
  const Bytes middle = {31, 0, 27, 28, 29, 24, 25, 26, 21, 22, 23, 18, 19, 20, 15, 16};
  const Bytes high = {17, 12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2};
  const LooseBytes* from = reinterpret_cast<const LooseBytes*>(in);
  const Bytes a = from[0], b = from[1], c = from[2];
  Bytes between = __builtin_shuffle(a, b, middle);
  between[1] = c[0];
  LooseBytes* to = reinterpret_cast<LooseBytes*>(out);
  to[0] = (LooseBytes)__builtin_shuffle(b, c, low);
  to[1] = (LooseBytes)between;
  to[2] = (LooseBytes)__builtin_shuffle(a, b, high);
}
#endif

}  // namespace
}  // namespace msda
