// Where the RGB pixels of a block come from: one source, a mix of several, or a choice between two.
// Each of these structs has three members for rgb_output.h.  `planes` gives the red, green and blue
// values of the kLanes pixels from x on; `third` gives a third of their values in the order of
// memory; `value` gives value i of the block.
#pragma once
#include "cpu/simd/rgb_vector.h"
#include "msda/blend.h"

namespace msda {
namespace {

// For each value of a third, which of the kLanes pixels it belongs to.
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
  FromFloats moved(int32_t n) const { return {values + n}; }  // without its first n values
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
  FromOne moved(int32_t n) const { return {source + n}; }
};

// The columns [begin, end) of a row, whose pixels are the partner's.  Those around them are own.
struct Box {
  int32_t begin, end;

  bool own_only(int32_t x) const { return x + kLanes <= begin || x >= end; }
  bool partner_only(int32_t x) const { return x >= begin && x + kLanes <= end; }
  uint32_t bits(int32_t x) const { return below(begin - x) | ~below(end - x); }
  static uint32_t below(int32_t n) {
    return n <= 0 ? 0 : n >= kLanes ? ~0u : (uint32_t{1} << n) - 1;
  }
  bool own_at(int32_t x) const { return x < begin || x >= end; }
};

// Own weights of two sources: `of` gives those of kLanes pixels from x on, `of_pixel` one.
struct OneWeight {
  float weight;
  Floats of(int32_t) const { return splat(weight); }
  float of_pixel(int32_t) const { return weight; }
};
struct Weights {
  const float* weights;
  Floats of(int32_t x) const { return load(weights + x); }
  float of_pixel(int32_t x) const { return weights[x]; }
};
struct BumpWeights {  // a row of a Gaussian bump
  const float* along_x;
  float along_y, outside, height;
  Floats of(int32_t x) const {
    return fused(splat(along_y) * load(along_x + x), splat(height), splat(outside));
  }
  float of_pixel(int32_t x) const { return fmaf(along_y * along_x[x], height, outside); }
};

// The weights of the values of a third.
template <int32_t kThird, typename Weight>
Floats of_third(const Weight& weight, int32_t x) {
  return __builtin_shuffle(weight.of(x), pixels_of_third<kThird>());
}
template <int32_t kThird>
Floats of_third(const OneWeight& weight, int32_t x) {
  return weight.of(x);
}

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
    return mixed(of_third<kThird>(weight, x), load_integers(own + at), load_integers(partner + at));
  }
  float value(int32_t i) const { return mix_integers(own[i], partner[i], weight.of_pixel(i / 3)); }
};

// Three or four sources, as mix_many() mixes them.  The first whose weight is not 0 is the base.
// Those of weight 0 come last and change nothing.
template <int32_t kCount>
struct FromMany {
  const uint8_t* sources[kCount];
  float weights[kCount];

  FromMany(const uint8_t* const* from, const Plan& p) {
    int32_t heavy = 0, light = kCount;
    for (int32_t k = 0; k < kCount; ++k) {
      const int32_t to = p.weight[k] != 0.0f ? heavy++ : --light;
      sources[to] = from[k], weights[to] = p.weight[k];
    }
  }
  void planes(Floats* v, int32_t x) const {
    Ints base[3], other[3];
    load_colours(base, sources[0] + 3 * x);
    for (int32_t c = 0; c < 3; ++c) v[c] = to_floats(base[c]);
#pragma GCC unroll 4
    for (int32_t k = 1; k < kCount; ++k) {
      load_colours(other, sources[k] + 3 * x);
      for (int32_t c = 0; c < 3; ++c)
        v[c] = fused(splat(weights[k]), to_floats(other[c] - base[c]), v[c]);
    }
  }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    const int32_t at = 3 * x + kThird * kLanes;
    const Ints base = load_integers(sources[0] + at);
    Floats v = to_floats(base);
    for (int32_t k = 1; k < kCount; ++k)
      v = fused(splat(weights[k]), to_floats(load_integers(sources[k] + at) - base), v);
    return v;
  }
  float value(int32_t i) const {
    const float base = sources[0][i];
    float v = base;
    for (int32_t k = 1; k < kCount; ++k) v = fmaf(weights[k], sources[k][i] - base, v);
    return v;
  }
};

// Each pixel from one of two sources.  `choice` says from which: a Box, or the Bits of a field.
// Both sources are read only where a vector needs both.
template <typename Choice>
struct FromEither {
  const uint8_t *own, *partner;
  Choice choice;

  void planes(Floats* v, int32_t x) const {
    Ints colours[3];
    if (__builtin_expect(choice.own_only(x) || choice.partner_only(x), 1))
      load_colours(colours, (choice.partner_only(x) ? partner : own) + 3 * x);
    else
      choose_colours(colours, choice.bits(x), own + 3 * x, partner + 3 * x);
    for (int32_t c = 0; c < 3; ++c) v[c] = to_floats(colours[c]);
  }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    const int32_t at = 3 * x + kThird * kLanes;
    const Ints values = load_integers((choice.partner_only(x) ? partner : own) + at);
    if (__builtin_expect(choice.own_only(x) || choice.partner_only(x), 1)) return to_floats(values);
    const uint64_t bits = bits_of_values(choice.bits(x)) >> kThird * kLanes;
    const Ints others = whole(load_integers(partner + at));
    return to_floats(chosen(static_cast<uint32_t>(bits), values, others));
  }
  float value(int32_t i) const { return (choice.own_at(i / 3) ? own : partner)[i]; }
};

// A source with a box that Cutout erases: rgb_output.h makes its pixels 0, whatever was read.
template <typename From>
struct Erased {
  From from;
  Box box;

  void planes(Floats* v, int32_t x) const { from.planes(v, x); }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    return from.template third<kThird>(x);
  }
  float value(int32_t i) const { return from.value(i); }
};

}  // namespace
}  // namespace msda
