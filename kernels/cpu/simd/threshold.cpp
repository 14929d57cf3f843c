// The threshold of a field at a rank, and the bits above it, for one instruction set (kernels.h).
//
// Nothing is sorted.  Keys that order values as integers are bisected, and each step counts how
// many values reach the middle: a compare and a popcount a vector.  The whole field is read only
// once for that: a sample says between which values the threshold must lie, and only those few are
// kept for the bisection.  Where the sample is wrong, the whole field is bisected.
#include "cpu/simd/kernels.h"
#include "cpu/simd/vector.h"

namespace msda {
namespace {

// How many of n values are at least `bound` or, with `pass`, above it.
int64_t count_from(const float* values, int64_t n, float bound, bool pass) {
  const Floats bounds = splat(bound);
  Counter counter;
  int64_t i = 0;
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

// Copies the values in [low, high]; returns how many, and through `above` how many are larger.
int64_t keep_between(float* kept, int64_t* above, const float* values, int64_t pixels, float low,
                     float high) {
  const Floats lows = splat(low), highs = splat(high);
  Counter over;
  int64_t count = 0, i = 0;
  for (; i + kLanes <= pixels; i += kLanes) {
    const Floats v = load(values + i);
    over.add_greater(v, highs);
    count += keep(kept + count, v, at_least(v, lows) & ~greater(v, highs));
  }
  int64_t larger = over.total();
  for (; i < pixels; ++i) {
    larger += values[i] > high;
    if (values[i] >= low && values[i] <= high) kept[count++] = values[i];
  }
  *above = larger;
  return count;
}

struct Ranked {
  float value;
  int64_t equal, wanted;  // values that are equal to it, and how many of those count
};

// The `rank`-th greatest of n values, 1 to n, all in [low, high].  The array is overwritten.
Ranked greatest(float* values, int64_t n, int64_t rank, float low, float high) {
  constexpr int32_t kSteps = 8;  // then the values that are still possible are copied
  // At least `rank` values come up to `reached`, and fewer to `missed`.
  int64_t reached = order_of(low), missed = order_of(high) + 1;
  for (int32_t step = 1; missed - reached > 1; ++step) {
    const int64_t middle = reached + (missed - reached) / 2;
    (count_from(values, n, value_of(middle), false) >= rank ? reached : missed) = middle;
    if (step % kSteps > 0 || n <= kLanes) continue;
    int64_t larger;
    n = keep_between(values, &larger, values, n, value_of(reached), value_of(missed - 1));
    rank -= larger;
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

constexpr float kGreatest = 3.40282347e38f;  // no value of a field comes near

}  // namespace
}  // namespace msda

namespace msda::MSDA_ISA {

Threshold field_threshold(const float* values, int64_t pixels, int64_t rank, float* scratch) {
  float *sample = scratch, *kept = scratch + kSample, low = -kGreatest, high = kGreatest;
  const int64_t step = (pixels / kSample) | 1;  // odd: a power of two would sample few columns
  if (pixels >= 8 * kSample) {
    const int64_t n = pixels / step < kSample ? pixels / step : kSample, slack = kSample / 32;
    for (int64_t i = 0; i < n; ++i) sample[i] = values[i * step];
    const int64_t at = rank * n / pixels;
    for (int64_t i = 0; i < n; ++i) kept[i] = sample[i];
    if (at > slack) high = greatest(kept, n, at - slack, low, high).value;
    if (at + slack <= n) low = greatest(sample, n, at + slack, low, high).value;
  }
  int64_t larger, n = keep_between(kept, &larger, values, pixels, low, high);
  if (rank <= larger || rank > larger + n) {
    low = -kGreatest, high = kGreatest;
    n = keep_between(kept, &larger, values, pixels, low, high);
  }
  const Ranked found = greatest(kept, n, rank - larger, low, high);
  const bool all = found.wanted == found.equal;
  return {found.value, all ? pixels - 1 : find(values, found.value, found.wanted)};
}

void mask_bits(uint32_t* bits, const float* values, int64_t pixels, Threshold t) {
  const Floats bound = splat(t.least);
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
      above |= uint32_t{values[first + i] > t.least} << i;
      same |= uint32_t{values[first + i] == t.least} << i;
    }
    const int64_t ties = t.last - first + 1;  // of those equal to the bound, the first ones
    const uint32_t counted = ties <= 0 ? 0 : ties >= 32 ? ~0u : (1u << ties) - 1;
    bits[word] = above | (same & counted);
  }
}

}  // namespace msda::MSDA_ISA
