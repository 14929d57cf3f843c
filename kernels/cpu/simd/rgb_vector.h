// Vectors of RGB pixels, and the bits of a mask that choose among them.  Each has the bits of its
// scalar twin in msda/blend.h.
//
// What takes intrinsics is in vector/, where each instruction set has
//
//   Pixels                     kLanes interleaved RGB pixels of bytes; load_pixels, store_pixels
//   colours_of(colours, pixels)  their red, green and blue, as whole numbers
//   load_chosen(bits, own, partner)  pixels of `own` where a bit is set, else those of `partner`
//   bits_of_values(bits)       each of kLanes bits three times: bits of pixels become those of
//                              their RGB values
//   whole(v)                   keeps the compiler from loading only the lanes that are chosen
#pragma once
#include "cpu/simd/vector.h"
#if defined(__x86_64__)
#include "cpu/simd/vector/rgb_x86.h"
#else
#include "cpu/simd/vector/rgb_neon.h"
#endif

namespace msda {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint8_t LooseBytes __attribute__((vector_size(16), aligned(1), may_alias));

// Copies the pixels of a row at n columns, which are given as places of bytes in the row.  It
// copies as many as vectors can, from the first on, and returns how many.
#if !defined(__AVX512VBMI__)
inline int32_t pick_pixels(uint8_t*, const uint8_t*, int32_t, const int32_t*, int32_t) { return 0; }
#endif
inline int32_t pick_pixels(float*, const float*, int32_t, const int32_t*, int32_t) { return 0; }

// Red, green and blue of kLanes interleaved pixels of bytes, as whole numbers.
inline void load_colours(Ints* colours, const uint8_t* from) {
  colours_of(colours, load_pixels(from));
}

// The colours of kLanes pixels from two sources, chosen as load_chosen() does.
inline void choose_colours(Ints* colours, uint32_t bits, const uint8_t* own,
                           const uint8_t* partner) {
  colours_of(colours, load_chosen(bits, own, partner));
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
#if !defined(__AVX512VBMI__)
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
