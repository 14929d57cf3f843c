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

// What the threads of a block share.  The field's values and the histogram are passed on their own,
// so that the compiler knows which kind of memory they lie in.
struct FieldBlock {
  Field f;
  int32_t lengths[3];  // of the axes z, y and x
  Steps steps;
  Turns turns[3];
  const int32_t* place[3];  // reversed() of every entry of each axis
  const float* amplitudes;  // of every entry of the half spectrum and one more; null: they are
                            // computed where they are needed
  Complex<float>* room;     // for a large radix: 2 radix values a thread; else null
  Found found[2];           // level k reads found[k % 2] and writes the other one
};

// Bytes of the values of a field.
MSDA_FN int64_t field_bytes(const Field& f) {
  return 2 * static_cast<int64_t>(pairs_of(f)) * f.half *
         static_cast<int64_t>(sizeof(Complex<float>));
}

// Bytes of shared memory that a block takes if its values lie there: the values, the histogram and
// the FieldBlock.  The tables of the axes, 12 bytes for each pixel of an axis, lie elsewhere, and
// so does the room for large radices, which sizes that are products of 2, 3, 5 and 7 do not need.
// 224 x 224 takes 202496 + 8448 bytes and the FieldBlock, of the 232448 bytes that a block may have
// on Hopper and Blackwell, so a multiprocessor holds one block.  The largest square is 235 x 235
// there, 197 x 197 in the 163 KB of an A100, and 150 x 150 in 99 KB.  Softened edges take no more
// (soft.h).
MSDA_FN int64_t field_block_bytes(const Field& f) {
  return field_bytes(f) + (kDigits + kDigitGroups) * static_cast<int64_t>(sizeof(uint32_t)) +
         static_cast<int64_t>(sizeof(FieldBlock));
}

// A field has fewer than 2^31 pixels, so that items are counted in 32 bits: a GPU divides those
// much faster.
MSDA_FN uint32_t pixels_of(const Field& f) {
  return static_cast<uint32_t>(rows_of(f)) * static_cast<uint32_t>(f.width);
}

MSDA_FN uint32_t entries_of(const Field& f) { return 2u * pairs_of(f) * f.half; }

// Draws the whole spectrum from known amplitudes, two entries at a time, which share a Philox block
// and lie in the same 16 bytes.  Behind an odd number of entries there is room for one more.
MSDA_FN void scale_known_amplitudes(const FieldBlock& b, const Entries& data, BlockThread me) {
  const uint32_t blocks = (static_cast<uint32_t>(rows_of(b.f)) * b.f.half + 1u) / 2u;
  for (uint32_t block = me.thread; block < blocks; block += me.threads) {
    float first, second;
    load8(&first, &second, b.amplitudes + 2 * int64_t{block});
    const Words4 w = field_words(b.f, block);
    const Complex<float> n = normals(w.v[0], w.v[1]), m = normals(w.v[2], w.v[3]);
    set(data, 2 * int64_t{block}, {n.re * first, n.im * first});
    set(data, 2 * int64_t{block} + 1, {m.re * second, m.im * second});
  }
}

// Draws the columns of the spectrum that are not 0 in every row.  Entries of even and odd number
// share a Philox block, so an item is a block.  A row may begin or end with half of one.
MSDA_FN void phase_spectrum(const FieldBlock& b, const Entries& data, BlockThread me) {
  if (b.amplitudes) return scale_known_amplitudes(b, data, me);
  const Field& f = b.f;
  const int32_t columns = columns_of(f);
  each_item(me, rows_of(f), columns / 2 + 1, [&](uint32_t row, uint32_t number) {
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
  });
}

// The lines of the transforms along an axis.
MSDA_FN Lines lines_of(const Field& f, int32_t axis) {
  const uint32_t half = f.half, plane = half * f.height, columns = columns_of(f);
  const uint32_t pairs = pairs_of(f);
  if (axis == 2) return {pairs, pairs, 0, 2 * half, 1};
  return axis == 1 ? Lines{columns * f.depth, columns, plane, 1, half}
                   : Lines{columns * f.height, columns, half, 1, plane};
}

// One step of the transforms along z (axis 0), y (1) or x (2).  kInTwos says whether steps may have
// two passes, for which a GPU needs the short addresses of shared memory.
template <bool kInTwos>
MSDA_FN void phase_step(const FieldBlock& b, const Entries& data, int32_t axis, int32_t number,
                        BlockThread me) {
  const Step& step = b.steps.step[b.steps.begin[axis] + number];
  Complex<float>* room =
      b.room ? b.room + static_cast<int64_t>(me.thread) * 2 * step.first : nullptr;
  const Lines lines = lines_of(b.f, axis);
  if (kInTwos && step.second > 1)
    return take_two_passes(step, b.lengths[axis], b.turns[axis], data, lines, me);
  take_one_pass(step, b.lengths[axis], b.turns[axis], data, lines, room, me);
}

MSDA_FN int32_t steps_along(const FieldBlock& b, int32_t axis) {
  return b.steps.begin[axis + 1] - b.steps.begin[axis];
}

// Entry k of a row of the spectrum.  It is 0 behind the columns that were drawn, and in the row
// that the last one lacks for a partner.
MSDA_FN Complex<float> paired_entry(const Field& f, const Entries& data, uint32_t row, uint32_t k) {
  if (row >= static_cast<uint32_t>(rows_of(f)) || k >= static_cast<uint32_t>(columns_of(f)))
    return {0.0f, 0.0f};
  return get<float>(data, int64_t{row} * f.half + k);
}

// Joins the two rows of a pair into one line, in place.  Entries k of both rows make entries k and
// width - k of the line.  Entry width - k goes where the second row had its entry `other`, which is
// width - half - k, and so the other way round.  An item therefore takes k and `other` together,
// and writes where it has read.  Places behind the line get -infinity, which comes behind all
// pixels.
MSDA_FN void phase_pair(const FieldBlock& b, const Entries& data, BlockThread me) {
  const Field& f = b.f;
  const uint32_t half = f.half, width = f.width, last = width - half;
  each_item(me, pairs_of(f), last / 2 + 1, [&](uint32_t pair, uint32_t k) {
    const uint32_t row = 2 * pair, at = row * half;
    const auto both = [&](uint32_t entry, Complex<float>* low, Complex<float>* high) {
      *low = paired_entry(f, data, row, entry), *high = paired_entry(f, data, row + 1, entry);
      pair_up(low, high, static_cast<int32_t>(entry), f.width);
    };
    const uint32_t other = last - k;
    Complex<float> low, high, other_low, other_high;
    both(k, &low, &high), both(other, &other_low, &other_high);
    set(data, at + k, low), set(data, at + other, other_low);
    if (other > 0) set(data, at + width - other, other_high);
    if (k > 0) return set(data, at + width - k, high);
    if (half > last + 1) {  // an even width: the entry in its middle
      both(half - 1, &low, &high);
      set(data, at + half - 1, low);
    }
    const float behind = float_of(0xFF800000u);
    for (uint32_t x = width; x < 2 * half; ++x) set(data, at + x, {behind, behind});
  });
}

// Where a pixel's value lies after the transforms.
MSDA_FN float* value_at(const FieldBlock& b, const Entries& data, uint32_t pixel) {
  const Field& f = b.f;
  const uint32_t line = pixel / static_cast<uint32_t>(f.width), height = f.height;
  const uint32_t z = f.depth == 1 ? 0 : line / height;
  const uint32_t row = b.place[0][z] * height + b.place[1][line - z * height];
  const int64_t at = row / 2 * 2 * int64_t{f.half} + b.place[2][pixel - line * f.width];
  return data.values + 2 * at + row % 2;
}

// Key and index of a pixel as one number.  The own pixels have the `count` smallest orders.
MSDA_FN uint64_t order_of(const FieldBlock& b, const Entries& data, uint32_t pixel) {
  return uint64_t{descending_key(*value_at(b, data, pixel))} << 32 | pixel;
}

// Level k looks at digit k of the orders, counted from the top; the last digit is narrower.  The
// first kKeyLevels digits follow from the key alone, as the highest bit of an index is 0.  At those
// levels the values may be read in the order of memory, whichever pixels they belong to.
constexpr int32_t kLevels = 6, kKeyLevels = 3;
MSDA_FN int32_t digit_shift(int32_t level) {
  const int32_t shift = 64 - kDigitBits * (level + 1);
  return shift > 0 ? shift : 0;
}

MSDA_FN void phase_clear(uint32_t* histogram, BlockThread me) {
  for (int32_t i = me.thread; i < kDigits; i += me.threads) histogram[i] = 0;
}

// The value that has this key.
MSDA_FN float value_of_key(uint32_t key) {
  return float_of((key & 0x80000000u) ? key : key ^ 0x7FFFFFFFu);
}

// Counts the digits at this level of the values number 0, step, 2 step, ... below `count` whose
// keys begin with the threshold's prefix.  Such values lie between two bounds, and comparing them
// is cheaper than making their keys.  The key is still checked, because 0 and -0 compare as equal.
// (The first digit holds the whole exponent, so a bound of finite values is not NaN.)
MSDA_FN void count_keys(const FieldBlock& b, const float* values, uint32_t count, uint32_t step,
                        uint32_t* histogram, int32_t level, BlockThread me) {
  const int32_t shift = digit_shift(level);
  const uint32_t begin = me.thread * step, every = me.threads * step;
  if (level == 0) {
#pragma unroll 4
    for (uint32_t i = begin; i < count; i += every)
      add_one(histogram + (descending_key(values[i]) >> (shift - 32)));
    return;
  }
  const int32_t above = digit_shift(level - 1) - 32;
  const uint32_t prefix = static_cast<uint32_t>(b.found[level % 2].prefix);
  const float most = value_of_key(prefix << above), least = value_of_key(~(~prefix << above));
#pragma unroll 4
  for (uint32_t i = begin; i < count; i += every) {
    const float value = values[i];
    if (!((value <= most) & (value >= least))) continue;
    const uint32_t key = descending_key(value);
    if (key >> above != prefix) continue;
    const uint32_t digit = shift >= 32 ? key >> (shift - 32) : key << (32 - shift);
    add_one(histogram + (digit & (kDigits - 1)));
  }
}

// Counts the digits at this level of the pixels whose orders begin with the threshold's prefix.
MSDA_FN void phase_count(const FieldBlock& b, const Entries& data, uint32_t* histogram,
                         int32_t level, BlockThread me) {
  if (level < kKeyLevels) {
    const uint32_t line = 4u * b.f.half, all = 2u * entries_of(b.f);
    const uint32_t alone = rows_of(b.f) % 2 ? line : 0;  // the last row, if it has no partner
    count_keys(b, data.values, all - alone, 1, histogram, level, me);
    if (alone > 0) count_keys(b, data.values + (all - alone), alone, 2, histogram, level, me);
    return;
  }
  const int32_t shift = digit_shift(level), above = digit_shift(level - 1);
  for (uint32_t i = me.thread; i < pixels_of(b.f); i += me.threads) {
    const uint64_t order = order_of(b, data, i);
    if (order >> above != b.found[level % 2].prefix) continue;
    add_one(&histogram[(order >> shift) & ((uint64_t{1} << (above - shift)) - 1)]);
  }
}

// Adds up the counters of each group.  Each thread begins at another counter of its group, so that
// threads read from different banks of shared memory.
MSDA_FN void phase_sum(uint32_t* histogram, BlockThread me) {
  for (int32_t i = me.thread; i < kDigitGroups; i += me.threads) {
    uint32_t sum = 0;
    for (int32_t k = 0; k < kDigitGroup; ++k)
      sum += histogram[i * kDigitGroup + (i + k) % kDigitGroup];
    histogram[kDigits + i] = sum;
  }
}

// Finds the threshold's digit; the thread that has its group does it.  Where all orders with this
// digit are own, the digits below are set to ones: no further level is needed then.
MSDA_FN void phase_choose(FieldBlock* b, const uint32_t* histogram, int32_t level, BlockThread me) {
  const Found before = b->found[level % 2];
  const int32_t shift = digit_shift(level), above = level ? digit_shift(level - 1) : 64;
  for (int32_t group = me.thread; group < kDigitGroups; group += me.threads) {
    uint32_t rank = before.rank, digit = 0, count = 0;
    for (int32_t k = 0; k < group; ++k) {
      const uint32_t sum = histogram[kDigits + k];
      rank -= rank < sum ? rank : sum;
    }
    if (rank == 0 || rank > histogram[kDigits + group]) continue;
    for (int32_t k = 0; k < kDigitGroup; ++k) {
      const uint32_t here = histogram[group * kDigitGroup + k];
      if (count > 0) continue;
      if (rank > here)
        rank -= here;
      else
        digit = group * kDigitGroup + k, count = here;
    }
    Found now = {(level ? before.prefix << (above - shift) : 0) | digit, rank};
    if (rank == count) now = {(now.prefix << shift) + ((uint64_t{1} << shift) - 1), 0};
    b->found[(level + 1) % 2] = now;
  }
}

// Writes the bits of the own pixels: bit i of word j is pixel 32 j + i.  `last` is the greatest own
// order, and `any` says whether there is one.
MSDA_FN void phase_bits(const FieldBlock& b, const Entries& data, uint32_t* bits, uint64_t last,
                        bool any, BlockThread me) {
  const uint32_t pixels = pixels_of(b.f), width = b.f.width;
  const float least = value_of_key(static_cast<uint32_t>(last >> 32));
  const uint32_t last_of_equals = static_cast<uint32_t>(last);
  const auto is_own = [&](float value, uint32_t pixel) {  // without branches
    const bool equal = (value == least) & (pixel <= last_of_equals);
    return (value > least) | equal ? 1u : 0u;
  };
  for (uint32_t word = me.thread; word < (pixels + 31) / 32; word += me.threads) {
    const uint32_t first = 32 * word, x = first % width;
    uint32_t value = 0;
    if (any && x + 32 <= width) {  // all in one line
      const int32_t* place = b.place[2] + x;
      const float* line = value_at(b, data, first) - 2 * place[0];
#pragma unroll 8
      for (uint32_t i = 0; i < 32; ++i) value |= is_own(line[2 * place[i]], first + i) << i;
    } else if (any) {
      for (uint32_t i = 0; i < 32 && first + i < pixels; ++i)
        value |= is_own(*value_at(b, data, first + i), first + i) << i;
    }
    bits[word] = value;
  }
}

}  // namespace msda
