// The threshold of a field at a rank, digit by digit, and the bits of the pixels above it, as a
// block of threads makes them.
#pragma once
#include "msda/field/phases.h"
#include "msda/shared.h"

namespace msda {

// Key and index of a pixel as one number.  The own pixels have the `count` smallest orders.
MSDA_FN uint64_t order_of(const FieldBlock& b, const Entries& data, uint32_t pixel) {
  return uint64_t{descending_key(*value_at(b, data, pixel))} << 32 | pixel;
}

// Level k looks at digit k of the orders, counted from the top: 11, 11 and 10 bits of the key, and
// the same of the index.  For those of the key the values may be read in the order of memory,
// whichever pixels they belong to.
constexpr int32_t kLevels = 6, kKeyLevels = 3;
MSDA_FN int32_t digit_shift(int32_t level) {
  const int32_t within = level % kKeyLevels, shift = within < 2 ? 21 - 11 * within : 0;
  return level < kKeyLevels ? 32 + shift : shift;
}

MSDA_FN void phase_clear(uint32_t* histogram, BlockThread me) {
  const float zeros[4] = {};
  for (int32_t i = me.thread; i < kDigits / 4; i += me.threads)
    store16(reinterpret_cast<float*>(histogram) + 4 * i, zeros);
}

// Calls take(value) for every value, in the order of memory and -0 as 0.  A thread asks for sixteen
// values before it takes them, as long as there are as many.
template <typename Take>
MSDA_FN void each_value(const FieldBlock& b, const Entries& data, BlockThread me,
                        const Take& take) {
  const uint32_t quads = entries_of(b.f) / 2, threads = me.threads;
  const float* at = data.values + 4 * int64_t{me.thread};
  const int64_t next = 4 * int64_t{me.threads};
  uint32_t i = me.thread;
#pragma unroll 1
  for (; i + 3 * threads < quads; i += 4 * threads) {
    float all[16];
#pragma unroll
    for (int32_t k = 0; k < 4; ++k, at += next) load16(all + 4 * k, at);
#pragma unroll
    for (int32_t k = 0; k < 16; ++k) take(all[k] + 0.0f);
  }
#pragma unroll 1
  for (; i < quads; i += threads, at += next) {
    float four[4];
    load16(four, at);
#pragma unroll
    for (int32_t k = 0; k < 4; ++k) take(four[k] + 0.0f);
  }
}

// Counts the first digits of all keys.  A positive value's digit is taken as it is, not as its key
// has it: see counter_of().
MSDA_FN void count_first_digits(const FieldBlock& b, const Entries& data, uint32_t* histogram,
                                BlockThread me) {
  each_value(b, data, me, [&](float value) { add_one(histogram + (bits_of(value) >> 21)); });
}

// The counter of a first digit: those of positive values stand the other way round.
MSDA_FN uint32_t counter_of(int32_t level, uint32_t digit) {
  return level == 0 && digit < kDigits / 2 ? kDigits / 2 - 1 - digit : digit;
}

// Counts the digits at this level of the values whose keys begin with the threshold's prefix.  The
// others are counted where phase_sum() writes later, because a branch would cost more.
MSDA_FN void count_next_digits(const FieldBlock& b, const Entries& data, uint32_t* histogram,
                               int32_t level, BlockThread me) {
  const int32_t shift = digit_shift(level) - 32, above = digit_shift(level - 1) - 32;
  const uint32_t prefix = static_cast<uint32_t>(b.found[level % 2].prefix);
  const uint32_t first = bits_of(value_of_key(prefix << above));
  const uint32_t other = kDigits + me.thread % kDigitGroup;  // neighbours use different banks
  each_value(b, data, me, [&](float value) {
    const uint32_t digit = (bits_of(value) ^ first) >> shift;
    add_one(histogram + (digit < other ? digit : other));
  });
}

// Counts the digits at this level of the pixels whose orders begin with the threshold's prefix.
MSDA_FN void phase_count(const FieldBlock& b, const Entries& data, uint32_t* histogram,
                         int32_t level, BlockThread me) {
  if (level == 0) return count_first_digits(b, data, histogram, me);
  if (level < kKeyLevels) return count_next_digits(b, data, histogram, level, me);
  const int32_t shift = digit_shift(level), above = digit_shift(level - 1);
  for (uint32_t i = me.thread; i < pixels_of(b.f); i += me.threads) {
    const uint64_t order = order_of(b, data, i);
    if (order >> above != b.found[level % 2].prefix) continue;
    add_one(&histogram[(order >> shift) & ((uint64_t{1} << (above - shift)) - 1)]);
  }
}

// Adds up the counters of each group, in the order of the digits.  Each thread begins at another
// counter of its group, so that threads read from different banks of shared memory.
MSDA_FN void phase_sum(uint32_t* histogram, int32_t level, BlockThread me) {
  for (int32_t i = me.thread; i < kDigitGroups; i += me.threads) {
    const uint32_t first = counter_of(level, i * kDigitGroup) / kDigitGroup * kDigitGroup;
    uint32_t sum = 0;
    for (int32_t k = 0; k < kDigitGroup; ++k) sum += histogram[first + (i + k) % kDigitGroup];
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
    const uint32_t first = group * kDigitGroup;
    if (rank == 0 || rank > histogram[kDigits + group]) continue;
    for (uint32_t k = 0; k < kDigitGroup; ++k) {
      const uint32_t here = histogram[counter_of(level, first + k)];
      if (count > 0) continue;
      if (rank > here)
        rank -= here;
      else
        digit = first + k, count = here;
    }
    Found now = {(level ? before.prefix << (above - shift) : 0) | digit, rank};
    if (rank == count) now = {(now.prefix << shift) + ((uint64_t{1} << shift) - 1), 0};
    b->found[(level + 1) % 2] = now;
  }
}

// The bits of 32 pixels whose values lie `places` bytes behind `line`.  All values above `bound`
// are own.  The signs of the differences are the bits.
MSDA_FN uint32_t bits_of_word(const float* line, const float* places, float bound) {
  uint32_t word = 0;
#pragma unroll
  for (int32_t i = 28; i >= 0; i -= 4) {
    float four[4];
    load16(four, places + i);
#pragma unroll
    for (int32_t k = 3; k >= 0; --k) {
      const char* at = reinterpret_cast<const char*>(line) + bits_of(four[k]);
      word = shifted_in(word, bits_of(bound - *reinterpret_cast<const float*>(at)));
    }
  }
  return word;
}

// Writes the bits of the own pixels: bit i of word j is pixel 32 j + i.  `last` is the greatest own
// order, and `any` says whether there is one.
MSDA_FN void phase_bits(const FieldBlock& b, const Entries& data, uint32_t* bits, uint64_t last,
                        bool any, BlockThread me) {
  const uint32_t pixels = pixels_of(b.f), width = b.f.width;
  const uint32_t key = static_cast<uint32_t>(last >> 32), last_equal = static_cast<uint32_t>(last);
  // The next smaller value: no number lies between.  -0 is left out, as it equals 0.
  const float bound = value_of_key(key == 0x7FFFFFFFu ? 0x80000001u : key + 1u);
  const bool in_lines = width % 4 == 0 && last_equal >= pixels - 1u;  // all equal ones are own
  const auto is_own = [&](uint32_t pixel) {
    const float value = *value_at(b, data, pixel), least = value_of_key(key);
    return value > least || (value == least && pixel <= last_equal) ? 1u : 0u;
  };
  for (uint32_t word = me.thread; word < (pixels + 31u) / 32u; word += me.threads) {
    const uint32_t first = 32 * word, x = first - divide(first, b.by_width) * width;
    uint32_t value = 0;
    if (any && in_lines && x + 32 <= width) {
      value = bits_of_word(value_at(b, data, first) - 2 * b.place[2][x], data.values + b.places + x,
                           bound);
    } else if (any) {
#pragma unroll 1
      for (uint32_t i = 0; i < 32 && first + i < pixels; ++i) value |= is_own(first + i) << i;
    }
    bits[word] = value;
    read_memory_again();
  }
}

}  // namespace msda
