// DALI's memory of a GPU in that of the CPU, for tests without a GPU: loaded before DALI, so that
// its operators find these functions first.  What is given back in the order of a stream is spoiled
// when that stream has caught up, anything else at once.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dali/core/mm/memory.h"

namespace {

struct Block {
  void* memory;
  size_t bytes;
};

std::vector<Block> given_back;
int64_t held = 0;

void spoil(Block block) {
  std::memset(block.memory, 0xEE, block.bytes);
  std::free(block.memory);
  --held;
}

}  // namespace

namespace dali::mm {

template <typename Base>
struct Heap final : Base {
  void* do_allocate(size_t bytes, size_t) override {
    const size_t size = (bytes + 255) / 256 * 256;
    void* memory = std::aligned_alloc(256, size);
    std::memset(memory, 0xCD, size);
    ++held;
    return memory;
  }
  void do_deallocate(void* memory, size_t bytes, size_t) override { spoil({memory, bytes}); }
  void* do_allocate_async(size_t bytes, size_t alignment, stream_view) override {
    return do_allocate(bytes, alignment);
  }
  void do_deallocate_async(void* memory, size_t bytes, size_t, stream_view) override {
    given_back.push_back({memory, bytes});
  }
};

template <>
DLL_PUBLIC device_async_resource* GetDefaultResource<memory_kind::device>() {
  static Heap<device_async_resource> heap;
  return &heap;
}

template <>
DLL_PUBLIC pinned_async_resource* GetDefaultResource<memory_kind::pinned>() {
  static Heap<pinned_async_resource> heap;
  return &heap;
}

}  // namespace dali::mm

// The streams have caught up; returns the number of blocks that are still held.
extern "C" DLL_PUBLIC int64_t memory_finish() {
  for (const Block& block : given_back) spoil(block);
  given_back.clear();
  return held;
}
