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
  Divisor by_part;
};

// The axes of a field have fewer than 2^31 entries together: 20 steps are more than enough.
constexpr int32_t kMaxSteps = 20;
struct Steps {
  int32_t begin[4];  // those of axis k are begin[k] .. begin[k + 1] - 1
  Step step[kMaxSteps];
};

// Whether two passes may be one step.  All values of a step must fit into registers.
MSDA_FN bool are_one_step(int32_t first, int32_t second) {
  return (first == 4 && second <= 4) || (first == 2 && second <= 7);
}

// Appends the steps of an axis; those of the axes before it must be there.  `in_twos` says whether
// a step may have two passes.
MSDA_FN void append_steps(Steps* me, int32_t axis, const Passes& p, bool in_twos) {
  int32_t at = axis == 0 ? 0 : me->begin[axis], blocks = 1;
  me->begin[axis] = at;
  for (int32_t pass = 0; pass < p.count; ++at) {
    Step step = {p.radix[pass++], 1, 0, blocks, {}};
    if (in_twos && pass < p.count && are_one_step(step.first, p.radix[pass]))
      step.second = p.radix[pass++];
    blocks *= step.first * step.second;
    step.part = p.length / blocks;
    step.by_part = divisor_of(static_cast<uint32_t>(step.part));
    me->step[at] = step;
  }
  me->begin[axis + 1] = at;
}

// The butterfly of R values, of which each lies kStride places behind the one before.  Value q is
// then turned by entry q * spacing of the table.
template <int32_t R, int32_t kStride>
MSDA_FN void sum_and_turn(Complex<float>* a, const Turns& turns, int32_t step, uint32_t spacing) {
  Complex<float> v[R], held[R];
#pragma unroll
  for (int32_t q = 0; q < R; ++q) v[q] = a[q * kStride];
  if (R == 4)
    sum_of_four(v);
  else if (R == 2)
    sum_of_two(v);
  else
    sum_of_odd(v, held, R, turns, step);
  a[0] = v[0];
#pragma unroll
  for (int32_t q = 1; q < R; ++q)
    a[q * kStride] = turned(v[q], turns.cosine[q * spacing], turns.sine[q * spacing]);
}

// Does a step on entries first, first + gap, ... of one block: entry j of each of its parts.
template <int32_t R1, int32_t R2>
MSDA_FN void take_step(const Step& step, int32_t length, const Turns& turns, const Entries& data,
                       uint32_t first, uint32_t gap, uint32_t j) {
  Complex<float> a[R1 * R2];
  float* values = data.values + 2 * first;
  const int32_t distance = 2 * static_cast<int32_t>(gap);
#pragma unroll
  for (int32_t i = 0; i < R1 * R2; ++i) load8(&a[i].re, &a[i].im, values + i * distance);
#pragma unroll
  for (int32_t l = 0; l < R2; ++l)
    sum_and_turn<R1, R2>(a + l, turns, length / R1, step.blocks * (j + l * step.part));
  if (R2 > 1)
#pragma unroll
    for (int32_t m = 0; m < R1; ++m)
      sum_and_turn<R2, 1>(a + m * R2, turns, length / R2, step.blocks * R1 * j);
#pragma unroll
  for (int32_t i = 0; i < R1 * R2; ++i) store8(values + i * distance, a[i].re, a[i].im);
}

// The lines that a step works on.  Entry k of line n lies at first_of(n) + k * stride.
struct Lines {
  uint32_t count, columns;  // `columns` lines lie beside each other in a row
  uint32_t down, across;    // entries from row to row, and from a line to its neighbour
  uint32_t stride;
};

MSDA_FN uint32_t first_of(const Lines& lines, uint32_t number) {
  if (lines.count == lines.columns) return number * lines.across;
  return number / lines.columns * lines.down + number % lines.columns * lines.across;
}

// Does a step on all lines.  Neighbouring threads take neighbouring lines.
template <int32_t R1, int32_t R2>
MSDA_FN void take_steps(const Step& step, int32_t length, const Turns& turns, const Entries& data,
                        const Lines& lines, BlockThread me) {
  const uint32_t part = step.part, each = part * step.blocks, gap = part * lines.stride;
  each_item(me, each, lines.count, [&](uint32_t index, uint32_t number) {
    const uint32_t block = divide(index, step.by_part), j = index - block * part;
    const uint32_t at = block * (part * R1 * R2) + j;
    take_step<R1, R2>(step, length, turns, data, first_of(lines, number) + at * lines.stride, gap,
                      j);
  });
}

// The same for one pass of any radix, in `room` for 2 radix values.
MSDA_FN void take_large_steps(const Step& step, int32_t length, const Turns& turns,
                              const Entries& data, const Lines& lines, Complex<float>* room,
                              BlockThread me) {
  const uint32_t part = step.part, each = part * step.blocks;
  each_item(me, each, lines.count, [&](uint32_t index, uint32_t number) {
    const uint32_t block = divide(index, step.by_part), j = index - block * part;
    const Line line = {first_of(lines, number), lines.stride};
    const int32_t size = step.part * step.first;
    butterfly_at<0>(length, step.first, size, static_cast<int32_t>(block) * size + j,
                    static_cast<int32_t>(j), turns, data, line, room);
  });
}

// Does a step of two passes, which are_one_step() allows.
MSDA_FN void take_two_passes(const Step& step, int32_t length, const Turns& turns,
                             const Entries& data, const Lines& lines, BlockThread me) {
  switch (step.first * 8 + step.second) {
    case 4 * 8 + 4:
      return take_steps<4, 4>(step, length, turns, data, lines, me);
    case 4 * 8 + 3:
      return take_steps<4, 3>(step, length, turns, data, lines, me);
    case 4 * 8 + 2:
      return take_steps<4, 2>(step, length, turns, data, lines, me);
    case 2 * 8 + 7:
      return take_steps<2, 7>(step, length, turns, data, lines, me);
    case 2 * 8 + 5:
      return take_steps<2, 5>(step, length, turns, data, lines, me);
    default:
      return take_steps<2, 3>(step, length, turns, data, lines, me);
  }
}

MSDA_FN void take_one_pass(const Step& step, int32_t length, const Turns& turns,
                           const Entries& data, const Lines& lines, Complex<float>* room,
                           BlockThread me) {
  switch (step.first) {
    case 2:
      return take_steps<2, 1>(step, length, turns, data, lines, me);
    case 3:
      return take_steps<3, 1>(step, length, turns, data, lines, me);
    case 4:
      return take_steps<4, 1>(step, length, turns, data, lines, me);
    case 5:
      return take_steps<5, 1>(step, length, turns, data, lines, me);
    case 7:
      return take_steps<7, 1>(step, length, turns, data, lines, me);
    default:
      return take_large_steps(step, length, turns, data, lines, room, me);
  }
}

}  // namespace msda
