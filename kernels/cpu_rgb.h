// RGB blocks of the row walk (cpu_rows.cpp) in registers: from bytes or floats, interleaved, to
// planes or pixels, normalised and converted.  Compiled once per instruction set: no C++ library
// code, as explained there.
#pragma once
#include "cpu_vector.h"
#include "msda/blend.h"

namespace msda {
namespace {

// Where an RGB block comes from.  Of kLanes pixels from x on: `planes` gives the colours one by
// one, `third` a third of the values as they lie in memory.  `value` gives value i.

// Of which of kLanes pixels the values of a third are.
template <int32_t kThird>
__attribute__((always_inline)) inline Ints pixels_of_third() {
  Ints pixels = {};
#pragma GCC unroll 16
  for (int32_t i = 0; i < kLanes; ++i) pixels[i] = (kThird * kLanes + i) / 3;
  return pixels;
}

inline Floats mixed(Floats weight, Ints own, Ints partner) {
  return fused(weight, to_floats(own - partner), to_floats(partner));
}

struct FromFloats {
  const float* values;

  void planes(Floats* v, int32_t x) const {
    const Floats a = third<0>(x), b = third<1>(x), c = third<2>(x);
    v[0] = colour<0>(a, b, c), v[1] = colour<1>(a, b, c), v[2] = colour<2>(a, b, c);
  }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    return load(values + 3 * x + kThird * kLanes);
  }
  float value(int32_t i) const { return values[i]; }
};

struct FromOne {
  const uint8_t* source;

  void planes(Floats* v, int32_t x) const {
    Ints colours[3];
    load_colours(colours, source + 3 * x);
    for (int32_t c = 0; c < 3; ++c) v[c] = to_floats(colours[c]);
  }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    return to_floats(load_integers(source + 3 * x + kThird * kLanes));
  }
  float value(int32_t i) const { return source[i]; }
};

// Two sources, and `weight`, which is an own weight for all pixels (a number) or for each.
struct OneWeight {
  float weight;
  Floats of(int32_t) const { return splat(weight); }
  template <int32_t kThird>
  Floats of_third(int32_t) const {
    return splat(weight);
  }
  float of_pixel(int32_t) const { return weight; }
};
struct Weights {
  const float* weights;
  Floats of(int32_t x) const { return load(weights + x); }
  template <int32_t kThird>
  Floats of_third(int32_t x) const {
    return __builtin_shuffle(load(weights + x), pixels_of_third<kThird>());
  }
  float of_pixel(int32_t x) const { return weights[x]; }
};
template <typename Weight>
struct FromTwo {
  const uint8_t *own, *partner;
  Weight weight;

  void planes(Floats* v, int32_t x) const {
    Ints a[3], b[3];
    load_colours(a, own + 3 * x);
    load_colours(b, partner + 3 * x);
    const Floats w = weight.of(x);
    for (int32_t c = 0; c < 3; ++c) v[c] = mixed(w, a[c], b[c]);
  }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    const int32_t at = 3 * x + kThird * kLanes;
    return mixed(weight.template of_third<kThird>(x), load_integers(own + at),
                 load_integers(partner + at));
  }
  float value(int32_t i) const { return mix_integers(own[i], partner[i], weight.of_pixel(i / 3)); }
};

// Each pixel from one of two sources.  `choice` says from which: a Box, or the Bits of a field.
// Both sources are read only where a vector needs both.
struct Box {
  int32_t begin, end;  // the partner's pixels of a row

  bool own_only(int32_t x) const { return x + kLanes <= begin || x >= end; }
  bool partner_only(int32_t x) const { return x >= begin && x + kLanes <= end; }
  uint32_t bits(int32_t x) const { return below(begin - x) | ~below(end - x); }
  static uint32_t below(int32_t n) {
    return n <= 0 ? 0 : n >= kLanes ? ~0u : (uint32_t{1} << n) - 1;
  }
  bool own_at(int32_t x) const { return x < begin || x >= end; }
};
template <typename Choice>
struct FromEither {
  const uint8_t *own, *partner;
  Choice choice;

  void planes(Floats* v, int32_t x) const {
    Ints a[3], b[3];
    const bool one = choice.own_only(x) || choice.partner_only(x);
    load_colours(a, (choice.partner_only(x) ? partner : own) + 3 * x);
    if (!__builtin_expect(one, 1)) {
      load_colours(b, partner + 3 * x);
      const uint32_t bits = choice.bits(x);
      for (int32_t c = 0; c < 3; ++c) a[c] = chosen(bits, a[c], b[c]);
    }
    for (int32_t c = 0; c < 3; ++c) v[c] = to_floats(a[c]);
  }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    const int32_t at = 3 * x + kThird * kLanes;
    const Ints a = load_integers((choice.partner_only(x) ? partner : own) + at);
    if (__builtin_expect(choice.own_only(x) || choice.partner_only(x), 1)) return to_floats(a);
    const Ints own_bits = static_cast<int32_t>(choice.bits(x)) >> pixels_of_third<kThird>() & 1;
    return to_floats(own_bits != 0 ? a : whole(load_integers(partner + at)));
  }
  float value(int32_t i) const { return (choice.own_at(i / 3) ? own : partner)[i]; }
};

// Pixels [0, n) into three planes.
template <typename Out, typename From>
void rgb_to_planes(Out* const* planes, const From from, int32_t n, const float* scale,
                   const float* shift, bool past) {
  // Locals: the stores could otherwise change them.
  Out *red = planes[0], *green = planes[1], *blue = planes[2];
  const Floats scales[3] = {splat(scale[0]), splat(scale[1]), splat(scale[2])};
  const Floats shifts[3] = {splat(shift[0]), splat(shift[1]), splat(shift[2])};
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes) {
    Floats v[3];
    from.planes(v, x);
    put(red + x, fused(v[0], scales[0], shifts[0]), past);
    put(green + x, fused(v[1], scales[1], shifts[1]), past);
    put(blue + x, fused(v[2], scales[2], shifts[2]), past);
  }
  for (; x < n; ++x) {
    store(red + x, normalise(from.value(3 * x), scale[0], shift[0]));
    store(green + x, normalise(from.value(3 * x + 1), scale[1], shift[1]));
    store(blue + x, normalise(from.value(3 * x + 2), scale[2], shift[2]));
  }
}

// Pixels [0, n), interleaved as they come.  `scale` and `shift` hold those of kLanes pixels.
template <typename Out, typename From>
void rgb_to_pixels(Out* out, const From from, int32_t n, const float* scale, const float* shift,
                   bool past) {
  Floats scales[3], shifts[3];
  for (int32_t k = 0; k < 3; ++k) {
    scales[k] = load(scale + k * kLanes);
    shifts[k] = load(shift + k * kLanes);
  }
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes) {
    Out* to = out + 3 * x;
    put(to, fused(from.template third<0>(x), scales[0], shifts[0]), past);
    put(to + kLanes, fused(from.template third<1>(x), scales[1], shifts[1]), past);
    put(to + 2 * kLanes, fused(from.template third<2>(x), scales[2], shifts[2]), past);
  }
  for (int32_t i = 3 * x; i < 3 * n; ++i)
    store(out + i, normalise(from.value(i), scale[i % 3], shift[i % 3]));
}

}  // namespace
}  // namespace msda
