// The random field of FMix, for one instruction set (kernels.h).
//
// The same butterflies as in msda/field/phases.h, in an order that suits a CPU: the lanes of a
// vector are neighbouring columns in the transforms along z and y, and neighbouring pairs of rows
// in those along x, for which the data is transposed.  As many columns or pairs as there are lanes
// are taken through all passes at once, since they fit into the first-level cache.  Every value is
// computed by the same expressions, so the bits are those of the phases.
#include "cpu/simd/normals.h"
#include "cpu/simd/transforms.h"

namespace msda {
namespace {

// A thread's scratch.  Columns and lines are handled as many at a time as a vector has lanes: for
// each of their entries the real parts come first, and then the imaginary ones.
struct Layout {
  float *re, *im;  // what is drawn of the half spectrum, and zeros behind it
  float* columns;  // some columns of all rows of the half spectrum
  float* lines;    // all lines, each set in its own part
  int64_t set;     // floats from one set of lines to the next
  Complex<Floats>* room;

  Layout(const FieldTables& t, float* memory) {
    const FieldSizes s = field_sizes(t);
    set = 2 * kLanes * (t.f.width + int64_t{1});
    re = memory;
    im = re + s.drawn;
    columns = im + s.drawn;
    lines = columns + s.columns;
    room = reinterpret_cast<Complex<Floats>*>(lines + s.lines);
  }
};

constexpr int32_t kStride = 2 * kLanes;

Data data_of(float* values) { return {values, values + kLanes}; }

static_assert(kMostBlocks % kBlocks == 0);

// Draws the entries of the half spectrum that are not 0.
void draw_spectrum(const FieldTables& t, const uint32_t* seed, const Layout& l) {
  for (int64_t i = 0; i < t.blocks; i += kBlocks)
    draw_blocks(l.re + 2 * i, l.im + 2 * i, t.block + i, seed, t.amplitude_re + 2 * i,
                t.amplitude_im + 2 * i);
  for (int64_t i = 0; i < t.columns + kLanes; ++i)
    l.re[2 * t.blocks + i] = l.im[2 * t.blocks + i] = 0.0f;
}

// Gathers kLanes columns from `column` on, of the rows from `row` on.
void gather_columns(const FieldTables& t, const Layout& l, int32_t column, int32_t row) {
  const int32_t rows = (pairs_of(t.f) + kLanes - 1) / kLanes * kLanes * 2;
  for (; row < rows; ++row) {
    const int64_t from = t.start[row] + int64_t{column};
    put(l.columns + row * kStride, load(l.re + from), false);
    put(l.columns + row * kStride + kLanes, load(l.im + from), false);
  }
}

// Stores a square transposed: row i of `v` becomes column i.  Only the first `n` rows are stored.
void put_transposed(float* to, int64_t stride, Floats* v, int32_t n) {
  transpose(v);
  for (int32_t i = 0; i < n; ++i) put(to + i * stride, v[i], false);
}

// Pairs up entry k of two rows, in the columns from `column` on: it goes to a line of the set.
void pair_entry(const FieldTables& t, const float* rows, float* lines, int32_t column, int32_t k) {
  const float *a = rows + k - column, *b = a + kStride;
  Complex<float> low = {a[0], a[kLanes]}, high = {b[0], b[kLanes]};
  pair_up(&low, &high, k, t.f.width);
  const Data data = data_of(lines);
  set(data, int64_t{k} * kStride, low);
  if (k > 0 && 2 * k != t.f.width) set(data, int64_t{t.f.width - k} * kStride, high);
}

// Pairs up `n` entries from k on of kLanes pairs of rows, as if none were its own mirror image.
void pair_square(const FieldTables& t, const float* rows, float* lines, int32_t k, int32_t n) {
  Floats low_re[kLanes], low_im[kLanes], high_re[kLanes], high_im[kLanes];
  for (int32_t i = 0; i < kLanes; ++i) {
    const float *a = rows + 2 * i * kStride, *b = a + kStride;
    Complex<Floats> low = {load(a), load(a + kLanes)}, high = {load(b), load(b + kLanes)};
    pair_up(&low, &high, 1, 3);
    low_re[i] = low.re, low_im[i] = low.im, high_re[i] = high.re, high_im[i] = high.im;
  }
  float *from_first = lines + k * kStride, *from_last = lines + (t.f.width - k) * kStride;
  put_transposed(from_first, kStride, low_re, n);
  put_transposed(from_first + kLanes, kStride, low_im, n);
  put_transposed(from_last, -kStride, high_re, n);
  put_transposed(from_last + kLanes, -kStride, high_im, n);
}

// Rows 2 p and 2 p + 1 of the columns from `column` on become entries of line p.
void pair_columns(const FieldTables& t, const Layout& l, int32_t column) {
  const int32_t left = t.columns - column, n = left < kLanes ? left : kLanes;
  const int32_t middle = t.f.width % 2 ? -1 : t.f.width / 2;
  for (int32_t p = 0; p < pairs_of(t.f); p += kLanes) {
    const float* rows = l.columns + 2 * p * kStride;
    float* lines = l.lines + p / kLanes * l.set;
    if (n > 1) pair_square(t, rows, lines, column, n);
    for (int32_t k = column; k < column + n; ++k)
      for (int32_t i = 0; i < kLanes && (n == 1 || k == 0 || k == middle); ++i)
        pair_entry(t, rows + 2 * i * kStride, lines + i, column, k);
  }
}

// Puts the values of kLanes lines from `p` on, digit-reversed, where their pixels are.
void place_values(float* values, const FieldTables& t, const float* set, int32_t p) {
  const Field& f = t.f;
  const auto pixels_of_row = [&](int32_t row) { return values + int64_t{t.line[row]} * f.width; };
  for (int32_t part = 0; part < 2; ++part) {
    const float* lines = set + part * kLanes;
    const int32_t count = rows_of(f) - 2 * p - part;  // rows 2 (p + i) + part, i = 0, 1, ...
    const int32_t n = (count + 1) / 2 < kLanes ? (count + 1) / 2 : kLanes;
    int32_t x = 0;
    for (; x + kLanes <= f.width; x += kLanes) {
      Floats square[kLanes];
      for (int32_t i = 0; i < kLanes; ++i) square[i] = load(lines + t.place_x[x + i] * kStride);
      transpose(square);
      for (int32_t i = 0; i < n; ++i) put(pixels_of_row(2 * (p + i) + part) + x, square[i], false);
    }
    for (; x < f.width; ++x)
      for (int32_t i = 0; i < n; ++i)
        pixels_of_row(2 * (p + i) + part)[x] = lines[t.place_x[x] * kStride + i];
  }
}

// Transforms kLanes columns from `column` on along y and z.  The first pass gathers them, if it
// can.
void transform_columns(const FieldTables& t, const Layout& l, int32_t column) {
  const Field& f = t.f;
  const bool gathered = !takes_rows(t.y);
  gather_columns(t, l, column, gathered ? 0 : rows_of(f));
  const Data data = data_of(l.columns);
  const int64_t plane = int64_t{f.height} * kStride;
  for (int32_t z = 0; z < f.depth; ++z) {
    const Rows rows = {l.re + column, l.im + column, t.start + int64_t{z} * f.height};
    transform(t.y, t.turns_y, data, {z * plane, kStride}, l.room, gathered ? nullptr : &rows);
  }
  for (int32_t y = 0; y < f.height && f.depth > 1; ++y)
    transform(t.z, t.turns_z, data, {int64_t{y} * kStride, plane}, l.room);
}

void clear_lines(const FieldTables& t, const Layout& l) {
  for (int32_t p = 0; p < pairs_of(t.f); p += kLanes)
    for (int64_t x = t.columns; x <= t.f.width - t.columns; ++x)
      for (int32_t part = 0; part < 2; ++part)
        put(l.lines + p / kLanes * l.set + x * kStride + part * kLanes, Floats{}, false);
}

}  // namespace
}  // namespace msda

namespace msda::MSDA_ISA {

void field_values(float* values, const FieldTables& t, const uint32_t* seed, float* scratch) {
  const Layout l(t, scratch);
  draw_spectrum(t, seed, l);
  for (int32_t column = 0; column < t.columns; column += kLanes) {
    transform_columns(t, l, column);
    pair_columns(t, l, column);
  }
  clear_lines(t, l);
  for (int32_t p = 0; p < pairs_of(t.f); p += kLanes) {
    float* lines = l.lines + p / kLanes * l.set;
    transform(t.x, t.turns_x, data_of(lines), {0, kStride}, l.room);
    place_values(values, t, lines, p);
  }
}

}  // namespace msda::MSDA_ISA
