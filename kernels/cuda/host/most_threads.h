// The size of a block of GPU threads, made smaller to measure what it costs: bench/card/ does.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace msda::gpu {

// Returns the most threads that a block may have: `limit` (0: any number), or what the environment
// variable DALI_MSDA_MOST_THREADS says if that is less.
inline int32_t most_threads(int32_t limit) {
  static const int32_t measured = [] {
    const char* text = std::getenv("DALI_MSDA_MOST_THREADS");
    return text ? std::max(0, std::atoi(text)) : 0;
  }();
  if (!measured) return limit;
  return limit ? std::min(limit, measured) : measured;
}

}  // namespace msda::gpu
