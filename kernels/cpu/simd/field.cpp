// The random field of FMix, for one instruction set (kernels.h).
//
// The same butterflies as in msda/field/phases.h, in an order that suits a CPU: the lanes of a
// vector are neighbouring columns in the transforms along z and y, and neighbouring pairs of rows
// in those along x, for which the data is transposed.  Every value is computed by the same
// expressions, so the bits are those of the phases.
// clang-format off: the templates of msda/field/fourier.h look for the fused() of vector.h
#include "cpu/simd/vector.h"
#include "cpu/simd/kernels.h"
#include "cpu/simd/normals.h"
// clang-format on

namespace msda {
namespace {

struct Layout {
  int64_t stride, pair_stride;
  int64_t rows, columns;  // of the half spectrum, in whole vectors (of pairs), that are not all 0
  float *re, *im;         // rows x stride
  float *line_re, *line_im;  // width x pair_stride
  Complex<Floats>* room;

  Layout(const FieldTables& t, float* memory) {
    const FieldSizes s = field_sizes(t);
    stride = s.stride, pair_stride = s.pair_stride;
    rows = (pairs_of(t.f) + kLanes - 1) / kLanes * kLanes * 2;
    columns = (t.columns + kLanes - 1) / kLanes * kLanes;
    re = memory;
    im = re + s.spectrum;
    line_re = im + s.spectrum;
    line_im = line_re + s.lines;
    room = reinterpret_cast<Complex<Floats>*>(line_im + s.lines);
  }
};

// Makes entries of the half spectrum, from `first` on: normals, from number `from` on, times
// amplitudes.
void scale_normals(const FieldTables& t, float* re, float* im, const FieldNormals& n, int32_t from,
                   int64_t first, int32_t blocks) {
  for (int32_t i = 0; i < blocks; i += kLanes) {
    Floats real[2], imaginary[2];
    interleave(real, load(n.re[0] + from + i), load(n.re[1] + from + i));
    interleave(imaginary, load(n.im[0] + from + i), load(n.im[1] + from + i));
    for (int32_t at = 2 * i; at < 2 * i + 2 * kLanes; at += kLanes) {
      put(re + at, real[at > 2 * i] * load(t.amplitude_re + first + at), false);
      put(im + at, imaginary[at > 2 * i] * load(t.amplitude_im + first + at), false);
    }
  }
}

// Draws the rows in order, because a vector may write on into the next row.
void draw_spectrum(const FieldTables& t, const uint32_t* seed, const Layout& l) {
  Field f = t.f;
  f.seed[0] = seed[0], f.seed[1] = seed[1];
  FieldNormals n;
  for (int32_t row = 0; row < rows_of(f); ++row) {
    const int64_t first = static_cast<int64_t>(row) * f.half;
    float* re = l.re + row * l.stride;
    float* im = l.im + row * l.stride;
    // Entries of even and odd number share a Philox block.  The first may begin in the row before.
    for (int32_t x = -static_cast<int32_t>(first & 1); x < t.drawn[row]; x += 2 * kBlocks) {
      const int32_t left = (t.drawn[row] - x + 1) / 2;
      const int32_t blocks = left < kBlocks ? left : kBlocks;
      const uint32_t block = static_cast<uint32_t>(first + x) >> 1;
      const int32_t place = n.place(f, block, blocks, t.drawn[row] == f.half);
      scale_normals(t, re + x, im + x, n, place, first + x, blocks);
    }
    for (int64_t x = t.drawn[row]; x < l.columns; ++x) re[x] = im[x] = 0.0f;
  }
  for (int64_t row = rows_of(f); row < l.rows; ++row)
    for (int64_t x = 0; x < l.columns; ++x) l.re[row * l.stride + x] = l.im[row * l.stride + x] = 0;
}

// `flatten` inlines the butterflies: calls would cost a fifth of the transforms' time.
template <int32_t R>
__attribute__((flatten)) void transform_pass(const Passes& p, int32_t radix, int32_t block,
                                             const Turns& turns, const Data& data, const Line& line,
                                             Complex<Floats>* room) {
  for (int32_t j = 0; j < block / (R ? R : radix); ++j)
    for (int32_t first = j; first < p.length; first += block)
      butterfly_at<R>(p.length, radix, block, first, j, turns, data, line, room);
}

// A pass of radix 4 and the next, of radix 2.  Values stay in registers between them.
__attribute__((flatten)) void transform_by_4_and_2(const Passes& p, int32_t block,
                                                   const Turns& turns, const Data& data,
                                                   const Line& line) {
  const int32_t part = block / 4, half = part / 2;
  for (int32_t j = 0; j < half; ++j)
    for (int32_t first = j; first < p.length; first += block) {
      Complex<Floats> a[2][4];
      for (int32_t h = 0; h < 2; ++h) {
        for (int32_t q = 0; q < 4; ++q)
          a[h][q] = get<Floats>(data, entry(line, first + h * half + q * part));
        sum_of_four(a[h]);
        turn_parts<4>(a[h], 4, p.length, block, j + h * half, turns);
      }
      for (int32_t q = 0; q < 4; ++q) {
        Complex<Floats> b[2] = {a[0][q], a[1][q]};
        sum_of_two(b);
        turn_parts<2>(b, 2, p.length, part, j, turns);
        set(data, entry(line, first + q * part), b[0]);
        set(data, entry(line, first + q * part + half), b[1]);
      }
    }
}

void transform(const Passes& p, const Turns& turns, const Data& data, const Line& line,
               Complex<Floats>* room) {
  int32_t block = p.length;
  for (int32_t k = 0; k < p.count; block /= p.radix[k++]) {
    if (p.radix[k] == 4 && k + 1 < p.count && p.radix[k + 1] == 2) {
      transform_by_4_and_2(p, block, turns, data, line);
      block /= p.radix[k++];
      continue;
    }
    const auto pass = p.radix[k] == 2   ? transform_pass<2>
                      : p.radix[k] == 3 ? transform_pass<3>
                      : p.radix[k] == 4 ? transform_pass<4>
                      : p.radix[k] == 5 ? transform_pass<5>
                      : p.radix[k] == 7 ? transform_pass<7>
                                        : transform_pass<0>;
    pass(p, p.radix[k], block, turns, data, line, room);
  }
}

// Stores a square transposed: row i of `v` becomes column i.
void put_transposed(float* to, int64_t stride, Floats* v) {
  transpose(v);
  for (int32_t i = 0; i < kLanes; ++i) put(to + i * stride, v[i], false);
}

// Pairs up entry k of pair p: it goes to column p of the transposed lines.
void pair_entry(const FieldTables& t, const Layout& l, int32_t p, int32_t k) {
  const int64_t a = 2 * p * l.stride + k, b = a + l.stride;
  Complex<float> low = {l.re[a], l.im[a]}, high = {l.re[b], l.im[b]};
  pair_up(&low, &high, k, t.f.width);
  const Data lines = {l.line_re, l.line_im};
  set(lines, k * l.pair_stride + p, low);
  if (k > 0 && 2 * k != t.f.width) set(lines, (t.f.width - k) * l.pair_stride + p, high);
}

// Pairs up kLanes entries from k on of kLanes pairs from p on; none is its own mirror image.
void pair_square(const FieldTables& t, const Layout& l, int32_t p, int32_t k) {
  Floats low_re[kLanes], low_im[kLanes], high_re[kLanes], high_im[kLanes];
  for (int32_t i = 0; i < kLanes; ++i) {
    const Data data = {l.re, l.im};
    const int64_t at = 2 * (p + i) * l.stride + k;
    Complex<Floats> low = get<Floats>(data, at), high = get<Floats>(data, at + l.stride);
    pair_up(&low, &high, 1, t.f.width == 2 ? 3 : t.f.width);
    low_re[i] = low.re, low_im[i] = low.im, high_re[i] = high.re, high_im[i] = high.im;
  }
  put_transposed(l.line_re + k * l.pair_stride + p, l.pair_stride, low_re);
  put_transposed(l.line_im + k * l.pair_stride + p, l.pair_stride, low_im);
  const int64_t mirror = (t.f.width - k) * l.pair_stride + p;
  put_transposed(l.line_re + mirror, -l.pair_stride, high_re);
  put_transposed(l.line_im + mirror, -l.pair_stride, high_im);
}

// Rows 2 p and 2 p + 1 of the half spectrum become column p of the transposed lines.
void pair_rows(const FieldTables& t, const Layout& l) {
  const int32_t width = t.f.width;
  const int32_t mirrored = (width - 1) / 2;  // entries 1 .. mirrored have a mirror image
  const int32_t last = mirrored < t.columns - 1 ? mirrored : t.columns - 1;
  for (int32_t p = 0; p < pairs_of(t.f); p += kLanes) {
    int32_t k = 1;
    for (; k + kLanes - 1 <= last; k += kLanes) pair_square(t, l, p, k);
    if (k > 1 && k <= last) {  // the last square overlaps the one before
      pair_square(t, l, p, last - kLanes + 1);
      k = last + 1;
    }
    for (int32_t i = p; i < p + kLanes; ++i) {
      pair_entry(t, l, i, 0);
      for (int32_t rest = k; rest < t.columns; ++rest) pair_entry(t, l, i, rest);
    }
    for (int32_t zero = t.columns; zero <= width - t.columns; ++zero) {
      put(l.line_re + zero * l.pair_stride + p, Floats{}, false);
      put(l.line_im + zero * l.pair_stride + p, Floats{}, false);
    }
  }
}

// Puts the values of the transposed, digit-reversed lines where their pixels are.
void place_values(float* values, const FieldTables& t, const Layout& l) {
  const Field& f = t.f;
  const auto pixels_of_row = [&](int32_t row) { return values + int64_t{t.line[row]} * f.width; };
  for (int32_t p = 0; p < pairs_of(f); p += kLanes)
    for (int32_t part = 0; part < 2; ++part) {
      const float* lines = (part ? l.line_im : l.line_re) + p;
      const int32_t count = rows_of(f) - 2 * p - part;  // rows 2 (p + i) + part, i = 0, 1, ...
      const int32_t n = (count + 1) / 2 < kLanes ? (count + 1) / 2 : kLanes;
      int32_t x = 0;
      for (; x + kLanes <= f.width; x += kLanes) {
        Floats square[kLanes];
        for (int32_t i = 0; i < kLanes; ++i)
          square[i] = load(lines + t.place_x[x + i] * l.pair_stride);
        transpose(square);
        for (int32_t i = 0; i < n; ++i)
          put(pixels_of_row(2 * (p + i) + part) + x, square[i], false);
      }
      for (; x < f.width; ++x)
        for (int32_t i = 0; i < n; ++i)
          pixels_of_row(2 * (p + i) + part)[x] = lines[t.place_x[x] * l.pair_stride + i];
    }
}

}  // namespace
}  // namespace msda

namespace msda::MSDA_ISA {

void field_values(float* values, const FieldTables& t, const uint32_t* seed, float* scratch) {
  const Field& f = t.f;
  const Layout l(t, scratch);
  draw_spectrum(t, seed, l);
  const Data data = {l.re, l.im};
  const int64_t plane = f.height * l.stride;
  for (int32_t column = 0; column < t.columns; column += kLanes) {
    for (int32_t z = 0; z < f.depth; ++z)
      transform(t.y, t.turns_y, data, {z * plane + column, l.stride}, l.room);
    for (int32_t y = 0; y < f.height && f.depth > 1; ++y)
      transform(t.z, t.turns_z, data, {y * l.stride + column, plane}, l.room);
  }
  pair_rows(t, l);
  const Data lines = {l.line_re, l.line_im};
  for (int32_t p = 0; p < pairs_of(f); p += kLanes)
    transform(t.x, t.turns_x, lines, {p, l.pair_stride}, l.room);
  place_values(values, t, l);
}

}  // namespace msda::MSDA_ISA
