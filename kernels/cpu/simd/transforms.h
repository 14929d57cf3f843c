// The Fourier transforms of a field, along lines that lie beside each other as a vector's lanes.
#pragma once
// clang-format off: the templates of msda/field/fourier.h look for the fused() of vector.h
#include "cpu/simd/vector.h"
#include "cpu/simd/kernels.h"
// clang-format on

namespace msda {
namespace {

// Rows that begin anywhere: row i at start[i].
struct Rows {
  const float *re, *im;
  const int32_t* start;
};

// A pass of radix R1 and, unless R2 is 1, the next one, of radix R2.  Values stay in registers
// between the two, and between a load and a store.  An entry that is turned by no angle may lose
// the sign of a zero, which no mask depends on.  `flatten` inlines the sums: calls would cost a
// fifth of the transforms' time.  With kFromRows the entries come from `rows`.
template <int32_t R1, int32_t R2, bool kFromRows = false>
__attribute__((flatten)) void take_passes(int32_t length, int32_t block, const Turns& turns,
                                          const Data& data, const Line& line, const Rows& rows) {
  constexpr int32_t n = R1 * R2;
  const int32_t part = block / n, blocks = length / block;
  const int64_t gap = part * line.stride, next = block * line.stride;
  const auto turn = [cosine = turns.cosine, sine = turns.sine](Complex<Floats> a, int32_t number) {
    return turned(a, splat(cosine[number]), splat(sine[number]));
  };
  for (int32_t j = 0; j < part; ++j) {
    float *re = data.re + entry(line, j), *im = data.im + entry(line, j);
    for (int32_t k = 0; k < blocks; ++k, re += next, im += next) {
      Complex<Floats> a[n];
#pragma GCC unroll 16
      for (int32_t i = 0; i < n; ++i)
        if constexpr (kFromRows) {
          const int64_t at = rows.start[k * block + j + i * part];
          a[i] = {load(rows.re + at), load(rows.im + at)};
        } else {
          a[i] = {load(re + i * gap), load(im + i * gap)};
        }
#pragma GCC unroll 16
      for (int32_t l = 0; l < R2; ++l) {
        Complex<Floats> v[R1];
#pragma GCC unroll 16
        for (int32_t q = 0; q < R1; ++q) v[q] = a[q * R2 + l];
        sum<R1>(v);
        a[l] = v[0];
#pragma GCC unroll 16
        for (int32_t q = 1; q < R1; ++q)
          a[q * R2 + l] = R2 > 1 || part > 1 ? turn(v[q], q * blocks * (j + l * part)) : v[q];
      }
#pragma GCC unroll 16
      for (int32_t m = 0; m < R1 && R2 > 1; ++m) {
        sum<R2>(a + m * R2);
#pragma GCC unroll 16
        for (int32_t q = 1; q < R2 && part > 1; ++q)
          a[m * R2 + q] = turn(a[m * R2 + q], q * R1 * blocks * j);
      }
#pragma GCC unroll 16
      for (int32_t i = 0; i < n; ++i) {
        put(re + i * gap, a[i].re, false);
        put(im + i * gap, a[i].im, false);
      }
    }
  }
}

// A pass of any radix.
__attribute__((flatten)) void take_large_pass(const Passes& p, int32_t radix, int32_t block,
                                              const Turns& turns, const Data& data,
                                              const Line& line, Complex<Floats>* room) {
  for (int32_t j = 0; j < block / radix; ++j)
    for (int32_t first = j; first < p.length; first += block)
      butterfly_at(p.length, radix, block, first, j, turns, data, line, room);
}

// Whether transform() may take its entries from rows.
bool takes_rows(const Passes& p) { return p.count > 1 && p.radix[0] == 4 && p.radix[1] != 2; }

// Transforms kLanes lines.  If `rows` is not null, their entries come from there.
void transform(const Passes& p, const Turns& turns, const Data& data, const Line& line,
               Complex<Floats>* room, const Rows* rows = nullptr) {
  int32_t block = p.length;
  for (int32_t k = 0; k < p.count; block /= p.radix[k++]) {
    const int32_t radix = p.radix[k];
    const bool two = radix == 4 && k + 1 < p.count && p.radix[k + 1] == 2;
    const auto pass = rows && k == 0 ? take_passes<4, 1, true>
                      : two          ? take_passes<4, 2>
                      : radix == 2   ? take_passes<2, 1>
                      : radix == 3   ? take_passes<3, 1>
                      : radix == 4   ? take_passes<4, 1>
                      : radix == 5   ? take_passes<5, 1>
                      : radix == 7   ? take_passes<7, 1>
                                     : nullptr;
    if (pass)
      pass(p.length, block, turns, data, line, rows ? *rows : Rows{});
    else
      take_large_pass(p, radix, block, turns, data, line, room);
    if (two) block /= p.radix[k++];
  }
}

}  // namespace
}  // namespace msda
