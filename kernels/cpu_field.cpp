// The field of FMix for one instruction set, MSDA_ISA; see cpu_rows.cpp for why there are three.
//
// The same butterflies as in msda/field_phases.h, in an order that suits a CPU: the lanes of a
// vector are neighbouring columns in the transforms along z and y, and neighbouring pairs of rows
// in those along x, for which the data is transposed.  Every value is computed by the same
// expressions, so the bits are those of the phases.
// clang-format off: the templates of msda/fourier.h look for the fused() of cpu_vector.h
#include "cpu_vector.h"
#include "cpu_field.h"
// clang-format on

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
  int64_t stride;            // of the half spectrum's rows
  int64_t pair_stride;       // of the transposed lines: one row an entry, one column a pair
  int64_t rows;              // of the half spectrum, a multiple of 2 kLanes
  float *re, *im;            // rows x stride
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

// Stores a square transposed: row i of `v` becomes column i.
void put_transposed(float* to, int64_t stride, Floats* v) {
  transpose(v);
  for (int32_t i = 0; i < kLanes; ++i) put(to + i * stride, v[i], false);
}

// One entry of one pair of rows: column p of the transposed lines.
void pair_entry(const FieldTables& t, const Layout& l, int32_t p, int32_t k) {
  const int64_t a = 2 * p * l.stride + k, b = a + l.stride;
  Complex<float> low = {l.re[a], l.im[a]}, high = {l.re[b], l.im[b]};
  pair_up(&low, &high, k, t.f.width);
  const Data lines = {l.line_re, l.line_im};
  set(lines, k * l.pair_stride + p, low);
  if (k > 0 && 2 * k != t.f.width) set(lines, (t.f.width - k) * l.pair_stride + p, high);
}

// kLanes entries from k on of kLanes pairs from p on; no entry is its own mirror image.
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
  const int32_t last = (t.f.width - 1) / 2;  // entries 1 .. last have a mirror image
  for (int32_t p = 0; p < pairs_of(t.f); p += kLanes) {
    int32_t k = 1;
    for (; k + kLanes - 1 <= last; k += kLanes) pair_square(t, l, p, k);
    for (int32_t i = p; i < p + kLanes; ++i) {
      pair_entry(t, l, i, 0);
      for (int32_t rest = k; rest < t.f.half; ++rest) pair_entry(t, l, i, rest);
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
                                     float least, int64_t last) {
  const Floats bound = splat(least);
  for (int64_t word = 0; word < (pixels + 31) / 32; ++word) {
    const int64_t first = 32 * word, n = pixels - first < 32 ? pixels - first : 32;
    uint32_t above = 0, same = 0;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const Floats v = load(values + first + i);
      above |= greater(v, bound) << i;
      same |= equal(v, bound) << i;
    }
    for (; i < n; ++i) {
      above |= uint32_t{values[first + i] > least} << i;
      same |= uint32_t{values[first + i] == least} << i;
    }
    const int64_t ties = last - first + 1;  // of those equal to the bound, the first ones
    const uint32_t counted = ties <= 0 ? 0 : ties >= 32 ? ~0u : (1u << ties) - 1;
    bits[word] = above | (same & counted);
  }
}

int64_t MSDA_JOIN(field_between, MSDA_ISA)(uint64_t* between, int64_t* above, const float* values,
                                           int64_t pixels, float low, float high) {
  int64_t count = 0, larger = 0, i = 0;
  for (; i + kLanes <= pixels; i += kLanes) {
    const Floats v = load(values + i);
    const uint32_t over = greater(v, splat(high));
    larger += __builtin_popcount(over);
    for (uint32_t some = (greater(v, splat(low)) | equal(v, splat(low))) & ~over; some;
         some &= some - 1) {
      const int64_t at = i + __builtin_ctz(some);
      between[count++] = uint64_t{descending_key(values[at])} << 32 | static_cast<uint32_t>(at);
    }
  }
  for (; i < pixels; ++i) {
    larger += values[i] > high;
    if (values[i] >= low && values[i] <= high)
      between[count++] = uint64_t{descending_key(values[i])} << 32 | static_cast<uint32_t>(i);
  }
  *above = larger;
  return count;
}

}  // namespace msda
