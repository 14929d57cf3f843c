// Memory that a thread keeps between calls.
#pragma once
#include <cstdint>
#include <vector>

namespace msda {

// Room for `count` values that a thread keeps between calls; it only grows.
template <typename Value>
Value* kept(std::vector<Value>& memory, int64_t count) {
  if (static_cast<int64_t>(memory.size()) < count) memory.resize(count);
  return memory.data();
}

}  // namespace msda
