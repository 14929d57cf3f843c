// The bits of a field's greatest values, for one instruction set (kernels.h).
//
// Nothing is sorted.  A sample says between which values the threshold must lie.  One pass over the
// field writes the bits above, and lists the words that have values in between; only those values
// are copied, and they are bisected.  Keys that order values as integers are halved for that, and
// each step counts how many values reach the middle: a compare and a popcount a vector.  Where the
// sample was wrong, a wider range is tried.
#include "cpu/simd/kernels.h"
#include "cpu/simd/vector.h"

namespace msda {
namespace {

// How many of n values are at least `bound` or, with `pass`, above it.
int64_t count_from(const float* values, int64_t n, float bound, bool pass) {
  const Floats bounds = splat(bound);
  Counter counter;
  int64_t i = 0;
#pragma GCC unroll 4
  for (; i + kLanes <= n; i += kLanes) {
    const Floats v = load(values + i);
    pass ? counter.add_greater(v, bounds) : counter.add_at_least(v, bounds);
  }
  int64_t count = counter.total();
  for (; i < n; ++i) count += pass ? values[i] > bound : values[i] >= bound;
  return count;
}

// A number that rises with the value and is the same for 0 and -0; and the value of such a number.
int64_t order_of(float value) { return 0xFFFFFFFFll - descending_key(value); }
float value_of(int64_t order) { return value_of_key(static_cast<uint32_t>(0xFFFFFFFFll - order)); }

constexpr float kGreatest = 3.40282347e38f;  // no value of a field comes near

// A value that `least` to `most` of the n values reach, or one where their number jumps past that.
float value_at(const float* values, int64_t n, int64_t least, int64_t most) {
  int64_t reached = order_of(-kGreatest), missed = order_of(kGreatest) + 1;
  while (missed - reached > 1) {
    const int64_t middle = reached + (missed - reached) / 2;
    const int64_t count = count_from(values, n, value_of(middle), false);
    (count >= least ? reached : missed) = middle;
    if (count >= least && count <= most) break;
  }
  return value_of(reached);
}

struct Range {
  float low, high;
};

// Copies those of n values that lie in the range; returns how many they are.
int64_t keep_between(float* kept, const float* values, int64_t n, Range range) {
  const Floats lows = splat(range.low), highs = splat(range.high);
  int64_t count = 0, i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Floats v = load(values + i);
    count += keep(kept + count, v, at_least(v, lows) & ~greater(v, highs));
  }
  for (; i < n; ++i)
    if (values[i] >= range.low && values[i] <= range.high) kept[count++] = values[i];
  return count;
}

struct Ranked {
  float value;
  int64_t equal, wanted;  // values that are equal to it, and how many of those count
};

// The `rank`-th greatest of n values, 1 to n, all in the range.  The array is overwritten.
Ranked greatest(float* values, int64_t n, int64_t rank, Range range) {
  constexpr int32_t kSteps = 8;  // then the values that are still possible are copied
  // At least `rank` values come up to `reached`, and fewer to `missed`.
  int64_t reached = order_of(range.low), missed = order_of(range.high) + 1;
  for (int32_t step = 1; missed - reached > 1; ++step) {
    const int64_t middle = reached + (missed - reached) / 2;
    (count_from(values, n, value_of(middle), false) >= rank ? reached : missed) = middle;
    if (step % kSteps > 0 || n <= kLanes) continue;
    const Range left = {value_of(reached), value_of(missed - 1)};
    rank -= count_from(values, n, left.high, true);
    n = keep_between(values, values, n, left);
  }
  const float value = value_of(reached);
  const int64_t above = count_from(values, n, value, true);
  return {value, count_from(values, n, value, false) - above, rank - above};
}

// The pixel of the `rank`-th value equal to `value`.
int64_t find(const float* values, float value, int64_t rank) {
  int64_t i = 0;
  for (; rank > 0; ++i) rank -= values[i] == value;
  return i - 1;
}

// Bit i says whether value i, of up to 32, is at least `bound` or, with kAbove, above it.
template <bool kAbove>
inline uint32_t bits_from(const float* values, int32_t n, float bound) {
  const Floats bounds = splat(bound);
  uint32_t bits = 0;
  int32_t i = 0;
#pragma GCC unroll 8
  for (; i + kLanes <= n; i += kLanes) {
    const Floats v = load(values + i);
    bits |= (kAbove ? greater(v, bounds) : at_least(v, bounds)) << i;
  }
  for (; i < n; ++i) bits |= uint32_t{kAbove ? values[i] > bound : values[i] >= bound} << i;
  return bits;
}

// A field, by the words of its bits.
struct Words32 {
  const float* values;
  int64_t pixels;

  const float* of(int64_t word) const { return values + 32 * word; }
  int32_t length(int64_t word) const {
    return static_cast<int32_t>(pixels - 32 * word < 32 ? pixels - 32 * word : 32);
  }
};

// What one pass over the field leaves open.
struct Left {
  uint32_t* words;  // those that have values in the range
  int64_t count, above;
};

// Writes the bits of the values above the range, and lists the words that have some in it.
void split(Left* left, uint32_t* bits, const Words32& field, Range range) {
  int64_t count = 0, above = 0;
  const auto word_of = [&](int64_t word, int32_t n) __attribute__((always_inline)) {
    const uint32_t over = bits_from<true>(field.of(word), n, range.high);
    const uint32_t reached = bits_from<false>(field.of(word), n, range.low);
    bits[word] = over;
    above += __builtin_popcount(over);
    left->words[count] = static_cast<uint32_t>(word);
    count += over != reached;
  };
  const int64_t whole = field.pixels / 32;
  for (int64_t word = 0; word < whole; ++word) word_of(word, 32);
  if (field.pixels % 32) word_of(whole, field.length(whole));
  left->count = count, left->above = above;
}

// Writes the bits of the words that were left open: of the values equal to the threshold the first
// ones count, up to pixel `last`.
void decide(uint32_t* bits, const Left& left, const Words32& field, float threshold, int64_t last) {
  for (int64_t i = 0; i < left.count; ++i) {
    const int64_t word = left.words[i], ties = last - 32 * word + 1;
    const float* values = field.of(word);
    const int32_t n = field.length(word);
    const uint32_t counted = ties <= 0 ? 0 : ties >= 32 ? ~0u : (1u << ties) - 1;
    const uint32_t reached =
        n == 32 ? bits_from<false>(values, 32, threshold) : bits_from<false>(values, n, threshold);
    bits[word] =
        counted == ~0u ? reached : (reached & counted) | bits_from<true>(values, n, threshold);
  }
}

}  // namespace
}  // namespace msda

namespace msda::MSDA_ISA {

void mask_bits(uint32_t* bits, const float* values, int64_t pixels, int64_t rank, float* scratch) {
  float *sample = scratch, *kept = scratch + kSample;
  const Words32 field = {values, pixels};
  Left left = {reinterpret_cast<uint32_t*>(kept + pixels + kMostLanes), 0, 0};
  const int64_t step = (pixels / kSample) | 1;  // odd: a power of two would sample few columns
  const int64_t sampled = pixels / step < kSample ? pixels / step : kSample;
  const int64_t n = pixels < 8 * kSample ? 0 : sampled, at = rank * n / pixels;
  for (int64_t i = 0; i < n; ++i) sample[i] = values[i * step];
  for (int64_t slack = 8;; slack *= 4) {
    Range range = {-kGreatest, kGreatest};
    if (at > slack) range.high = value_at(sample, n, at - slack, at - slack * 3 / 4);
    if (at + slack <= n) range.low = value_at(sample, n, at + slack * 3 / 4, at + slack);
    split(&left, bits, field, range);
    int64_t count = 0;
    for (int64_t i = 0; i < left.count; ++i)
      count +=
          keep_between(kept + count, field.of(left.words[i]), field.length(left.words[i]), range);
    if (rank <= left.above || rank > left.above + count) continue;
    const Ranked found = greatest(kept, count, rank - left.above, range);
    const bool all = found.wanted == found.equal;
    decide(bits, left, field, found.value,
           all ? pixels - 1 : find(values, found.value, found.wanted));
    return;
  }
}

}  // namespace msda::MSDA_ISA
