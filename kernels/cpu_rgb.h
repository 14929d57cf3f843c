// RGB blocks of the row walk (cpu_rows.cpp) in registers: from bytes or floats, interleaved, to
// planes or pixels, normalised and converted.  Compiled once per instruction set: no C++ library
// code, as explained there.
#pragma once
#include "cpu_vector.h"
#include "msda/blend.h"

namespace msda {
namespace {

// Where an RGB block comes from, kLanes values at a time and value by value.
struct FromFloats {
  const float* mixed;
  Floats vector(int32_t i) const { return load(mixed + i); }
  float value(int32_t i) const { return mixed[i]; }
};
struct FromOne {
  const uint8_t* source;
  Floats vector(int32_t i) const { return load(source + i); }
  float value(int32_t i) const { return source[i]; }
};
struct FromTwo {
  const uint8_t *own, *partner;
  float weight;
  Floats vector(int32_t i) const {
    const Floats b = load(partner + i);
    return fused(splat(weight), load(own + i) - b, b);
  }
  float value(int32_t i) const { return mix_integers(own[i], partner[i], weight); }
};
// One source in the pixels [begin, end) of a row, the other around them.
struct FromBox {
  const uint8_t *outer, *inner;
  int32_t begin, end;
  float value(int32_t i) const { return (i >= begin * 3 && i < end * 3 ? inner : outer)[i]; }
};
// Two sources and the own weight of each pixel.
struct FromWeighted {
  const uint8_t *own, *partner;
  const float* weights;
  float value(int32_t i) const { return mix_integers(own[i], partner[i], weights[i / 3]); }
};

// Third kThird of the values of kLanes pixels from x on.
template <int32_t kThird, typename From>
__attribute__((always_inline)) inline Floats third(const From& from, int32_t x) {
  return from.vector(3 * x + kThird * kLanes);
}
// Of which of kLanes pixels the values of a third are.
template <int32_t kThird>
__attribute__((always_inline)) inline Ints pixels_of_third() {
  Ints pixels = {};
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; ++i) pixels[i] = (kThird * kLanes + i) / 3;
  return pixels;
}
template <int32_t kThird>
__attribute__((always_inline)) inline Floats third(const FromWeighted& from, int32_t x) {
  const int32_t at = 3 * x + kThird * kLanes;
  const Floats weights = __builtin_shuffle(load(from.weights + x), pixels_of_third<kThird>());
  const Floats b = load(from.partner + at);
  return fused(weights, load(from.own + at) - b, b);
}
template <int32_t kThird>
__attribute__((always_inline)) inline Floats third(const FromBox& from, int32_t x) {
  const int32_t at = 3 * x + kThird * kLanes;
  const bool inside = x >= from.begin && x + kLanes <= from.end;
  const bool outside = x + kLanes <= from.begin || x >= from.end;
  const Floats v = load((inside ? from.inner : from.outer) + at);
  if (__builtin_expect(inside || outside, 1)) return v;
  const Ints pixels = pixels_of_third<kThird>() + x;
  return (pixels >= from.begin) & (pixels < from.end) ? load(from.inner + at) : v;
}

// Pixels [0, n) into three planes.
template <typename Out, typename From>
void rgb_to_planes(Out* const* planes, From from, int32_t n, const float* scale, const float* shift,
                   bool past) {
  // Locals: the stores could otherwise change them.
  Out *red = planes[0], *green = planes[1], *blue = planes[2];
  const Floats scales[3] = {splat(scale[0]), splat(scale[1]), splat(scale[2])};
  const Floats shifts[3] = {splat(shift[0]), splat(shift[1]), splat(shift[2])};
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes) {
    const Floats a = third<0>(from, x), b = third<1>(from, x), c = third<2>(from, x);
    put(red + x, fused(colour<0>(a, b, c), scales[0], shifts[0]), past);
    put(green + x, fused(colour<1>(a, b, c), scales[1], shifts[1]), past);
    put(blue + x, fused(colour<2>(a, b, c), scales[2], shifts[2]), past);
  }
  for (; x < n; ++x) {
    store(red + x, normalise(from.value(3 * x), scale[0], shift[0]));
    store(green + x, normalise(from.value(3 * x + 1), scale[1], shift[1]));
    store(blue + x, normalise(from.value(3 * x + 2), scale[2], shift[2]));
  }
}

// Pixels [0, n), interleaved as they come.
template <typename Out, typename From>
void rgb_to_pixels(Out* out, From from, int32_t n, const float* scale, const float* shift,
                   bool past) {
  Floats scales[3], shifts[3];
  for (int32_t k = 0; k < 3; ++k)
    for (int32_t i = 0; i < kLanes; ++i) {
      scales[k][i] = scale[(k * kLanes + i) % 3];
      shifts[k][i] = shift[(k * kLanes + i) % 3];
    }
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes) {
    Out* to = out + 3 * x;
    put(to, fused(third<0>(from, x), scales[0], shifts[0]), past);
    put(to + kLanes, fused(third<1>(from, x), scales[1], shifts[1]), past);
    put(to + 2 * kLanes, fused(third<2>(from, x), scales[2], shifts[2]), past);
  }
  for (int32_t i = 3 * x; i < 3 * n; ++i)
    store(out + i, normalise(from.value(i), scale[i % 3], shift[i % 3]));
}

}  // namespace
}  // namespace msda
