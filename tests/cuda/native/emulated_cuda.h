// CUDA's words for a C++ compiler, so that kernels/*.cu run on the CPU: a grid is walked block by
// block and thread by thread, in a given order; at a barrier a thread lets the next one go on.
//
// What a launch shows: the bytes of a watched memory that each thread writes, and how often each is
// written; the first address that is touched and not mapped; a barrier that only a part of a block
// reaches.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
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
  uint64_t fault;   // out: whether the launch was stopped
  char wrong[200];  // out: why
};

inline Index thread_index, block_index, block_size, grid_size;

inline ucontext_t scheduler;
inline ucontext_t* running = nullptr;
inline sigjmp_buf stopped;
inline char wrong[200];

// Ends the launch and says why.
template <typename... Values>
[[noreturn]] inline void stop(const char* format, Values... values) {
  std::snprintf(wrong, sizeof wrong, format, values...);
  siglongjmp(stopped, 1);
}

inline void on_fault(int, siginfo_t* info, void*) {
  stop("touched %p, where no memory is", info->si_addr);
}

inline uint32_t in_order(uint32_t i, uint32_t n, int32_t order) {
  if (order == 1) return n - 1 - i;
  return order == 2 ? static_cast<uint32_t>(i * uint64_t{7919} % n) : i;
}

inline const std::function<void()>* body;
inline void call_body() { (*body)(); }

inline uint32_t round = 1;  // between two barriers, of any block of any launch
inline int site = 0;        // the barrier at which a thread stopped; 0: it is done

// All threads of a block, each up to its next barrier, again and again.
inline void run_block_with_barriers(const Launch& l, const std::function<void()>& kernel) {
  constexpr size_t kStack = 1 << 18;  // is not touched before it is used
  static std::unique_ptr<char[]> stacks;
  static std::vector<ucontext_t> threads;
  if (threads.size() < l.block) stacks.reset(new char[kStack * l.block]), threads.resize(l.block);
  body = &kernel;
  for (uint32_t t = 0; t < l.block; ++t) {
    getcontext(&threads[t]);
    threads[t].uc_stack = {stacks.get() + kStack * t, 0, kStack};
    threads[t].uc_link = nullptr;
    makecontext(
        &threads[t],
        +[] {
          call_body();
          site = 0;
          swapcontext(running, &scheduler);
        },
        0);
  }
  for (int reached = 1; reached != 0; ++round)
    for (uint32_t i = 0; i < l.block; ++i) {
      const uint32_t t = thread_index.x = in_order(i, l.block, l.order);
      running = &threads[t];
      swapcontext(&scheduler, running);
      if (i > 0 && site != reached)
        stop("a barrier, line %d, that only a part of the block reaches", site ? site : reached);
      reached = site;
    }
  running = nullptr;
}

inline void barrier(int line) {
  if (!running) stop("a barrier, line %d, in a kernel that is said to have none", line);
  site = line;
  swapcontext(running, &scheduler);
}

// The same; returns whether any thread of the block says so.
inline int barrier_or(int line, int says) {
  static struct {
    uint32_t round;
    int any;
  } votes[2];
  auto& vote = votes[round % 2];
  if (vote.round != round) vote = {round, 0};
  vote.any |= says != 0;
  barrier(line);
  return vote.any;
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

inline void (*block_done)() = nullptr;

inline void run_blocks(const Launch& l, const std::function<void()>& kernel) {
  ++round;  // the launch before may have been stopped
  grid_size = {l.grid[0], l.grid[1], 1}, block_size = {l.block, 1, 1};
  for (uint32_t y = l.first[1]; y < l.first[1] + l.count[1]; ++y)
    for (uint32_t x = l.first[0]; x < l.first[0] + l.count[0]; ++x) {
      block_index = {x, y, 0}, thread_index = {0, 0, 0};
      if (l.barriers) {
        run_block_with_barriers(l, kernel);
      } else {
        for (uint32_t i = 0; i < l.block; ++i) {
          thread_index.x = in_order(i, l.block, l.order);
          l.watched ? run_watched(l, kernel) : kernel();
        }
      }
      ++round;
      if (block_done) block_done();
    }
}

inline void launch(Launch* l, const std::function<void()>& kernel) {
  struct sigaction action = {}, before_segv, before_bus;
  action.sa_sigaction = on_fault, action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &before_segv);
  sigaction(SIGBUS, &action, &before_bus);
  l->fault = sigsetjmp(stopped, 1);
  if (!l->fault) run_blocks(*l, kernel);
  running = nullptr;
  sigaction(SIGSEGV, &before_segv, nullptr);
  sigaction(SIGBUS, &before_bus, nullptr);
  std::memcpy(l->wrong, wrong, sizeof wrong);
}

}  // namespace emulated

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index
#define blockDim emulated::block_size
#define gridDim emulated::grid_size
#define __syncthreads() emulated::barrier(__LINE__)
#define __syncthreads_or(says) emulated::barrier_or(__LINE__, says)

// run_<kernel>(arguments, launch) for a kernel that takes one struct, of size_<kernel> bytes.
#define EMULATED(kernel, Arguments)                                                   \
  extern "C" const size_t size_##kernel = sizeof(Arguments);                          \
  extern "C" void run_##kernel(const Arguments* arguments, emulated::Launch* where) { \
    emulated::launch(where, [&] { kernel(*arguments); });                             \
  }
