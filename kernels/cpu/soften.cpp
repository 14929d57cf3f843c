#include "cpu/soften.h"

#include <vector>

#include "msda/field/soft.h"

namespace msda {
namespace {

constexpr int32_t kSortBits = 11, kSortDigits = 1 << kSortBits;

// Sorts orders (key << 32 | pixel, the pixels ascending) by their keys; `spare` is as long.  Digit
// after digit from the lowest, and only as far as the keys differ.
uint64_t* sorted(uint64_t* orders, uint64_t* spare, int64_t n) {
  uint64_t least = ~uint64_t{0}, greatest = 0;
  for (int64_t i = 0; i < n; ++i) {
    least = orders[i] < least ? orders[i] : least;
    greatest = orders[i] > greatest ? orders[i] : greatest;
  }
  const uint64_t base = least >> 32, range = (greatest >> 32) - base;
  for (int32_t shift = 0; range >> shift != 0; shift += kSortBits) {
    const auto digit = [&](uint64_t order) {
      return ((order >> 32) - base) >> shift & (kSortDigits - 1);
    };
    uint32_t at[kSortDigits] = {};
    for (int64_t i = 0; i < n; ++i) ++at[digit(orders[i])];
    uint32_t before = 0;
    for (uint32_t& count : at) {
      const uint32_t counted = count;
      count = before;
      before += counted;
    }
    for (int64_t i = 0; i < n; ++i) spare[at[digit(orders[i])]++] = orders[i];
    uint64_t* const swapped = orders;
    orders = spare;
    spare = swapped;
  }
  return orders;
}

}  // namespace

void soften(float* weights, const float* values, int64_t pixels, const uint32_t* before,
            const uint32_t* until, int64_t soft) {
  static thread_local std::vector<uint64_t> memory;
  if (static_cast<int64_t>(memory.size()) < 4 * soft) memory.resize(4 * soft);
  uint64_t *orders = memory.data(), *listed = orders;
  for (int64_t first = 0; first < pixels; first += 32) {
    const uint32_t ones = before[first / 32];
    const int64_t n = pixels - first < 32 ? pixels - first : 32;
    for (int64_t i = 0; i < n; ++i) weights[first + i] = static_cast<float>(ones >> i & 1u);
    for (uint32_t band = until[first / 32] & ~ones; band; band &= band - 1) {
      const int64_t pixel = first + __builtin_ctz(band);
      *listed++ = uint64_t{descending_key(values[pixel])} << 32 | static_cast<uint32_t>(pixel);
    }
  }
  orders = sorted(orders, orders + 2 * soft, 2 * soft);
  for (int64_t rank = 0; rank < 2 * soft; ++rank)
    weights[static_cast<uint32_t>(orders[rank])] =
        ramp(static_cast<uint32_t>(rank), static_cast<uint32_t>(soft));
}

}  // namespace msda
