// The field's mask as a block of threads makes it: phases with a barrier after each.  The GPU calls
// a phase once per thread and synchronises; the CPU calls it for thread 0 .. threads - 1, in any
// order.
#pragma once
#include "msda/field.h"
#include "msda/share.h"

namespace msda {

constexpr int32_t kDigitBits = 11, kDigits = 1 << kDigitBits;
constexpr int32_t kDigitGroup = 32, kDigitGroups = kDigits / kDigitGroup;

// What the threads of a block share.
struct FieldBlock {
  Field f;
  Passes z, y, x;
  Turns turns_z, turns_y, turns_x;
  const int32_t *place_z, *place_y, *place_x;  // reversed() of every entry of each axis
  Data data;                                   // 2 * pairs_of(f) rows of f.half values
  Complex<float>* room;                        // a large radix: 2 radix values a thread, or null
  uint32_t* histogram;                         // kDigits + kDigitGroups
  uint64_t prefix;  // digits of the threshold that are known, from the top
  uint32_t rank;    // how many more are to be taken below the threshold's prefix; 0: it is found
};

// Bytes that a block shares if all of it lies in shared memory: the values, the histogram and the
// block's own record.  (The tables of the axes, 12 bytes a pixel of each, are only read, and room
// for large radices is not asked for by sizes that are products of 2, 3, 5 and 7.)  224 x 224 takes
// 202496 + 8448 bytes and the record, of the 232448 that a block may have on Hopper and Blackwell:
// one block a multiprocessor.  The largest square is 235 x 235 there, 197 x 197 in the 163 KB of an
// A100 and 150 x 150 in 99 KB.  Softened edges take no more (msda/field_soft.h).
MSDA_FN int64_t field_block_bytes(const Field& f) {
  const int64_t values = 2 * static_cast<int64_t>(pairs_of(f)) * f.half;
  return values * static_cast<int64_t>(sizeof(Complex<float>)) +
         (kDigits + kDigitGroups) * static_cast<int64_t>(sizeof(uint32_t)) +
         static_cast<int64_t>(sizeof(FieldBlock));
}

// A field has fewer than 2^31 pixels, so that items are counted in 32 bits: a GPU divides those
// much faster.
MSDA_FN uint32_t pixels_of(const Field& f) {
  return static_cast<uint32_t>(rows_of(f)) * static_cast<uint32_t>(f.width);
}

MSDA_FN uint32_t entries_of(const Field& f) { return 2u * pairs_of(f) * f.half; }

MSDA_FN void phase_spectrum(const FieldBlock& b, Share s) {
  const uint32_t half = b.f.half, entries = entries_of(b.f);
  for (uint32_t i = s.thread; i < entries; i += s.threads) {
    const int32_t row = static_cast<int32_t>(i / half);
    const Complex<float> none = {0.0f, 0.0f};  // an odd last row is paired with zeros
    set(b.data, i,
        row < rows_of(b.f) ? spectrum_value(b.f, row, static_cast<int32_t>(i % half)) : none);
  }
}

MSDA_FN Complex<float>* room_of(const FieldBlock& b, const Passes& p, int32_t pass, Share s) {
  return b.room ? b.room + static_cast<int64_t>(s.thread) * 2 * p.radix[pass] : nullptr;
}

// Pass of the transforms along z (axis 0), y (1) or x (2).
MSDA_FN void phase_pass(const FieldBlock& b, int32_t axis, int32_t pass, Share s) {
  const Field& f = b.f;
  const Passes& p = axis == 0 ? b.z : axis == 1 ? b.y : b.x;
  const Turns& turns = axis == 0 ? b.turns_z : axis == 1 ? b.turns_y : b.turns_x;
  const uint32_t half = f.half, plane = half * f.height;
  const uint32_t lines = axis == 2 ? pairs_of(f) : axis == 1 ? half * f.depth : plane;
  const uint32_t items = lines * static_cast<uint32_t>(p.length / p.radix[pass]);
  for (uint32_t i = s.thread; i < items; i += s.threads) {
    const uint32_t number = i % lines;  // neighbouring threads take neighbouring lines
    const int64_t first = axis == 1 ? number / half * plane + number % half : number;
    const Line line = axis == 2 ? paired_line(f, static_cast<int32_t>(number))
                                : Line{first, 0, p.length, axis == 1 ? half : plane};
    butterfly(p, pass, static_cast<int32_t>(i / lines), turns, b.data, line,
              room_of(b, p, pass, s));
  }
}

MSDA_FN void phase_pair(const FieldBlock& b, Share s) {
  const Field& f = b.f;
  const uint32_t half = f.half, items = pairs_of(f) * half;
  for (uint32_t i = s.thread; i < items; i += s.threads) {
    const int64_t at = i / half * 2 * half + i % half;
    Complex<float> low = get<float>(b.data, at), high = get<float>(b.data, at + half);
    pair_up(&low, &high, static_cast<int32_t>(i % half), f.width);
    set(b.data, at, low);
    set(b.data, at + half, high);
  }
}

// Where a pixel's value lies after the transforms.
MSDA_FN float* value_at(const FieldBlock& b, uint32_t pixel) {
  const Field& f = b.f;
  const uint32_t line = pixel / static_cast<uint32_t>(f.width), height = f.height;
  const int32_t row = b.place_z[line / height] * f.height + b.place_y[line % height];
  const int64_t at = entry(paired_line(f, row / 2), b.place_x[pixel - line * f.width]);
  return (row % 2 ? b.data.im : b.data.re) + at;
}

// Key and index of a pixel as one number: the own pixels are those of the smallest.
MSDA_FN uint64_t order_of(const FieldBlock& b, uint32_t pixel) {
  return uint64_t{descending_key(*value_at(b, pixel))} << 32 | pixel;
}

// Digits of the order, from the top; the last is narrower.
constexpr int32_t kLevels = 6;
MSDA_FN int32_t digit_shift(int32_t level) {
  const int32_t shift = 64 - kDigitBits * (level + 1);
  return shift > 0 ? shift : 0;
}

MSDA_FN void phase_clear(const FieldBlock& b, Share s) {
  for (int32_t i = s.thread; i < kDigits; i += s.threads) b.histogram[i] = 0;
}

MSDA_FN void phase_count(const FieldBlock& b, int32_t level, Share s) {
  if (b.rank == 0) return;
  const int32_t shift = digit_shift(level), above = level ? digit_shift(level - 1) : 64;
  const uint32_t pixels = pixels_of(b.f);
  for (uint32_t i = s.thread; i < pixels; i += s.threads) {
    const uint64_t order = order_of(b, i);
    if (level > 0 && order >> above != b.prefix) continue;
    add_one(&b.histogram[(order >> shift) & ((uint64_t{1} << (above - shift)) - 1)]);
  }
}

// Sums of kDigitGroup digits each, so that one thread need not look at all of them.
MSDA_FN void phase_sum(const FieldBlock& b, Share s) {
  for (int32_t i = s.thread; i < kDigitGroups; i += s.threads) {
    uint32_t sum = 0;
    for (int32_t k = 0; k < kDigitGroup; ++k) sum += b.histogram[i * kDigitGroup + k];
    b.histogram[kDigits + i] = sum;
  }
}

// One thread: the digit in which the threshold lies.  Where all orders with this digit are below
// it, the threshold is the greatest such order, and no further level is needed.
MSDA_FN void phase_choose(FieldBlock* b, int32_t level, Share s) {
  if (s.thread != 0 || b->rank == 0) return;
  const int32_t shift = digit_shift(level), above = level ? digit_shift(level - 1) : 64;
  uint32_t rank = b->rank, group = 0;
  while (rank > b->histogram[kDigits + group]) rank -= b->histogram[kDigits + group++];
  uint32_t digit = group * kDigitGroup;
  while (rank > b->histogram[digit]) rank -= b->histogram[digit++];
  const bool found = rank == b->histogram[digit];
  b->prefix = (level ? b->prefix << (above - shift) : 0) | digit;
  if (found) b->prefix = (b->prefix << shift) + ((uint64_t{1} << shift) - 1);
  b->rank = found ? 0 : rank;
}

// Words of 32 pixels; bit i of word j is pixel 32 j + i.  `b.prefix` is the greatest own order.
MSDA_FN void phase_bits(const FieldBlock& b, uint32_t* bits, bool any, Share s) {
  const uint32_t pixels = pixels_of(b.f);
  for (uint32_t word = s.thread; word < (pixels + 31) / 32; word += s.threads) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < 32 && 32 * word + i < pixels; ++i)
      if (any && order_of(b, 32 * word + i) <= b.prefix) value |= 1u << i;
    bits[word] = value;
  }
}

}  // namespace msda
