// The one file that knows which compiler is reading it: a host C++ compiler, nvcc or NVRTC.
// Everything else under msda/ is plain C++17 over the names defined here.
//
// Build with contraction off (-ffp-contract=off, -fmad=false) and without fast-math: every rounding
// that happens is then written down in the source, and CPU and GPU return the same bits.
#pragma once

// Host functions are `static`: the CPU backend compiles the same headers once per instruction set,
// and the linker must never replace one build's function by another's.
#if defined(__CUDACC__)
#define MSDA_FN static __host__ __device__ __forceinline__
#else
#define MSDA_FN [[maybe_unused]] static inline
#endif

#if defined(__CUDACC_RTC__)  // NVRTC comes without a C++ standard library
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
#else
#include <cmath>
#include <cstdint>
#endif

namespace msda {

// The same 32 bits, read as the other type.
MSDA_FN uint32_t bits_of(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

MSDA_FN float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

MSDA_FN double double_of(uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return __longlong_as_double(static_cast<long long>(bits));
#else
  double value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

MSDA_FN uint64_t bits_of(double value) {
#if defined(__CUDA_ARCH__)
  return static_cast<uint64_t>(__double_as_longlong(value));
#else
  uint64_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

// The 64 bits of a product, as two words.
MSDA_FN uint32_t product(uint32_t* high, uint32_t a, uint32_t b) {
  const uint64_t both = uint64_t{a} * b;
#if defined(__CUDA_ARCH__)
  uint32_t low;
  asm("mov.b64 {%0, %1}, %2;" : "=r"(low), "=r"(*high) : "l"(both));  // no shift is needed
  return low;
#else
  *high = static_cast<uint32_t>(both >> 32);
  return static_cast<uint32_t>(both);
#endif
}

// The high word of a product.
MSDA_FN uint32_t high_product(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  return __umulhi(a, b);
#else
  return static_cast<uint32_t>(uint64_t{a} * b >> 32);
#endif
}

// a ^ b ^ c
MSDA_FN uint32_t exclusive_or(uint32_t a, uint32_t b, uint32_t c) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0x96;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
#else
  return a ^ b ^ c;
#endif
}

// Moves the bits of a word up by one; the highest bit of `next` becomes the lowest.
MSDA_FN uint32_t shifted_in(uint32_t word, uint32_t next) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_l(next, word, 1);
#else
  return word << 1 | next >> 31;
#endif
}

// A float, or as many as a vector has lanes, at any address of a float.
template <typename V>
MSDA_FN V load_lanes(const float* at) {
#if defined(__CUDA_ARCH__)
  return *reinterpret_cast<const V*>(at);
#else
  V value;
  __builtin_memcpy(&value, at, sizeof value);
  return value;
#endif
}

template <typename V>
MSDA_FN void store_lanes(float* at, const V& value) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<V*>(at) = value;
#else
  __builtin_memcpy(at, &value, sizeof value);
#endif
}

#if !defined(__CUDA_ARCH__)
// Ends the program at an address that is no multiple of `bytes`, where a GPU's wide loads and
// stores would fail.
MSDA_FN void expect_aligned(const void* at, uintptr_t bytes) {
  if (reinterpret_cast<uintptr_t>(at) % bytes) __builtin_trap();
}
#endif

// Two floats at an address that is a multiple of 8.
MSDA_FN void load8(float* first, float* second, const float* at) {
#if defined(__CUDA_ARCH__)
  const float2 both = *reinterpret_cast<const float2*>(at);
  *first = both.x, *second = both.y;
#else
  expect_aligned(at, 8);
  *first = at[0], *second = at[1];
#endif
}

MSDA_FN void store8(float* at, float first, float second) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<float2*>(at) = make_float2(first, second);
#else
  expect_aligned(at, 8);
  at[0] = first, at[1] = second;
#endif
}

// Four floats at an address that is a multiple of 16.
MSDA_FN void load16(float* to, const float* at) {
#if defined(__CUDA_ARCH__)
  const float4 all = *reinterpret_cast<const float4*>(at);
  to[0] = all.x, to[1] = all.y, to[2] = all.z, to[3] = all.w;
#else
  expect_aligned(at, 16);
  for (int32_t i = 0; i < 4; ++i) to[i] = at[i];
#endif
}

MSDA_FN void store16(float* at, const float* from) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<float4*>(at) = make_float4(from[0], from[1], from[2], from[3]);
#else
  expect_aligned(at, 16);
  for (int32_t i = 0; i < 4; ++i) at[i] = from[i];
#endif
}

// 16 bytes at an address that is a multiple of 16: the widest load and store of a GPU.
struct alignas(16) Words16 {
  uint32_t word[4];
};

// Tells a GPU's compiler that an address, which comes from a record, is no address of another kind
// of memory: it then needs no instruction that asks.
MSDA_FN const char* in_global(const char* at) {
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(at));
#endif
  return at;
}

// Loads of 16, 8 and 4 bytes.  They are plain loads: those by way of the cache for constants
// (ld.global.nc) may not see memory that the kernel writes, as it does in place.
MSDA_FN Words16 load16(const char* at) {
#if defined(__CUDA_ARCH__)
  const uint4 w = *reinterpret_cast<const uint4*>(in_global(at));
  return {{w.x, w.y, w.z, w.w}};
#else
  expect_aligned(at, 16);
  Words16 w;
  __builtin_memcpy(&w, at, sizeof w);
  return w;
#endif
}

MSDA_FN void load8(uint32_t* words, const char* at) {
#if defined(__CUDA_ARCH__)
  const uint2 w = *reinterpret_cast<const uint2*>(in_global(at));
  words[0] = w.x, words[1] = w.y;
#else
  expect_aligned(at, 8);
  __builtin_memcpy(words, at, 8);
#endif
}

MSDA_FN uint32_t load4(const char* at) {
#if defined(__CUDA_ARCH__)
  return *reinterpret_cast<const uint32_t*>(in_global(at));
#else
  expect_aligned(at, 4);
  uint32_t word;
  __builtin_memcpy(&word, at, sizeof word);
  return word;
#endif
}

// A GPU is told not to keep the bytes in its caches: an output is not read again soon, while an
// input is, as a partner.
MSDA_FN void store16(char* at, const Words16& w) {
#if defined(__CUDA_ARCH__)
  __stcs(reinterpret_cast<uint4*>(at), make_uint4(w.word[0], w.word[1], w.word[2], w.word[3]));
#else
  expect_aligned(at, 16);
  __builtin_memcpy(at, &w, sizeof w);
#endif
}

// The first 8 bytes, at an address that is a multiple of 8.
MSDA_FN void store8(char* at, const Words16& w) {
#if defined(__CUDA_ARCH__)
  __stcs(reinterpret_cast<uint2*>(at), make_uint2(w.word[0], w.word[1]));
#else
  expect_aligned(at, 8);
  __builtin_memcpy(at, &w, sizeof w / 2);
#endif
}

// The first 4 bytes, at an address that is a multiple of 4.
MSDA_FN void store4(char* at, const Words16& w) {
#if defined(__CUDA_ARCH__)
  __stcs(reinterpret_cast<uint32_t*>(at), w.word[0]);
#else
  expect_aligned(at, 4);
  __builtin_memcpy(at, &w, 4);
#endif
}

// The last 32 bits of an address, of which a GPU's compiler would go on asking in 64.
MSDA_FN uint32_t address_bits(const char* at) {
#if defined(__CUDA_ARCH__)
  uint32_t bits;
  asm("cvt.u32.u64 %0, %1;" : "=r"(bits) : "l"(at));
  return bits;
#else
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(at));
#endif
}

// Four of the eight bytes of `low` and `high`, in one instruction: digit i of `places`, from the
// right, is the place of byte i of the result.
MSDA_FN uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t places) {
#if defined(__CUDA_ARCH__)
  return __byte_perm(low, high, places);
#else
  const uint64_t bytes = uint64_t{high} << 32 | low;
  uint32_t picked = 0;
  for (int32_t i = 0; i < 4; ++i)
    picked |= static_cast<uint32_t>(bytes >> 8 * (places >> 4 * i & 7u) & 0xFFu) << 8 * i;
  return picked;
#endif
}

// The same of the four bytes of `word`, but each byte of the result is 255 or 0, as the highest bit
// of the byte is set or not.
MSDA_FN uint32_t pick_signs(uint32_t word, uint32_t places) {
#if defined(__CUDA_ARCH__)  // __byte_perm() does not know of this
  uint32_t picked;
  asm("prmt.b32 %0, %1, %1, %2;" : "=r"(picked) : "r"(word), "r"(places | 0x8888u));
  return picked;
#else
  return (pick_bytes(word, 0, places) >> 7 & 0x01010101u) * 0xFFu;
#endif
}

// The four bytes from bit `shift` on of `low` and then `high`; `shift` is below 32.
MSDA_FN uint32_t shift_out(uint32_t low, uint32_t high, uint32_t shift) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_r(low, high, shift);
#else
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> shift);
#endif
}

// Two floats as binary16 (below: as bfloat16), rounded to nearest even, the first in the low half.
// Returns false where the machine has no instruction for it.
MSDA_FN bool hardware_float16_pair(uint32_t* pair, float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(*pair) : "f"(high), "f"(low));
  return true;
#elif defined(__CUDA_ARCH__)
  uint16_t first, second;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(first) : "f"(low));
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(second) : "f"(high));
  *pair = first | static_cast<uint32_t>(second) << 16;
  return true;
#else
  static_cast<void>(pair), static_cast<void>(low), static_cast<void>(high);
  return false;
#endif
}

MSDA_FN bool hardware_bfloat16_pair(uint32_t* pair, float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(*pair) : "f"(high), "f"(low));
  return true;
#else
  static_cast<void>(pair), static_cast<void>(low), static_cast<void>(high);
  return false;
#endif
}

// Makes a compiler read memory again rather than keep what it has read in registers.
MSDA_FN void read_memory_again() {
#if defined(__CUDA_ARCH__)
  asm volatile("" ::: "memory");
#endif
}

}  // namespace msda
