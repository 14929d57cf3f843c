// A vector of floats, as wide as the instruction set has them, and the few operations that the
// compiler does not find by itself.  Each gives the bits of its scalar twin in msda/blend.h.
//
// Those that take intrinsics are in vector/, where each instruction set has
//
//   fused(a, b, c)          as fmaf, lane by lane
//   load_integers(from)     kLanes bytes as whole numbers
//   chosen(bits, own, other)  the lanes of `own` where a bit is set, and those of `other` elsewhere
//   product(a, b)           `a` times each lane of `b`
//   put(to, v, past)        stores kLanes floats; if `past`, the store bypasses the caches where
//                           there is such a store (kBypasses), and `to` must be aligned to it
//   put_halves(to, v, past)   the same of kLanes values of two bytes
//   put_bytes(to, v)        stores numbers from 0 to 255, rounded as to_uint8 does
//   float16_of(v)           as to_float16
//   greater(a, b)           bit i says whether a[i] > b[i]; at_least: a[i] >= b[i]; equal: ==
//   Counter                 counts lanes: add_greater, add_at_least, total
//   keep(to, v, some)       stores the lanes whose bit is set, side by side, and returns how many
//                           they are; what follows them, up to a vector's width, may be overwritten
//   finish_stores()         waits for stores that bypass the caches
#pragma once
#if defined(__x86_64__)
#include "cpu/simd/vector/x86.h"
#else
#include "cpu/simd/vector/neon.h"
#endif

namespace msda {
namespace {

inline bool aligned(const void* at, int32_t bytes) {
  return (reinterpret_cast<uintptr_t>(at) & (bytes - 1)) == 0;
}

// Prefetches memory into the second-level cache, or into the one that kLocality names: 3 is the
// first.  It must be inlined: the compiler takes a function that only prefetches for one without
// any effect, and leaves its calls out.
template <int32_t kLocality = 2>
__attribute__((always_inline)) inline void fetch(const void* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64)
    __builtin_prefetch(static_cast<const char*>(from) + at, 0, kLocality);
}

inline Floats splat(float v) { return v - Floats{}; }  // adding 0 would lose the sign of -0

inline Floats load(const float* from) { return *reinterpret_cast<const LooseFloats*>(from); }

inline Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }

inline void put(Float16* to, Floats v, bool past) { put_halves(to, float16_of(v), past); }

inline void put(Bfloat16* to, Floats v, bool past) {
  const Words bits = (Words)v;
  const Words rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const Words quiet = (bits >> 16) | 0x40u;
  put_halves(to, __builtin_convertvector(v == v ? rounded : quiet, Halves), past);
}

inline void put(uint8_t* to, Floats v, bool) {  // a caller streams whole blocks of bytes
  put_bytes(to, v);
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
