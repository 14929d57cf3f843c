// A vector of floats, as wide as the instruction set has them, and the few operations that the
// compiler does not find by itself.  Each gives the bits of its scalar twin in msda/blend.h.
#pragma once
#include <immintrin.h>

#include "msda/blend.h"

namespace msda {
namespace {

#if defined(__AVX512F__)
constexpr int32_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int32_t kLanes = 8;
#else
constexpr int32_t kLanes = 4;
#endif
constexpr int32_t kVectorBytes = kLanes * 4;

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef float LooseFloats __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));

inline bool aligned(const void* at, int32_t bytes) {
  return (reinterpret_cast<uintptr_t>(at) & (bytes - 1)) == 0;
}

// Prefetches memory into the second-level cache, or into the one that kHint names.  It must be
// inlined: the compiler takes a function that only prefetches for one without any effect, and
// leaves its calls out.
template <_mm_hint kHint = _MM_HINT_T1>
__attribute__((always_inline)) inline void fetch(const void* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64)
    _mm_prefetch(static_cast<const char*>(from) + at, kHint);
}

inline Floats splat(float v) { return v - Floats{}; }  // adding 0 would lose the sign of -0

inline Floats load(const float* from) { return *reinterpret_cast<const LooseFloats*>(from); }

// As fmaf, lane by lane.
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

// Loads kLanes bytes as whole numbers.
inline Ints load_integers(const uint8_t* from) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__AVX2__)
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
  return Ints{from[0], from[1], from[2], from[3]};
#endif
}

inline Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }

// The lanes of `own` where a bit is set, and those of `partner` elsewhere.
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

// Stores kLanes values.  If `past`, the store bypasses the caches, and `to` must be aligned to the
// bytes that are written.
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

inline void put(Float16* to, Floats v, bool past) {
#if defined(__AVX512F__)
  const __m256i halves = _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
  if (past)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), halves);
  else
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves);
#elif defined(__F16C__)
  const __m128i halves = _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
  if (past)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), halves);
  else
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), halves);
#else
  (void)past;
  for (int32_t i = 0; i < kLanes; ++i) to[i].bits = to_float16(v[i]);
#endif
}

inline void put(Bfloat16* to, Floats v, bool past) {
  typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
  const Words bits = (Words)v;
  const Words rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const Words quiet = (bits >> 16) | 0x40u;
  const Halves halves = __builtin_convertvector(v == v ? rounded : quiet, Halves);
#if defined(__AVX512F__)
  if (past) return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)halves);
#elif defined(__AVX2__)
  if (past) return _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)halves);
#else
  (void)past;
#endif
  __builtin_memcpy(to, &halves, sizeof halves);
}

// Mixed bytes are numbers from 0 to 255, so this is to_uint8 without its limits.
inline void put(uint8_t* to, Floats v, bool past) {
  (void)past;  // a caller streams whole blocks of bytes
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

// How many values are stored together.  Stores that bypass the caches should fill whole cache
// lines: a line that is half full may be written to memory at once, and then a second time.
template <typename Out>
constexpr int32_t kTogether = sizeof(Out) > 1 && kLanes > 4 ? 64 / sizeof(Out) : kLanes;

// Stores two vectors, one behind the other.
template <typename Out>
inline void put(Out* to, Floats a, Floats b, bool past) {
  put(to, a, past);
  put(to + kLanes, b, past);
}

#if defined(__AVX512F__)
inline void put(Float16* to, Floats a, Floats b, bool past) {
  const __m256i low = _mm512_cvtps_ph((__m512)a, _MM_FROUND_TO_NEAREST_INT);
  const __m256i high = _mm512_cvtps_ph((__m512)b, _MM_FROUND_TO_NEAREST_INT);
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  if (past)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), both);
  else
    _mm512_storeu_si512(to, both);
}
#endif

// Bit i says whether a[i] > b[i]; of the next two functions, whether a[i] >= b[i], and whether they
// are equal.
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

// Stores the lanes whose bit is set, side by side, and returns how many they are.  What follows
// them, up to a vector's width, may be overwritten.
inline int32_t keep(float* to, Floats v, uint32_t some) {
  if (some == 0) return 0;
#if defined(__AVX512F__)
  put(to, (Floats)_mm512_maskz_compress_ps(static_cast<__mmask16>(some), (__m512)v), false);
  return __builtin_popcount(some);
#else
  int32_t count = 0;
  for (; some; some &= some - 1) to[count++] = v[__builtin_ctz(some)];
  return count;
#endif
}

// a[0], b[0], a[1], b[1], ... in two vectors.
inline void interleave(Floats* out, Floats a, Floats b) {
  Ints low = {}, high = {};
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; ++i) {
    low[i] = i / 2 + i % 2 * kLanes;
    high[i] = low[i] + kLanes / 2;
  }
  out[0] = __builtin_shuffle(a, b, low);
  out[1] = __builtin_shuffle(a, b, high);
}

// Exchanges bit kBit of the row number with that of the lane number, for all values of a square.
template <int32_t kBit>
inline void exchange(Floats* v) {
  Ints low = {}, high = {};
#pragma GCC unroll 16
  for (int32_t j = 0; j < kLanes; ++j) {
    low[j] = j & kBit ? kLanes + (j ^ kBit) : j;
    high[j] = j & kBit ? kLanes + j : j ^ kBit;
  }
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; ++i)
    if (!(i & kBit)) {
      const Floats a = v[i], b = v[i | kBit];
      v[i] = __builtin_shuffle(a, b, low);
      v[i | kBit] = __builtin_shuffle(a, b, high);
    }
}

// Transposes kLanes vectors.
inline void transpose(Floats* v) {
  exchange<1>(v);
  exchange<2>(v);
  if constexpr (kLanes > 4) exchange<4>(v);
  if constexpr (kLanes > 8) exchange<8>(v);
}

}  // namespace
}  // namespace msda
