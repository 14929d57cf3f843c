// The field of FMix for one instruction set, MSDA_ISA; see cpu_rows.cpp for why there are three.
//
// The same butterflies as in msda/field_phases.h, in an order that suits a CPU: the lanes of a
// vector are neighbouring columns in the transforms along z and y, and neighbouring pairs of rows
// in those along x, for which the data is transposed.  Every value is computed by the same
// expressions, so the bits are those of the phases.
#include "cpu_vector.h"  // first: the templates of msda/fourier.h look for its fused()

#include "cpu_field.h"

#define MSDA_JOIN_(name, isa) name##_##isa
#define MSDA_JOIN(name, isa) MSDA_JOIN_(name, isa)

namespace msda {
namespace {

// Distance of rows in floats: whole vectors, and an odd number of cache lines, so that a column
// does not fall into a few sets of the cache.
int64_t padded(int64_t n) {
  const int64_t lines = (n + 15) / 16;
  return (lines + 1 - lines % 2) * 16;
}

struct Layout {
  int64_t stride;         // of the half spectrum's rows
  int64_t pair_stride;    // of the transposed lines: one row an entry, one column a pair
  int64_t rows;           // of the half spectrum, a multiple of 2 kLanes
  float *re, *im;         // rows x stride
  float *line_re, *line_im;  // width x pair_stride
  Complex<Floats>* room;

  Layout(const FieldTables& t, float* memory) {
    const Field& f = t.f;
    stride = padded(f.half);
    pair_stride = padded(pairs_of(f));
    rows = (rows_of(f) + 31) / 32 * 32;
    re = memory;
    im = re + rows * stride;
    line_re = im + rows * stride;
    line_im = line_re + f.width * pair_stride;
    room = reinterpret_cast<Complex<Floats>*>(line_im + f.width * pair_stride);
  }
};

void draw_spectrum(const FieldTables& t, const uint32_t* seed, const Layout& l) {
  Field f = t.f;
  f.seed[0] = seed[0], f.seed[1] = seed[1];
  const int32_t columns = t.columns;
  for (int32_t row = 0; row < rows_of(f); ++row) {
    const int64_t first = static_cast<int64_t>(row) * f.half;
    float* re = l.re + row * l.stride;
    float* im = l.im + row * l.stride;
    // Entries share a Philox block in twos; both halves of a block lie in a row but at its ends.
    const float* are = t.amplitude_re + first;
    const float* aim = t.amplitude_im + first;
    for (int32_t x = 0; x < columns; ++x) {
      const uint32_t index = static_cast<uint32_t>(first + x);
      const Words4 w = field_words(f, index >> 1);
      const bool odd = index & 1u;
      const Complex<float> n = normals(odd ? w.v[2] : w.v[0], odd ? w.v[3] : w.v[1]);
      re[x] = n.re * are[x];
      im[x] = n.im * aim[x];
    }
    for (int64_t x = columns; x < l.stride; ++x) re[x] = im[x] = 0.0f;
  }
  for (int64_t i = rows_of(f) * l.stride; i < l.rows * l.stride; ++i) l.re[i] = l.im[i] = 0.0f;
}

void transform(const Passes& p, const Turns& turns, const Data& data, const Line& line,
               Complex<Floats>* room) {
  for (int32_t pass = 0; pass < p.count; ++pass)
    for (int32_t i = 0; i < p.length / p.radix[pass]; ++i)
      butterfly(p, pass, i, turns, data, line, room);
}

// Rows 2 p and 2 p + 1 of the half spectrum become column p of the transposed lines.
void pair_rows(const FieldTables& t, const Layout& l) {
  const Field& f = t.f;
  for (int32_t p = 0; p < pairs_of(f); ++p) {
    const float *a_re = l.re + 2 * p * l.stride, *a_im = l.im + 2 * p * l.stride;
    const float *b_re = a_re + l.stride, *b_im = a_im + l.stride;
    for (int32_t k = 0; k < f.half; ++k) {
      Complex<float> low = {a_re[k], a_im[k]}, high = {b_re[k], b_im[k]};
      pair_up(&low, &high, k, f.width);
      l.line_re[k * l.pair_stride + p] = low.re;
      l.line_im[k * l.pair_stride + p] = low.im;
      if (k == 0 || 2 * k == f.width) continue;
      l.line_re[(f.width - k) * l.pair_stride + p] = high.re;
      l.line_im[(f.width - k) * l.pair_stride + p] = high.im;
    }
  }
}

// Puts the values of the transposed, digit-reversed lines where their pixels are.
void place_values(float* values, const FieldTables& t, const Layout& l) {
  const Field& f = t.f;
  for (int32_t z = 0; z < f.depth; ++z)
    for (int32_t y = 0; y < f.height; ++y) {
      const int32_t row = t.place_z[z] * f.height + t.place_y[y];
      const float* line = (row % 2 ? l.line_im : l.line_re) + row / 2;
      float* out = values + (static_cast<int64_t>(z) * f.height + y) * f.width;
      for (int32_t x = 0; x < f.width; ++x) out[x] = line[t.place_x[x] * l.pair_stride];
    }
}

}  // namespace

void MSDA_JOIN(field_values, MSDA_ISA)(float* values, const FieldTables& t, const uint32_t* seed,
                                       float* scratch) {
  const Field& f = t.f;
  const Layout l(t, scratch);
  draw_spectrum(t, seed, l);
  const Data data = {l.re, l.im};
  const int64_t plane = f.height * l.stride;
  for (int32_t column = 0; column < t.columns; column += kLanes) {
    for (int32_t z = 0; z < f.depth; ++z)
      transform(t.y, t.turns_y, data, {z * plane + column, 0, f.height, l.stride}, l.room);
    for (int32_t y = 0; y < f.height && f.depth > 1; ++y)
      transform(t.z, t.turns_z, data, {y * l.stride + column, 0, f.depth, plane}, l.room);
  }
  pair_rows(t, l);
  const Data lines = {l.line_re, l.line_im};
  for (int32_t p = 0; p < pairs_of(f); p += kLanes)
    transform(t.x, t.turns_x, lines, {p, 0, f.width, l.pair_stride}, l.room);
  place_values(values, t, l);
}

void MSDA_JOIN(field_bits, MSDA_ISA)(uint32_t* bits, const float* values, int64_t pixels,
                                     uint32_t key, int64_t last) {
  for (int64_t word = 0; word < (pixels + 31) / 32; ++word) {
    const int64_t first = 32 * word, n = pixels - first < 32 ? pixels - first : 32;
    uint32_t value = 0;
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t mine = descending_key(values[first + i]);
      const bool own = mine < key || (mine == key && first + i <= last);
      value |= static_cast<uint32_t>(own) << i;
    }
    bits[word] = value;
  }
}

}  // namespace msda
