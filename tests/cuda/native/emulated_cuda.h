// CUDA's words for a C++ compiler, so that kernels/*.cu run on the CPU: a grid is walked block by
// block and thread by thread, in a given order; at a barrier a thread lets the next one go on.
//
// What a launch shows: the bytes of a watched memory that each thread writes, and how often each is
// written; the first address that is touched and not mapped.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ thread_local
#define __grid_constant__
#define __launch_bounds__(...)

namespace emulated {

struct Index {
  uint32_t x, y, z;
};

struct Launch {
  uint32_t grid[2], block;
  uint32_t first[2], count[2];  // the blocks that are run
  int32_t order;                // of the threads: 0 forwards, 1 backwards, 2 shuffled
  int32_t barriers;             // whether threads may wait for one another
  uint8_t *watched, *result;    // `size` bytes each, or null: what is written, put together
  uint32_t* writes;             // how often each byte was
  int64_t size;
  uint64_t fault;  // out: address that must not be touched, or 0
};

inline Index thread_index, block_index, block_size, grid_size;

inline ucontext_t scheduler;
inline ucontext_t* running = nullptr;
inline sigjmp_buf touched_unmapped;
inline volatile uint64_t fault = 0;

inline void on_fault(int, siginfo_t* info, void*) {
  fault = reinterpret_cast<uint64_t>(info->si_addr) | 1;
  siglongjmp(touched_unmapped, 1);
}

inline uint32_t in_order(uint32_t i, uint32_t n, int32_t order) {
  if (order == 1) return n - 1 - i;
  return order == 2 ? static_cast<uint32_t>(i * uint64_t{7919} % n) : i;
}

inline const std::function<void()>* body;
inline void call_body() { (*body)(); }

// All threads of a block, each up to its next barrier, again and again.
inline void run_block_with_barriers(const Launch& l, const std::function<void()>& kernel) {
  constexpr size_t kStack = 1 << 16;
  static std::vector<char> stacks;
  static std::vector<ucontext_t> threads;
  stacks.resize(kStack * l.block), threads.resize(l.block);
  std::vector<char> done(l.block, 0);
  body = &kernel;
  for (uint32_t t = 0; t < l.block; ++t) {
    getcontext(&threads[t]);
    threads[t].uc_stack = {stacks.data() + kStack * t, 0, kStack};
    threads[t].uc_link = nullptr;
    makecontext(
        &threads[t],
        +[] {
          call_body();
          ucontext_t* mine = running;
          running = nullptr;  // tells the scheduler that this thread is done
          swapcontext(mine, &scheduler);
        },
        0);
  }
  for (uint32_t left = l.block; left > 0;)
    for (uint32_t i = 0; i < l.block; ++i) {
      const uint32_t t = in_order(i, l.block, l.order);
      if (done[t]) continue;
      thread_index.x = t;
      running = &threads[t];
      swapcontext(&scheduler, &threads[t]);
      if (!running) done[t] = 1, --left;
    }
  running = nullptr;
}

inline void barrier() {
  if (!running) __builtin_trap();
  ucontext_t* mine = running;
  swapcontext(mine, &scheduler);
}

// Runs a thread on memory full of a byte and of its complement: what differs, it wrote.
inline void run_watched(const Launch& l, const std::function<void()>& kernel) {
  std::vector<char> wrote(l.size, 0);
  for (const int poison : {0xA5, 0x5A}) {
    std::memset(l.watched, poison, l.size);
    kernel();
    for (int64_t i = 0; i < l.size; ++i)
      if (l.watched[i] != poison) wrote[i] = 1, l.result[i] = l.watched[i];
  }
  for (int64_t i = 0; i < l.size; ++i) l.writes[i] += wrote[i];
}

inline void run_blocks(const Launch& l, const std::function<void()>& kernel) {
  grid_size = {l.grid[0], l.grid[1], 1}, block_size = {l.block, 1, 1};
  for (uint32_t y = l.first[1]; y < l.first[1] + l.count[1]; ++y)
    for (uint32_t x = l.first[0]; x < l.first[0] + l.count[0]; ++x) {
      block_index = {x, y, 0}, thread_index = {0, 0, 0};
      if (l.barriers) {
        run_block_with_barriers(l, kernel);
        continue;
      }
      for (uint32_t i = 0; i < l.block; ++i) {
        thread_index.x = in_order(i, l.block, l.order);
        l.watched ? run_watched(l, kernel) : kernel();
      }
    }
}

inline void launch(Launch* l, const std::function<void()>& kernel) {
  struct sigaction action = {}, before_segv, before_bus;
  action.sa_sigaction = on_fault, action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &before_segv);
  sigaction(SIGBUS, &action, &before_bus);
  fault = 0;
  if (sigsetjmp(touched_unmapped, 1) == 0) run_blocks(*l, kernel);
  running = nullptr;
  sigaction(SIGSEGV, &before_segv, nullptr);
  sigaction(SIGBUS, &before_bus, nullptr);
  l->fault = fault;
}

}  // namespace emulated

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index
#define blockDim emulated::block_size
#define gridDim emulated::grid_size
#define __syncthreads emulated::barrier

// run_<kernel>(arguments, launch) for a kernel that takes one struct, of size_<kernel> bytes.
#define EMULATED(kernel, Arguments)                                                   \
  extern "C" const size_t size_##kernel = sizeof(Arguments);                          \
  extern "C" void run_##kernel(const Arguments* arguments, emulated::Launch* where) { \
    emulated::launch(where, [&] { kernel(*arguments); });                             \
  }
