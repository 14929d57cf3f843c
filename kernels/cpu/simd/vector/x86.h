// The operations on vectors that take intrinsics, for x86 (vector.h says what they do).
#pragma once
// GCC 12 finds variables in this header that are used uninitialised, as they are meant to be.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "cpu/simd/vector/lanes.h"

namespace msda {
namespace {

constexpr bool kBypasses = true;

inline void finish_stores() { _mm_sfence(); }

inline Floats fused(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  for (int32_t i = 0; i < kLanes; ++i) a[i] = fmaf(a[i], b[i], c[i]);
  return a;
#endif
}

inline Ints load_integers(const uint8_t* from) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__AVX2__)
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
  return Ints{from[0], from[1], from[2], from[3]};
#endif
}

inline Ints chosen(uint32_t bits, Ints own, Ints partner) {
#if defined(__AVX512F__)
  return (Ints)_mm512_mask_blend_epi32(static_cast<__mmask16>(bits), (__m512i)partner,
                                       (__m512i)own);
#else
  Ints lanes = {};
  for (int32_t i = 0; i < kLanes; ++i) lanes[i] = 1 << i;
  return (lanes & static_cast<int32_t>(bits)) != 0 ? own : partner;
#endif
}

// Even lanes and odd lanes are multiplied separately; then high and low halves are put together.
// Lanes are moved by shuffles, because shifts would wait for the multiplier's port.
inline Product product(uint32_t a, Words b) {
  constexpr int32_t kFromOdd = 0xF5, kFromEven = 0xA0;  // lanes 1, 1, 3, 3 and 0, 0, 2, 2
#if defined(__AVX512F__)
  const __m512i factor = _mm512_set1_epi32(a), from = (__m512i)b;
  const __m512i even = _mm512_mul_epu32(factor, from);
  const __m512i odd = _mm512_mul_epu32(factor, _mm512_shuffle_epi32(from, (_MM_PERM_ENUM)kFromOdd));
  return {(Words)_mm512_mask_shuffle_epi32(odd, 0x5555, even, (_MM_PERM_ENUM)kFromOdd),
          (Words)_mm512_mask_shuffle_epi32(even, 0xAAAA, odd, (_MM_PERM_ENUM)kFromEven)};
#elif defined(__AVX2__)
  const __m256i factor = _mm256_set1_epi32(a), from = (__m256i)b;
  const __m256i even = _mm256_mul_epu32(factor, from);
  const __m256i odd = _mm256_mul_epu32(factor, _mm256_shuffle_epi32(from, kFromOdd));
  return {(Words)_mm256_blend_epi32(_mm256_shuffle_epi32(even, kFromOdd), odd, 0xAA),
          (Words)_mm256_blend_epi32(even, _mm256_shuffle_epi32(odd, kFromEven), 0xAA)};
#else
  const Words upper = {0, ~0u, 0, ~0u};
  const __m128i factor = _mm_set1_epi32(a), from = (__m128i)b;
  const __m128i even = _mm_mul_epu32(factor, from);
  const __m128i odd = _mm_mul_epu32(factor, _mm_shuffle_epi32(from, kFromOdd));
  return {((Words)_mm_shuffle_epi32(even, kFromOdd) & ~upper) | ((Words)odd & upper),
          ((Words)even & ~upper) | ((Words)_mm_shuffle_epi32(odd, kFromEven) & upper)};
#endif
}

// A store past the caches must be aligned to the bytes that it writes.
inline void put(float* to, Floats v, bool past) {
  if (!past) {
    *reinterpret_cast<LooseFloats*>(to) = (LooseFloats)v;
    return;
  }
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(to, (__m256)v);
#else
  _mm_stream_ps(to, (__m128)v);
#endif
}

inline void put_halves(void* to, Halves v, bool past) {
#if defined(__AVX512F__)
  if (past) return _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)v);
#elif defined(__AVX2__)
  if (past) return _mm_stream_si128(static_cast<__m128i*>(to), (__m128i)v);
#else
  (void)past;
#endif
  __builtin_memcpy(to, &v, sizeof v);
}

inline Halves float16_of(Floats v) {
#if defined(__AVX512F__)
  return (Halves)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
  return (Halves)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
#else
  Halves halves = {};
  for (int32_t i = 0; i < kLanes; ++i) halves[i] = to_float16(v[i]);
  return halves;
#endif
}

#if defined(__AVX512F__)
// Two vectors as one store (vector.h).
inline void put(Float16* to, Floats a, Floats b, bool past) {
  const __m512i both =
      _mm512_inserti64x4(_mm512_castsi256_si512((__m256i)float16_of(a)), (__m256i)float16_of(b), 1);
  if (past)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), both);
  else
    _mm512_storeu_si512(to, both);
}
#endif

inline void put_bytes(uint8_t* to, Floats v) {
#if defined(__AVX512F__)
  const __m512i whole = _mm512_cvtps_epi32((__m512)v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(whole));
#elif defined(__AVX2__)
  const __m256i whole = _mm256_cvtps_epi32((__m256)v);
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
#else
  const __m128i words = _mm_packs_epi32(_mm_cvtps_epi32((__m128)v), __m128i{});
  const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
  __builtin_memcpy(to, &bytes, sizeof bytes);
#endif
}

inline uint32_t greater(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ));
#else
  return _mm_movemask_ps(_mm_cmpgt_ps((__m128)a, (__m128)b));
#endif
}

inline uint32_t at_least(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GE_OQ));
#else
  return _mm_movemask_ps(_mm_cmpge_ps((__m128)a, (__m128)b));
#endif
}

inline uint32_t equal(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ));
#else
  return _mm_movemask_ps(_mm_cmpeq_ps((__m128)a, (__m128)b));
#endif
}

class Counter {
 public:
  void add_greater(Floats a, Floats b) { count_ += __builtin_popcount(greater(a, b)); }
  void add_at_least(Floats a, Floats b) { count_ += __builtin_popcount(at_least(a, b)); }
  int64_t total() const { return count_; }

 private:
  int64_t count_ = 0;
};

inline int32_t keep(float* to, Floats v, uint32_t some) {
#if defined(__AVX512F__)
  put(to, (Floats)_mm512_maskz_compress_ps(static_cast<__mmask16>(some), (__m512)v), false);
  return __builtin_popcount(some);
#else
  int32_t count = 0;
  for (; some; some &= some - 1) to[count++] = v[__builtin_ctz(some)];
  return count;
#endif
}

}  // namespace
}  // namespace msda
