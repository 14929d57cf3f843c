// The mask of FMix as a block of threads makes it: in phases, with a barrier after each.  Within a
// phase no item touches what another one writes, but for counters that all of them raise, so any
// thread may take any item.  The GPU calls a phase once per thread and synchronises; tests call it
// for one thread after the other, in several orders.  (The CPU backend has its own loops, which
// make the same bits: cpu/simd/field.cpp and threshold.cpp.)
#pragma once
#include "msda/field/field.h"
#include "msda/field/steps.h"
#include "msda/plan.h"

namespace msda {

// The threshold is found digit by digit.  Every digit that may come next has a counter,
// and counters are added up in groups first.
constexpr int32_t kDigitBits = 11, kDigits = 1 << kDigitBits;
constexpr int32_t kDigitGroup = 32, kDigitGroups = kDigits / kDigitGroup;

// The field of a kFMix record.
MSDA_FN Field field_of(const Plan& p) {
  return {p.depth,
          p.height,
          p.width,
          p.width / 2 + 1,
          p.flags & kPlanLegacy ? kLawLegacy : kLawPaper,
          p.modes,
          p.decay,
          {p.field_seed[0], p.field_seed[1]},
          1.0f / static_cast<float>(p.depth),
          1.0f / static_cast<float>(p.height),
          1.0f / static_cast<float>(p.width)};
}

// Whether two records have the same field.  Their masks may still differ.
MSDA_FN bool have_same_field(const Plan& a, const Plan& b) {
  return a.depth == b.depth && a.height == b.height && a.width == b.width &&
         (a.flags & kPlanLegacy) == (b.flags & kPlanLegacy) && a.modes == b.modes &&
         a.decay == b.decay && a.field_seed[0] == b.field_seed[0] &&
         a.field_seed[1] == b.field_seed[1];
}

// What is known of a threshold.
struct Found {
  uint64_t prefix;  // its first digits, from the top
  uint32_t rank;    // so many of the orders with that prefix are own; 0: the prefix is all of it
};

// What the threads of a block share.  The field's memory and the histogram are passed on their own,
// so that the compiler knows which kind of memory they lie in.
struct FieldBlock {
  Field f;
  int32_t lengths[3];  // of the axes z, y and x
  Steps steps[3];
  Turns turns[3];
  Lines lines[3];           // of the transforms along each axis
  const int32_t* place[3];  // reversed() of every entry of each axis
  uint32_t places;          // where the field's memory has those of x, as bytes; in floats
  Divisor by_width, by_height, by_mirrored;  // by_mirrored: items of a pair in phase_pair()
  const float* amplitudes;  // of every entry of the half spectrum and one more; null: they are
                            // computed where they are needed
  Complex<float>* room;     // for a large radix: 2 radix values a thread; else null
  Found found[2];           // level k reads found[k % 2] and writes the other one
};

// A field has fewer than 2^31 pixels, so that items are counted in 32 bits: a GPU divides those
// much faster.
MSDA_FN uint32_t pixels_of(const Field& f) {
  return static_cast<uint32_t>(rows_of(f)) * static_cast<uint32_t>(f.width);
}

MSDA_FN uint32_t entries_of(const Field& f) { return 2u * pairs_of(f) * f.half; }

// Bytes of the memory of a field, a multiple of 16: its values, the turns of the axes' steps, the
// places of the entries of x.
MSDA_FN int64_t field_bytes(int32_t depth, int32_t height, int32_t width) {
  const int64_t values = 4 * ((int64_t{depth} * height + 1) / 2) * (width / 2 + 1);
  const int64_t turns = floats_of_turns(depth) + floats_of_turns(height) + floats_of_turns(width);
  const int64_t places = (int64_t{width} + 3) / 4 * 4;
  return (values + turns + places) * static_cast<int64_t>(sizeof(float));
}

// Bytes of shared memory that a block takes if the field lies there: its memory, the histogram and
// the FieldBlock.  The room for large radices, which sizes that are products of 2, 3, 5 and 7 do
// not need, lies elsewhere.  224 x 224 takes 210576 + 8448 bytes and the FieldBlock, of the 232448
// bytes that a block may have on Hopper and Blackwell, so a multiprocessor holds one block.  The
// largest square is 230 x 230 there, 192 x 192 in the 163 KB of an A100, and 145 x 145 in 99 KB.
// Softened edges take no more (soft.h).
MSDA_FN int64_t field_block_bytes(const Field& f) {
  return field_bytes(f.depth, f.height, f.width) +
         (kDigits + kDigitGroups) * static_cast<int64_t>(sizeof(uint32_t)) +
         static_cast<int64_t>(sizeof(FieldBlock));
}

// Sets the steps of an axis.  The lengths of all three must be known.
MSDA_FN void set_axis(FieldBlock* b, int32_t axis, const Passes& passes, bool in_twos) {
  const int64_t pairs = (int64_t{b->lengths[0]} * b->lengths[1] + 1) / 2;
  int64_t turns = 4 * pairs * (b->lengths[2] / 2 + 1);  // they lie behind the values
  for (int32_t k = 0; k < axis; ++k) turns += floats_of_turns(b->lengths[k]);
  set_steps(&b->steps[axis], passes, in_twos, static_cast<uint32_t>(turns));
  if (axis == 2) b->places = static_cast<uint32_t>(turns + floats_of_turns(passes.length));
}

// The lines of the transforms along an axis.
MSDA_FN Lines lines_of(const Field& f, int32_t axis) {
  const uint32_t half = f.half, plane = half * f.height, columns = columns_of(f);
  const uint32_t pairs = pairs_of(f);
  Lines lines = {pairs, pairs, 0, 2 * half, 1, {}, {}};
  if (axis == 1) lines = {columns * f.depth, columns, plane, 1, half, {}, {}};
  if (axis == 0) lines = {columns * f.height, columns, half, 1, plane, {}, {}};
  lines.by_count = divisor_of(lines.count), lines.by_columns = divisor_of(lines.columns);
  return lines;
}

// Sets what belongs to one field.  `decay` is that of the known amplitudes, which may be null.
MSDA_FN void phase_begin(FieldBlock* b, const Plan& p, const float* amplitudes, float decay,
                         BlockThread me) {
  for (int32_t i = me.thread; i < 4; i += me.threads) {
    const Field f = field_of(p);
    if (i < 3) {
      b->lines[i] = lines_of(f, i);
      continue;
    }
    b->f = f;
    const uint32_t mirrored = f.width - f.half;
    b->by_width = divisor_of(static_cast<uint32_t>(f.width));
    b->by_height = divisor_of(static_cast<uint32_t>(f.height));
    b->by_mirrored = divisor_of(mirrored < 2 ? 1 : mirrored / 2);
    b->amplitudes = f.law == kLawPaper && f.modes == 0 && f.decay == decay ? amplitudes : nullptr;
  }
}

// Copies the tables of the axes into the field's memory.
MSDA_FN void phase_tables(const FieldBlock& b, const Entries& data, BlockThread me) {
  for (int32_t axis = 0; axis < 3; ++axis) gather_turns(b.steps[axis], b.turns[axis], data, me);
  for (int32_t x = me.thread; x < b.lengths[2]; x += me.threads)
    data.values[b.places + x] = float_of(8u * static_cast<uint32_t>(b.place[2][x]));
}

// Draws the whole spectrum from known amplitudes, two entries at a time, which share a Philox block
// and lie in the same 16 bytes.  Behind an odd number of entries there is room for one more.
MSDA_FN void scale_known_amplitudes(const FieldBlock& b, const Entries& data, BlockThread me) {
  const Field f = b.f;
  const uint32_t blocks = (static_cast<uint32_t>(rows_of(f)) * f.half + 1u) / 2u;
  // A block's floats are one element, so that a GPU finds them by one multiplication.
  const auto* known = reinterpret_cast<const float (*)[2]>(b.amplitudes);
  auto* drawn = reinterpret_cast<float (*)[4]>(data.values);
  for (uint32_t block = me.thread; block < blocks; block += me.threads) {
    float first, second;
    load8(&first, &second, known[block]);
    const Words4 w = field_words(f, block);
    const Complex<float> n = normals(w.v[0], w.v[1]), m = normals(w.v[2], w.v[3]);
    const float both[4] = {n.re * first, n.im * first, m.re * second, m.im * second};
    store16(drawn[block], both);
  }
}

// Draws the columns of the spectrum that are not 0 in every row.  Entries of even and odd number
// share a Philox block, so an item is a block.  A row may begin or end with half of one.
MSDA_FN void phase_spectrum(const FieldBlock& b, const Entries& data, BlockThread me) {
  if (b.amplitudes) return scale_known_amplitudes(b, data, me);
  const Field& f = b.f;
  const int32_t columns = columns_of(f);
  const Divisor by_blocks = divisor_of(static_cast<uint32_t>(columns / 2 + 1));
  each_item(me, rows_of(f), columns / 2 + 1, by_blocks, [&](uint32_t row, uint32_t number) {
    const uint32_t first = row * f.half, block = (first >> 1) + number;
    const int32_t x = static_cast<int32_t>(2 * block - first);
    Amplitudes a[2] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
#pragma unroll
    for (int32_t k = 0; k < 2; ++k)
      if (x + k >= 0 && x + k < columns) a[k] = amplitudes(f, static_cast<int32_t>(row), x + k);
    Complex<float> n[2] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
    if (a[0].re != 0.0f || a[0].im != 0.0f || a[1].re != 0.0f || a[1].im != 0.0f) {
      const Words4 w = field_words(f, block);
      n[0] = normals(w.v[0], w.v[1]), n[1] = normals(w.v[2], w.v[3]);
    }
#pragma unroll
    for (int32_t k = 0; k < 2; ++k)
      if (x + k >= 0 && x + k < columns)
        set(data, first + x + k, {n[k].re * a[k].re, n[k].im * a[k].im});
    read_memory_again();
  });
}

// One step of the transforms along z (axis 0), y (1) or x (2).  kInTwos says whether steps may have
// two passes, for which a GPU needs the short addresses of shared memory.
template <bool kInTwos>
MSDA_FN void phase_step(const FieldBlock& b, const Entries& data, int32_t axis, int32_t number,
                        BlockThread me) {
  const Step& step = b.steps[axis].step[number];
  if (kInTwos && step.second > 1) return take_two_passes(step, data, b.lines[axis], me);
  Complex<float>* room =
      b.room ? b.room + static_cast<int64_t>(me.thread) * 2 * step.first : nullptr;
  take_one_pass(step, b.lengths[axis], b.turns[axis], data, b.lines[axis], room, me);
}

// Entry k of a row of the spectrum.  It is 0 behind the columns that were drawn, and in the row
// that the last one lacks for a partner.
MSDA_FN Complex<float> paired_entry(const Field& f, const Entries& data, uint32_t row, uint32_t k) {
  if (row >= static_cast<uint32_t>(rows_of(f)) || k >= static_cast<uint32_t>(columns_of(f)))
    return {0.0f, 0.0f};
  return get<float>(data, int64_t{row} * f.half + k);
}

// Joins entries k and `last` - k of the two rows of a pair, where `last` is width - half.  They
// make entries k, last - k, width - k and width - last + k = half + k of the line, which lie where
// they have been read.  kWhole: none of the entries is 0 by paired_entry().
template <bool kWhole>
MSDA_FN void pair_mirrored(const Field& f, const Entries& data, uint32_t pair, uint32_t k) {
  const uint32_t row = 2 * pair, other = f.width - f.half - k, half = f.half;
  const Entries first = {data.values + 2 * int64_t{row * half + k}};
  const Entries second = {data.values + 2 * int64_t{row * half + other}};
  const auto entry = [&](const Entries& at, uint32_t part, uint32_t number) {
    return kWhole ? get<float>(at, part * half) : paired_entry(f, data, row + part, number);
  };
  Complex<float> low = entry(first, 0, k), high = entry(first, 1, k);
  Complex<float> other_low = entry(second, 0, other), other_high = entry(second, 1, other);
  pair_up(&low, &high, 1, 3), pair_up(&other_low, &other_high, 1, 3);  // none is its own mirror
  set(first, 0, low), set(second, 0, other_low);
  set(first, half, other_high), set(second, half, high);
}

// The same for k = 0, for the entry in the middle of an even width, and for the places behind the
// line.  Those get -infinity, which comes behind all pixels.
MSDA_FN void pair_ends(const Field& f, const Entries& data, uint32_t pair) {
  const uint32_t row = 2 * pair, half = f.half, width = f.width, at = row * half;
  const auto join = [&](uint32_t k) {
    Complex<float> low = paired_entry(f, data, row, k), high = paired_entry(f, data, row + 1, k);
    pair_up(&low, &high, static_cast<int32_t>(k), f.width);
    set(data, at + k, low);
    return high;
  };
  const uint32_t last = width - half;
  join(0);
  if (last > 0) set(data, at + half, join(last));
  if (width % 2 == 0) join(half - 1);
  const float behind = float_of(0xFF800000u);
  for (uint32_t x = width; x < 2 * half; ++x) set(data, at + x, {behind, behind});
}

// Joins the two rows of each pair into one line, in place.
MSDA_FN void phase_pair(const FieldBlock& b, const Entries& data, BlockThread me) {
  const Field f = b.f;
  const uint32_t pairs = pairs_of(f), items = (f.width - f.half) / 2;
  if (columns_of(f) == f.half && rows_of(f) % 2 == 0)
    each_item(me, pairs, items, b.by_mirrored,
              [&](uint32_t pair, uint32_t k) { pair_mirrored<true>(f, data, pair, k + 1); });
  else
    each_item(me, pairs, items, b.by_mirrored,
              [&](uint32_t pair, uint32_t k) { pair_mirrored<false>(f, data, pair, k + 1); });
  for (uint32_t pair = me.thread; pair < pairs; pair += me.threads) pair_ends(f, data, pair);
}

// A last row without a partner leaves the imaginary parts of its line free: they get -infinity too.
MSDA_FN void phase_blank(const FieldBlock& b, const Entries& data, BlockThread me) {
  if (rows_of(b.f) % 2 == 0) return;
  float* line = data.values + 2 * int64_t{entries_of(b.f)} - 4 * int64_t{b.f.half};
  for (int32_t x = me.thread; x < b.f.width; x += me.threads)
    line[2 * x + 1] = float_of(0xFF800000u);
}

// Where a pixel's value lies after the transforms.
MSDA_FN float* value_at(const FieldBlock& b, const Entries& data, uint32_t pixel) {
  const Field& f = b.f;
  const uint32_t line = divide(pixel, b.by_width), height = f.height;
  const uint32_t z = f.depth == 1 ? 0 : divide(line, b.by_height);
  const uint32_t row = b.place[0][z] * height + b.place[1][line - z * height];
  const int64_t at = row / 2 * 2 * int64_t{f.half} + b.place[2][pixel - line * f.width];
  return data.values + 2 * at + row % 2;
}

}  // namespace msda
