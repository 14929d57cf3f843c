// Inverse Fourier transforms of any length, in place, as passes of independent butterflies.
//
// A transform of length n = r1 r2 ... rk takes k passes.  Pass i splits each block of entries into
// ri parts (decimation in frequency).  No butterfly of a pass touches the values of another one, so
// threads may take them in any order.  The results lie in digit-reversed order: output number t
// lies at reversed(t).  CPU and GPU compute every value by the same expressions, so they agree to
// the bit.
//
// V is a float, or a vector of floats whose lanes are separate transforms.  `fused(a, b, c)` is
// a b + c, rounded once.
#pragma once
#include "msda/portable.h"

namespace msda {

constexpr int32_t kMaxPasses = 31;

MSDA_FN float fused(float a, float b, float c) { return fmaf(a, b, c); }

// The same number in every lane.  x - 0 is x, while x + 0 would lose the sign of -0.
template <typename V>
MSDA_FN V lanes(float x) {
  return x - V{};
}

template <typename V>
struct Complex {
  V re, im;
};

template <typename V>
MSDA_FN Complex<V> operator+(Complex<V> a, Complex<V> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename V>
MSDA_FN Complex<V> operator-(Complex<V> a, Complex<V> b) {
  return {a.re - b.re, a.im - b.im};
}
template <typename V>
MSDA_FN Complex<V> times_i(Complex<V> a) {
  return {-a.im, a.re};
}
// a (c + i s): `a` turned by an angle whose cosine is c and whose sine is s.
template <typename V>
MSDA_FN Complex<V> turned(Complex<V> a, V c, V s) {
  return {fused(a.re, c, -(a.im * s)), fused(a.re, s, a.im * c)};
}

// How a length is cut into passes.
struct Passes {
  int32_t length, count;
  int32_t radix[kMaxPasses];
};

// Radix 4 first, then the primes in order; a prime of any size is its own pass.
MSDA_FN Passes passes_of(int32_t length) {
  Passes p = {length, 0, {}};
  int32_t rest = length;
  for (; rest % 4 == 0; rest /= 4) p.radix[p.count++] = 4;
  for (int32_t factor = 2; rest > 1; ++factor) {
    if (factor > 46340 || factor * factor > rest) factor = rest;
    for (; rest % factor == 0; rest /= factor) p.radix[p.count++] = factor;
  }
  return p;
}

// Where output number t of a transform lies.
MSDA_FN int32_t reversed(const Passes& p, int32_t t) {
  int32_t at = 0, block = p.length;
  for (int32_t k = 0; k < p.count; ++k) {
    block /= p.radix[k];
    at += t % p.radix[k] * block;
    t /= p.radix[k];
  }
  return at;
}

// cos and sin of 2 pi k / length for k = 0 .. length - 1, made once on the CPU.
struct Turns {
  const float *cosine, *sine;
};

// The sums of a butterfly of radix r over the values a[0 .. r - 1], in place:
// a[p] becomes the sum over q of a[q] e^(2 pi i p q / r).
template <typename V>
MSDA_FN void sum_of_two(Complex<V>* a) {
  const Complex<V> b = a[0] - a[1];
  a[0] = a[0] + a[1];
  a[1] = b;
}

template <typename V>
MSDA_FN void sum_of_four(Complex<V>* a) {
  const Complex<V> even = a[0] + a[2], odd = a[1] + a[3];
  const Complex<V> even_difference = a[0] - a[2], odd_difference = times_i(a[1] - a[3]);
  a[0] = even + odd;
  a[1] = even_difference + odd_difference;
  a[2] = even - odd;
  a[3] = even_difference - odd_difference;
}

// cos and sin of 2 pi k / r, where `step` is length / r.  Those of 3, 5 and 7 are the same in every
// table of turns, so they stand here too: a compiler puts them into its instructions.
template <int32_t R>
MSDA_FN Complex<float> turn_of_part(const Turns& turns, int32_t step, int32_t k) {
  if constexpr (R == 3 || R == 5 || R == 7) {
    constexpr float cosine[3][3] = {{-0.5f},
                                    {0x1.3c6ef4p-2f, -0x1.9e377ap-1f},
                                    {0x1.3f3a0ep-1f, -0x1.c7b90ep-3f, -0x1.cd4bcap-1f}};
    constexpr float sine[3][3] = {{0x1.bb67aep-1f},
                                  {0x1.e6f0e2p-1f, 0x1.2cf23p-1f},
                                  {0x1.904c38p-1f, 0x1.f329cp-1f, 0x1.bc4c04p-2f}};
    const int32_t nearest = k <= R / 2 ? k : R - k;  // the other half is its mirror image
    const float s = sine[R / 2 - 1][nearest - 1];
    return {cosine[R / 2 - 1][nearest - 1], nearest == k ? s : -s};
  } else {
    return {turns.cosine[k * step], turns.sine[k * step]};
  }
}

// The same for an odd radix R or, if R is 0, `radix`.  Every output takes a[k] and a[r - k] by
// their sum and their difference only, which `held` keeps: r - 1 values.  `step` is length / r, the
// stride in the table of turns.
template <int32_t R, typename V>
MSDA_FN void sum_of_odd(Complex<V>* a, Complex<V>* held, int32_t radix, const Turns& turns,
                        int32_t step) {
  const int32_t r = R ? R : radix, half = r / 2;
  Complex<V> total = a[0];
#pragma unroll
  for (int32_t k = 1; k <= half; ++k) {
    held[k - 1] = a[k] + a[r - k];
    held[half + k - 1] = a[k] - a[r - k];
    total = total + held[k - 1];
  }
#pragma unroll
  for (int32_t p = 1; p <= half; ++p) {
    Complex<V> even = a[0], odd = {V{}, V{}};
    int32_t turn = 0;
#pragma unroll
    for (int32_t k = 0; k < half; ++k) {
      turn += p;
      if (turn >= r) turn -= r;
      const Complex<float> t = turn_of_part<R>(turns, step, turn);
      const V c = lanes<V>(t.re), s = lanes<V>(t.im);
      even = {fused(c, held[k].re, even.re), fused(c, held[k].im, even.im)};
      odd = {fused(s, held[half + k].re, odd.re), fused(s, held[half + k].im, odd.im)};
    }
    const Complex<V> quarter = times_i(odd);
    a[p] = even + quarter;
    a[r - p] = even - quarter;
  }
  a[0] = total;
}

// Where the entries of a transform lie: entry k at first + k * stride.
struct Line {
  int64_t first, stride;
};

MSDA_FN int64_t entry(const Line& line, int32_t k) { return line.first + k * line.stride; }

// Real and imaginary parts, each in an array of its own.
struct Data {
  float *re, *im;
};

template <typename V>
MSDA_FN Complex<V> get(const Data& data, int64_t at) {
  return {load_lanes<V>(data.re + at), load_lanes<V>(data.im + at)};
}

template <typename V>
MSDA_FN void set(const Data& data, int64_t at, const Complex<V>& value) {
  store_lanes(data.re + at, value.re);
  store_lanes(data.im + at, value.im);
}

// Real and imaginary part of an entry side by side, which a GPU moves in one load or store.
struct Entries {
  float* values;
};

template <typename V>
MSDA_FN Complex<V> get(const Entries& data, int64_t at) {
  Complex<V> value;
  load8(&value.re, &value.im, data.values + 2 * at);
  return value;
}

MSDA_FN void set(const Entries& data, int64_t at, const Complex<float>& value) {
  store8(data.values + 2 * at, value.re, value.im);
}

// One butterfly of a pass that splits blocks of `block` entries into any number `radix` of parts.
// It takes entries first, first + part, ..., where `first` is entry j of its block, and works in
// `room`, which has 2 radix values.  For the next pass the values are turned, by
// e^(2 pi i j q / block).
template <typename V, typename D>
MSDA_FN void butterfly_at(int32_t length, int32_t radix, int32_t block, int32_t first, int32_t j,
                          const Turns& turns, const D& data, const Line& line, Complex<V>* room) {
  const int32_t part = block / radix, spacing = length / block * j;
  Complex<V>* a = room;
  for (int32_t q = 0; q < radix; ++q) a[q] = get<V>(data, entry(line, first + q * part));
  sum_of_odd<0>(a, a + radix, radix, turns, length / radix);
  for (int32_t q = 1; q < radix && j > 0; ++q)
    a[q] = turned(a[q], lanes<V>(turns.cosine[q * spacing]), lanes<V>(turns.sine[q * spacing]));
  for (int32_t q = 0; q < radix; ++q) set(data, entry(line, first + q * part), a[q]);
}

}  // namespace msda
