// How work is divided among the threads of a block.  A GPU runs them at once, and a test one after
// the other.
#pragma once
#include "msda/portable.h"

namespace msda {

// One thread of a block.  It takes the items number thread, thread + threads, ...
struct BlockThread {
  int32_t thread, threads;
};

// What replaces a division by one number: three instructions of a GPU, where a division takes about
// twenty.  Granlund and Montgomery, "Division by invariant integers using multiplication", 1994.
struct Divisor {
  uint32_t multiplier, shift;
};

MSDA_FN Divisor divisor_of(uint32_t d) {  // 1 <= d < 2^31
  uint32_t shift = 0;
  while ((uint32_t{1} << shift) < d) ++shift;
  const uint64_t excess = (uint64_t{1} << shift) - d;
  return {static_cast<uint32_t>((excess << 32) / d + 1), shift};
}

MSDA_FN uint32_t divide(uint32_t n, const Divisor& d) {  // n < 2^31
  return (high_product(d.multiplier, n) + n) >> d.shift;
}

// Calls take(y, x) for this thread's items of a table of `rows` x `columns`, fewer than 2^31;
// neighbouring threads take neighbouring columns.
template <typename Take>
MSDA_FN void each_item(BlockThread me, uint32_t rows, uint32_t columns, const Divisor& by_columns,
                       Take take) {
  for (uint32_t i = me.thread; i < rows * columns; i += me.threads) {
    const uint32_t y = divide(i, by_columns);
    take(y, i - y * columns);
  }
}

}  // namespace msda
