// The mask of FMix: the greatest `count` values of a random field with a power-law spectrum.
// Harris et al., arXiv:2002.12047, eq. 3 to 5, in 1, 2 or 3 dimensions.
//
// The field is the real part of an inverse Fourier transform of complex normals over f^decay.  It
// is real, so only half of its spectrum is needed: depth x height x half entries, where `half` is
// width / 2 + 1.
//
// Row (z, y) of the half spectrum is row z * height + y in memory.  After the transforms along z
// and y, two rows a and b are joined into one complex line a + i b: both become real lines, so that
// one complex transform along x makes the two.  The line takes the first `width` of the 2 * half
// places of its rows.
#pragma once
#include "msda/field/fourier.h"
#include "msda/maths.h"
#include "msda/philox.h"

namespace msda {

enum FieldLaw : int32_t {
  kLawPaper = 0,   // every frequency, eq. 3
  kLawLegacy = 1,  // what the released code draws: see legacy_amplitudes
};

struct Field {
  int32_t depth, height, width, half;
  int32_t law, modes;  // modes: frequencies kept per axis, 0 for all
  float decay;
  uint32_t seed[2];
  float per_depth, per_height, per_width;  // 1 / size
};

// How many entries of a row of the half spectrum count: those behind them are 0 in every row.
MSDA_FN int32_t columns_of(const Field& f) {
  const int32_t most = f.law == kLawLegacy ? 1 : f.modes > 0 ? f.modes : f.half;
  return most < f.half ? most + 1 : f.half;
}

MSDA_FN int32_t rows_of(const Field& f) { return f.depth * f.height; }
MSDA_FN int32_t pairs_of(const Field& f) { return (rows_of(f) + 1) / 2; }

// ------------------------------------------------------------------------------------- spectrum

// The signed frequency of entry k, in cycles per `size` pixels.
MSDA_FN int32_t frequency(int32_t k, int32_t size) { return k <= (size - 1) / 2 ? k : k - size; }

// The square of a frequency, in units of the lowest frequency above 0.  Any unit would do, since
// only the order of the field's values counts; with this one the power law stays at about 1 or
// below.
MSDA_FN float squared_frequency(const Field& f, float cycles_z, float cycles_y, float cycles_x) {
  const int32_t deeper = f.depth > f.height ? f.depth : f.height;
  const float longest = static_cast<float>(f.width > deeper ? f.width : deeper);
  const float z = cycles_z * longest, y = cycles_y * longest, x = cycles_x * longest;
  return fmaf(z, z, fmaf(y, y, x * x));
}

// frequency / size, where `per_size` is 1 / size.
MSDA_FN float cycles(int32_t frequency, int32_t size, float per_size) {
  return quotient(static_cast<float>(frequency), static_cast<float>(size), per_size);
}

// f^-decay from the square of f.  Squares are about 1 or above, hence normal numbers.
MSDA_FN float power_law(const Field& f, float square) {
  return exp32(-0.5f * f.decay * log32(square));
}

struct Amplitudes {
  float re, im;
};

// The amplitudes of entry (z, y, x) of the half spectrum.  The constant term is 0.  The two planes
// x = 0 and x = width / 2 are their own mirror images, and a real transform sees only half of their
// power: they are made sqrt(2) times larger.
MSDA_FN Amplitudes paper_amplitudes(const Field& f, int32_t z, int32_t y, int32_t x) {
  const int32_t kz = frequency(z, f.depth), ky = frequency(y, f.height), m = f.modes;
  if (m > 0 && (x > m || ky > m || -ky > m || kz > m || -kz > m)) return {0.0f, 0.0f};
  const float square =
      squared_frequency(f, cycles(kz, f.depth, f.per_depth), cycles(ky, f.height, f.per_height),
                        cycles(x, f.width, f.per_width));
  if (square == 0.0f) return {0.0f, 0.0f};
  const float a = power_law(f, square);
  const float balanced = x == 0 || 2 * x == f.width ? a * 1.41421356f : a;
  return {balanced, balanced};
}

// The amplitudes of the released code (ecs-vlc/FMix, fmix.py).  The last axis of its spectrum holds
// real and imaginary part, but the code takes entries 0 and 1 of the FIRST axis for them.  What it
// transforms has two columns, x = 0 and 1, and other frequencies along the other axes: in 2-D, y
// stands for a frequency along x; in 3-D, z stands for one along x, and y for one along y.
MSDA_FN Amplitudes legacy_amplitudes(const Field& f, int32_t z, int32_t y, int32_t x) {
  if (x > 1) return {0.0f, 0.0f};
  const auto along_z = [&f](int32_t k) {
    return cycles(frequency(k, f.depth), f.depth, f.per_depth);
  };
  const auto along_y = [&f](int32_t k) {
    return cycles(frequency(k, f.height), f.height, f.per_height);
  };
  const auto along_x = [&f](int32_t k) {
    return cycles(frequency(k, f.width), f.width, f.per_width);
  };
  float first, others;  // squares along the axis whose entries are taken, and along the others
  if (rows_of(f) == 1) {
    first = squared_frequency(f, 0.0f, 0.0f, along_x(1));
    others = 0.0f;
  } else if (f.depth == 1) {
    if (y >= f.width / 2 + 1 + f.width % 2) return {0.0f, 0.0f};
    first = squared_frequency(f, 0.0f, along_y(1), 0.0f);
    others = squared_frequency(f, 0.0f, 0.0f, along_x(y));
  } else {
    if (y >= f.height / 2 + 1 + f.height % 2 || z >= f.width) return {0.0f, 0.0f};
    first = squared_frequency(f, along_z(1), 0.0f, 0.0f);
    others = squared_frequency(f, 0.0f, along_y(y), along_x(z));
  }
  const float re = others, im = others + first;
  return {power_law(f, re < 1.0f ? 1.0f : re), power_law(f, im < 1.0f ? 1.0f : im)};
}

MSDA_FN Amplitudes amplitudes(const Field& f, int32_t row, int32_t x) {
  const int32_t z = f.depth == 1 ? 0 : row / f.height, y = row - z * f.height;
  return f.law == kLawLegacy ? legacy_amplitudes(f, z, y, x) : paper_amplitudes(f, z, y, x);
}

// Two normals from two random words, by the method of Box and Muller.  `logarithm` is that of the
// first word's uniform number.
MSDA_FN Complex<float> normals_of(float logarithm, uint32_t second) {
  const float radius = sqrtf(-2.0f * logarithm);
  const SineCosine of_angle = sine_cosine(uniform_float(second) * 6.28318531f);
  return {radius * of_angle.cosine, radius * of_angle.sine};
}

MSDA_FN Complex<float> normals(uint32_t first, uint32_t second) {
  return normals_of(log32(uniform_float(first)), second);
}

// The random words of entries 2 * block and 2 * block + 1, two for each.  Entries are counted row
// by row through the half spectrum.
MSDA_FN Words4 field_words(const Field& f, uint32_t block) {
  return philox4x32({{block, 0, 0, uint32_t{kDrawField} << 24}}, f.seed[0], f.seed[1]);
}

// ------------------------------------------------------------------------- two rows in one line

// Joins entry k of two rows a and b, which become real lines, into the spectrum of c = a + i b.
// `a` becomes c[k] = a[k] + i b[k], and `b` becomes c[width - k] = conj(a[k]) + i conj(b[k]).  At
// k = 0 and in the middle of an even width only the real parts count, and `b` stays as it is.
template <typename V>
MSDA_FN void pair_up(Complex<V>* a, Complex<V>* b, int32_t k, int32_t width) {
  if (k == 0 || 2 * k == width) {
    *a = {a->re, b->re};
    return;
  }
  const Complex<V> low = {a->re - b->im, a->im + b->re};
  const Complex<V> high = {a->re + b->im, b->re - a->im};
  *a = low;
  *b = high;
}

// ------------------------------------------------------------------------------------- selection

// A key that is smaller where the value is larger.  The own pixels are those with the `count`
// smallest (key, index).
MSDA_FN uint32_t descending_key(float value) {
  const uint32_t bits = bits_of(value + 0.0f);  // -0 and 0 get the same key
  return (bits & 0x80000000u) ? bits : bits ^ 0x7FFFFFFFu;
}

// The value that has this key.
MSDA_FN float value_of_key(uint32_t key) {
  return float_of((key & 0x80000000u) ? key : key ^ 0x7FFFFFFFu);
}

}  // namespace msda
