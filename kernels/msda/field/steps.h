// The transforms of fourier.h as a block of threads makes them: in steps of one or two passes.  A
// thread holds the values of a step in registers between its loads and its stores.  Butterflies and
// turns are those of fourier.h, so the values have the same bits.
#pragma once
#include "msda/block_thread.h"
#include "msda/field/fourier.h"

namespace msda {

// A pass of radix `first`, and one of radix `second` where that is not 1.  They split each of
// `blocks` blocks into first * second parts of `part` entries.
struct Step {
  int32_t first, second, part, blocks;
  uint32_t turns;  // where the field's memory has its turns, in floats
  uint32_t items;  // how many turns it has there
  Divisor by_part;
};

// An axis has fewer than 2^31 entries: 20 steps are more than enough.
constexpr int32_t kMaxSteps = 20;
struct Steps {
  int32_t count;
  Step step[kMaxSteps];
};

constexpr int32_t kUnrolledRadix = 7;  // larger butterflies need room in memory, and have no table

// Whether two passes may be one step.  All values of a step must fit into registers.
MSDA_FN bool are_one_step(int32_t first, int32_t second) {
  return (first == 4 && second <= 4) || (first == 2 && second <= 7);
}

// How many turns entry j of a block needs, in whole pairs: see turn_number().
MSDA_FN int32_t turns_of(const Step& step) {
  return step.first > kUnrolledRadix ? 0 : step.first * step.second / 2 * 2;
}

// The steps of an axis whose turns lie from float `turns` of the field's memory on.  `in_twos` says
// whether a step may have two passes.
MSDA_FN void set_steps(Steps* me, const Passes& p, bool in_twos, uint32_t turns) {
  int32_t blocks = 1, count = 0;
  for (int32_t pass = 0; pass < p.count; ++count) {
    Step step = {p.radix[pass++], 1, 0, blocks, turns, 0, {}};
    if (in_twos && pass < p.count && are_one_step(step.first, p.radix[pass]))
      step.second = p.radix[pass++];
    blocks *= step.first * step.second;
    step.part = p.length / blocks;
    step.by_part = divisor_of(static_cast<uint32_t>(step.part));
    step.items = static_cast<uint32_t>(step.part * turns_of(step));
    turns += 2u * step.items;
    me->step[count] = step;
  }
  me->count = count;
}

// Floats of all turns of an axis, or more: the first step has at most `length` of them, and each
// other step at most half of those of the step before.
MSDA_FN int64_t floats_of_turns(int32_t length) { return int64_t{4} * length; }

// Which entry of the axis's table is turn number n of entry j.  Those of the first pass come first,
// R1 - 1 for each of R2 butterflies.
MSDA_FN uint32_t turn_number(const Step& step, uint32_t j, uint32_t n) {
  const uint32_t each = step.first - 1, in_first = each * step.second, blocks = step.blocks;
  const uint32_t l = n / each;
  if (n < in_first) return (n - l * each + 1) * blocks * (j + l * step.part);
  const uint32_t q = n - in_first + 1;  // none if the number only fills up a pair
  return q < static_cast<uint32_t>(step.second) ? q * blocks * step.first * j : 0;
}

// Writes the turns of all steps of an axis into the field's memory, in the order in which they are
// needed.
MSDA_FN void gather_turns(const Steps& steps, const Turns& turns, const Entries& data,
                          BlockThread me) {
  for (int32_t k = 0; k < steps.count; ++k) {
    const Step& step = steps.step[k];
    for (uint32_t i = me.thread; i < step.items; i += me.threads) {
      const uint32_t each = turns_of(step), j = i / each, at = turn_number(step, j, i - j * each);
      store8(data.values + step.turns + 2 * int64_t{i}, turns.cosine[at], turns.sine[at]);
    }
  }
}

// The sums of a butterfly of radix R.
template <int32_t R, typename V>
MSDA_FN void sum(Complex<V>* v) {
  if constexpr (R == 4) {
    sum_of_four(v);
  } else if constexpr (R == 2) {
    sum_of_two(v);
  } else {
    Complex<V> held[R];
    sum_of_odd<R>(v, held, R, {}, 0);
  }
}

// Does a step on entries first, first + gap, ... of one block: entry j of each of its parts.
template <int32_t R1, int32_t R2>
MSDA_FN void take_step(const Step& step, const Entries& data, uint32_t first, uint32_t gap,
                       uint32_t j) {
  Complex<float> a[R1 * R2];
  float* values = data.values + 2 * first;
  const int32_t distance = 2 * static_cast<int32_t>(gap);
#pragma unroll
  for (int32_t i = 0; i < R1 * R2; ++i) load8(&a[i].re, &a[i].im, values + i * distance);
  float read[2 * R1 * R2];  // turns, in pairs
  const float* turns = data.values + step.turns + 2 * (R1 * R2 / 2 * 2) * j;
  const auto turn = [&](int32_t n) {  // number n is known when this is compiled
    if (n % 2 == 0) load16(read + 2 * n, turns + 2 * n);
    return Complex<float>{read[2 * n], read[2 * n + 1]};
  };
#pragma unroll
  for (int32_t l = 0; l < R2; ++l) {
    Complex<float> v[R1];
#pragma unroll
    for (int32_t q = 0; q < R1; ++q) v[q] = a[q * R2 + l];
    sum<R1>(v);
    a[l] = v[0];
#pragma unroll
    for (int32_t q = 1; q < R1; ++q) {
      const Complex<float> t = turn(l * (R1 - 1) + q - 1);
      a[q * R2 + l] = R2 > 1 || step.part > 1 ? turned(v[q], t.re, t.im) : v[q];
    }
  }
  if constexpr (R2 > 1) {
#pragma unroll
    for (int32_t m = 0; m < R1; ++m) sum<R2>(a + m * R2);
    if (step.part > 1) {  // else no value is turned
#pragma unroll
      for (int32_t q = 1; q < R2; ++q) {
        const Complex<float> t = turn((R1 - 1) * R2 + q - 1);
#pragma unroll
        for (int32_t m = 0; m < R1; ++m) a[m * R2 + q] = turned(a[m * R2 + q], t.re, t.im);
      }
    }
  }
  // Many are stored from the end on, so that no register must keep an address.
  const bool backwards = R1 * R2 >= 14;
  if (backwards) values += (R1 * R2 - 1) * distance;
#pragma unroll
  for (int32_t i = 0; i < R1 * R2; ++i) {
    const Complex<float>& value = a[backwards ? R1 * R2 - 1 - i : i];
    store8(values + (backwards ? -i : i) * distance, value.re, value.im);
  }
}

// The lines that a step works on.  Entry k of line n lies at first_of(n) + k * stride.
struct Lines {
  uint32_t count, columns;  // `columns` lines lie beside each other in a row
  uint32_t down, across;    // entries from row to row, and from a line to its neighbour
  uint32_t stride;
  Divisor by_count, by_columns;
};

MSDA_FN uint32_t first_of(const Lines& lines, uint32_t number) {
  if (lines.count == lines.columns) return number * lines.across;
  const uint32_t row = divide(number, lines.by_columns);
  return row * lines.down + (number - row * lines.columns) * lines.across;
}

// Does a step on all lines.  Neighbouring threads take neighbouring lines.
template <int32_t R1, int32_t R2>
MSDA_FN void take_steps(const Step& step, const Entries& data, const Lines& lines, BlockThread me) {
  for (uint32_t i = me.thread; i < step.part * step.blocks * lines.count; i += me.threads) {
    const uint32_t index = divide(i, lines.by_count), number = i - index * lines.count;
    const uint32_t part = step.part, block = divide(index, step.by_part), j = index - block * part;
    const uint32_t at = block * (part * R1 * R2) + j, stride = lines.stride;
    take_step<R1, R2>(step, data, first_of(lines, number) + at * stride, part * stride, j);
    read_memory_again();  // for the next item: the registers are for the values
  }
}

// The same for one pass of any radix, in `room` for 2 radix values.
MSDA_FN void take_large_steps(const Step& step, int32_t length, const Turns& turns,
                              const Entries& data, const Lines& lines, Complex<float>* room,
                              BlockThread me) {
  const uint32_t part = step.part, each = part * step.blocks;
  each_item(me, each, lines.count, lines.by_count, [&](uint32_t index, uint32_t number) {
    const uint32_t block = divide(index, step.by_part), j = index - block * part;
    const Line line = {first_of(lines, number), lines.stride};
    const int32_t size = step.part * step.first;
    butterfly_at(length, step.first, size, static_cast<int32_t>(block) * size + j,
                 static_cast<int32_t>(j), turns, data, line, room);
  });
}

// Does a step of two passes, which are_one_step() allows.
MSDA_FN void take_two_passes(const Step& step, const Entries& data, const Lines& lines,
                             BlockThread me) {
  switch (step.first * 8 + step.second) {
    case 4 * 8 + 4:
      return take_steps<4, 4>(step, data, lines, me);
    case 4 * 8 + 3:
      return take_steps<4, 3>(step, data, lines, me);
    case 4 * 8 + 2:
      return take_steps<4, 2>(step, data, lines, me);
    case 2 * 8 + 7:
      return take_steps<2, 7>(step, data, lines, me);
    case 2 * 8 + 5:
      return take_steps<2, 5>(step, data, lines, me);
    default:
      return take_steps<2, 3>(step, data, lines, me);
  }
}

MSDA_FN void take_one_pass(const Step& step, int32_t length, const Turns& turns,
                           const Entries& data, const Lines& lines, Complex<float>* room,
                           BlockThread me) {
  switch (step.first) {
    case 2:
      return take_steps<2, 1>(step, data, lines, me);
    case 3:
      return take_steps<3, 1>(step, data, lines, me);
    case 4:
      return take_steps<4, 1>(step, data, lines, me);
    case 5:
      return take_steps<5, 1>(step, data, lines, me);
    case 7:
      return take_steps<7, 1>(step, data, lines, me);
    default:
      return take_large_steps(step, length, turns, data, lines, room, me);
  }
}

}  // namespace msda
