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

// The partner's pixels of a row: those of a box, which may be what is left around it.
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
struct BumpWeights {  // a row of a Gaussian field
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

// Three or four sources, as mix_many() mixes them: the first is the base.
struct FromMany {
  const uint8_t* sources[kMaxSources];
  float weights[kMaxSources];
  int32_t count;

  FromMany(const uint8_t* const* from, const Plan& p) : count(0) {
    for (int32_t k = 0; k < p.sources; ++k)
      if (p.weight[k] != 0.0f || (count == 0 && k == p.sources - 1))
        sources[count] = from[k], weights[count++] = p.weight[k];
  }
  void planes(Floats* v, int32_t x) const {
    Ints base[3], other[3];
    load_colours(base, sources[0] + 3 * x);
    for (int32_t c = 0; c < 3; ++c) v[c] = to_floats(base[c]);
    for (int32_t k = 1; k < count; ++k) {
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
    for (int32_t k = 1; k < count; ++k)
      v = fused(splat(weights[k]), to_floats(load_integers(sources[k] + at) - base), v);
    return v;
  }
  float value(int32_t i) const {
    const float base = sources[0][i];
    float v = base;
    for (int32_t k = 1; k < count; ++k) v = fmaf(weights[k], sources[k][i] - base, v);
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
      load_chosen(colours, choice.bits(x), own + 3 * x, partner + 3 * x);
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

// Cutout: what lies in the box is 0 in the end, whatever was read.
template <typename From>
struct Cut {
  From from;
  Box box;

  void planes(Floats* v, int32_t x) const { from.planes(v, x); }
  template <int32_t kThird>
  Floats third(int32_t x) const {
    return from.template third<kThird>(x);
  }
  float value(int32_t i) const { return from.value(i); }
};

// What becomes of normalised values: of kLanes pixels, of a third, of one value.
template <typename From>
Floats finished(const From&, Floats v, int32_t) {
  return v;
}
template <typename From>
Floats finished(const Cut<From>& cut, Floats v, int32_t x) {
  return (Floats)chosen(cut.box.bits(x), (Ints)v, Ints{});
}
template <int32_t kThird, typename From>
Floats finished_third(const From&, Floats v, int32_t) {
  return v;
}
template <int32_t kThird, typename From>
Floats finished_third(const Cut<From>& cut, Floats v, int32_t x) {
  const uint64_t bits = bits_of_values(cut.box.bits(x)) >> kThird * kLanes;
  return (Floats)chosen(static_cast<uint32_t>(bits), (Ints)v, Ints{});
}
template <typename From>
float finished_value(const From&, float v, int32_t) {
  return v;
}
template <typename From>
float finished_value(const Cut<From>& cut, float v, int32_t i) {
  return cut.box.own_at(i / 3) ? v : 0.0f;
}

// Bytes stay as they are.
template <typename Out>
Floats normalised(Floats v, Floats scale, Floats shift) {
  if constexpr (sizeof(Out) == 1) return v;
  return fused(v, scale, shift);
}

// Keeps the compiler from making vectors of a loop that has fewer turns than they have lanes.
inline void one_by_one(int32_t* turn) { asm("" : "+r"(*turn)); }

// Rows of n pixels into three planes; from_row(r) is where row r comes from.  A function of its
// own: side by side with others it would run out of registers.
template <bool past, typename Out, typename FromRow>
__attribute__((noinline, flatten)) void rgb_to_planes(Out* const* planes, const FromRow from_row,
                                                      int32_t rows, int32_t n, const float* scale,
                                                      const float* shift) {
  // Locals: the stores could otherwise change them.
  Out *red = planes[0], *green = planes[1], *blue = planes[2];
  const Floats scales[3] = {splat(scale[0]), splat(scale[1]), splat(scale[2])};
  const Floats shifts[3] = {splat(shift[0]), splat(shift[1]), splat(shift[2])};
  for (int32_t r = 0; r < rows; ++r, red += n, green += n, blue += n) {
    const auto from = from_row(r);
    const auto colours = [&](Floats* v, int32_t x) {
      from.planes(v, x);
      for (int32_t c = 0; c < 3; ++c)
        v[c] = finished(from, normalised<Out>(v[c], scales[c], shifts[c]), x);
    };
    const auto put_at = [&](int32_t x) {
      Floats v[3];
      colours(v, x);
      put(red + x, v[0], past), put(green + x, v[1], past), put(blue + x, v[2], past);
    };
    int32_t x = 0;
    constexpr int32_t kVectors = kTogether<Out> / kLanes;
    if constexpr (kVectors > 1)
      for (; x + kTogether<Out> <= n; x += kTogether<Out>) {
        Floats v[kVectors][3];
        for (int32_t k = 0; k < kVectors; ++k) colours(v[k], x + k * kLanes);
        const auto put_line = [&](Out* to, int32_t c) {
          for (int32_t k = 0; k < kVectors; k += 2)
            put(to + k * kLanes, v[k][c], v[k + 1][c], past);
        };
        put_line(red + x, 0), put_line(green + x, 1), put_line(blue + x, 2);
      }
    for (; x + kLanes <= n; x += kLanes) put_at(x);
    if (x == n) continue;
    if (!past && n >= kLanes) {  // the last ones, and some again
      put_at(n - kLanes);
      continue;
    }
    for (; x < n; ++x) {
      one_by_one(&x);
      const auto value = [&](int32_t c) {
        const float v = normalise(from.value(3 * x + c), scale[c], shift[c]);
        return finished_value(from, v, 3 * x + c);
      };
      store(red + x, value(0)), store(green + x, value(1)), store(blue + x, value(2));
    }
  }
}

// The same, interleaved as they come.  `scale` and `shift` hold those of kLanes pixels.
template <bool past, typename Out, typename FromRow>
__attribute__((noinline, flatten)) void rgb_to_pixels(Out* out, const FromRow from_row,
                                                      int32_t rows, int32_t n, const float* scale,
                                                      const float* shift) {
  Floats scales[3], shifts[3];
  for (int32_t k = 0; k < 3; ++k) {
    scales[k] = load(scale + k * kLanes);
    shifts[k] = load(shift + k * kLanes);
  }
  for (int32_t r = 0; r < rows; ++r, out += 3 * n) {
    const auto from = from_row(r);
    const auto put_at = [&](int32_t x) {
      Out* to = out + 3 * x;
      const Floats first = normalised<Out>(from.template third<0>(x), scales[0], shifts[0]);
      const Floats second = normalised<Out>(from.template third<1>(x), scales[1], shifts[1]);
      const Floats third = normalised<Out>(from.template third<2>(x), scales[2], shifts[2]);
      put(to, finished_third<0>(from, first, x), past);
      put(to + kLanes, finished_third<1>(from, second, x), past);
      put(to + 2 * kLanes, finished_third<2>(from, third, x), past);
    };
    int32_t x = 0;
    for (; x + kLanes <= n; x += kLanes) put_at(x);
    if (x == n) continue;
    if (!past && n >= kLanes) {
      put_at(n - kLanes);
      continue;
    }
    for (int32_t i = 3 * x; i < 3 * n; ++i) {
      one_by_one(&i);
      const float v = normalise(from.value(i), scale[i % 3], shift[i % 3]);
      store(out + i, finished_value(from, v, i));
    }
  }
}

}  // namespace
}  // namespace msda
