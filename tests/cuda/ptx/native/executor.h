// What translated PTX runs on: checked memory, and a record of what was run (library.py).
//
// An access must be aligned to its width and lie in the kind of memory that its instruction names.
// Two threads of a block race where no barrier stands between an access of one and a plain write
// of the other to the same byte; an atomic access races with plain ones only. In a kernel without
// barriers only two writes race: a thread may load bytes beside its own that it does not use. What
// is loaded as read-only (ld.global.nc) must not be written by the same launch.
#pragma once
#include <memory>
#include <unordered_map>

#include "arithmetic.h"
#include "emulated_cuda.h"

namespace ptx {

enum Space { kGeneric, kGlobal, kShared, kParam };
enum How { kRead, kReadOnly, kWrite, kAtomic };

constexpr uint64_t kSharedBytes = 227 * 1024;  // of a block, on the largest card
alignas(256) inline char shared_memory[kSharedBytes];

// Who last touched a byte between two barriers. `when` is a number of emulated::round.
struct Touched {
  uint32_t when;
  int32_t who;  // a thread, or kSeveral
};
constexpr int32_t kSeveral = -1;
struct Byte {
  Touched read, written, changed;  // by atomic instructions
  uint32_t read_only, stored;      // the last launches that loaded it so, and that wrote to it
};
constexpr uint64_t kPage = 1 << 10;  // bytes

inline std::unordered_map<uint64_t, std::unique_ptr<Byte[]>> pages;

// A kernel is compiled without optimisation (library.py), but this is called for each byte.
#pragma GCC push_options
#pragma GCC optimize("O2")
inline Byte* page_at(uint64_t number) {
  static uint64_t last = 0;
  static Byte* found = nullptr;
  if (found && number == last) return found;
  auto& page = pages[number];
  if (!page) page.reset(new Byte[kPage]());
  last = number;
  return found = page.get();
}

inline bool by_another(const Touched& t, int32_t me) {
  return t.when == emulated::round && t.who != me;
}

inline void touch(Touched* t, int32_t me) {
  t->who = by_another(*t, me) ? kSeveral : me;
  t->when = emulated::round;
}

inline uint32_t launches = 0;

inline void check_byte(uint64_t address, How how, int line) {
  Byte& b = page_at(address / kPage)[address % kPage];
  const int32_t me = static_cast<int32_t>(emulated::thread_index.x);
  const bool reads = how == kRead || how == kReadOnly;
  const bool reads_race = emulated::running != nullptr;  // in a kernel with barriers
  if ((by_another(b.written, me) && (reads_race || !reads)) ||
      (by_another(b.changed, me) && how != kAtomic) ||
      (by_another(b.read, me) && reads_race && !reads))
    emulated::stop("line %d: a race at %#lx", line, address);
  touch(reads ? &b.read : how == kAtomic ? &b.changed : &b.written, me);
  if (how == kReadOnly) b.read_only = launches;
  if (!reads) b.stored = launches;
  if (b.read_only == launches && b.stored == launches)
    emulated::stop("line %d: %#lx is loaded as read-only and written", line, address);
}

// Returns the address of an access that is as it must be.
[[gnu::noinline]] inline uint64_t checked(uint64_t address, uint64_t size, Space space, How how,
                                          int line) {
  const auto shared = reinterpret_cast<uint64_t>(shared_memory);
  if (address % size)
    emulated::stop("line %d: %lu bytes at %#lx, not aligned", line, size, address);
  const bool in_shared = address + size > shared && address < shared + kSharedBytes;
  if (space == kShared ? address < shared || address + size > shared + kSharedBytes
                       : space != kGeneric && in_shared)
    emulated::stop("line %d: %#lx is in another kind of memory", line, address);
  *reinterpret_cast<const volatile char*>(address);  // also where nobody uses what is loaded
  if (space != kParam)
    for (uint64_t byte = address; byte < address + size; ++byte) check_byte(byte, how, line);
  return address;
}
#pragma GCC pop_options

template <typename T>
inline T load(uint64_t address, int place) {
  T v;
  std::memcpy(&v, reinterpret_cast<const T*>(address) + place, sizeof v);
  return v;
}
template <typename T>
inline void store(uint64_t address, int place, T v) {
  std::memcpy(reinterpret_cast<T*>(address) + place, &v, sizeof v);
}

inline int left_out = 0;  // the line of a barrier at which nobody waits

inline void barrier(int line) {
  if (line != left_out) emulated::barrier(line);
}

// A barrier behind which all threads know whether any says so.
inline bool barrier_or(int line, bool says) {
  return line == left_out ? says : emulated::barrier_or(line, says) != 0;
}

// ------------------------------------------------------------------------------------- counting

inline bool counting = false;
inline std::vector<std::vector<uint32_t>> taken;  // by each thread: runs of instructions, in order
// Of each run of instructions: how many threads took it, and how many warps, one or more of whose
// threads took it together.
inline std::vector<uint64_t> by_threads, by_warps;

[[gnu::noinline]] inline void record(uint32_t run) {
  taken[emulated::thread_index.x].push_back(run);
}
inline void enter(uint32_t run) {
  if (__builtin_expect(counting, 0)) record(run);
}

// Puts together what the threads of a warp took, as a GPU does that always goes on with those
// threads that are furthest behind in the text.
inline void count_warp(uint32_t first, uint32_t end) {
  std::vector<size_t> at(end - first, 0);
  for (;;) {
    uint32_t run = UINT32_MAX;
    for (uint32_t t = first; t < end; ++t)
      if (at[t - first] < taken[t].size()) run = std::min(run, taken[t][at[t - first]]);
    if (run == UINT32_MAX) return;
    ++by_warps[run];
    for (uint32_t t = first; t < end; ++t)
      if (at[t - first] < taken[t].size() && taken[t][at[t - first]] == run)
        ++at[t - first], ++by_threads[run];
  }
}

inline void count_block() {
  if (!counting) return;
  for (uint32_t t = 0; t < emulated::block_size.x; t += 32)
    count_warp(t, std::min(t + 32, emulated::block_size.x));
  for (auto& steps : taken) steps.clear();
}

inline void run(const std::function<void()>& kernel, emulated::Launch* launch, uint32_t runs) {
  if (pages.size() > 4096) pages.clear();
  ++launches;
  std::memset(shared_memory, 0xCD, kSharedBytes);
  by_threads.resize(runs), by_warps.resize(runs), taken.resize(1024);
  emulated::block_done = count_block;
  emulated::launch(launch, kernel);
}

}  // namespace ptx

// For a kernel of `runs` runs of instructions:
//   run_<kernel>(arguments, launch), as the emulation has it;
//   count_<kernel>(threads, warps, on): what was counted since the last call, and whether what
//     follows is;
//   leave_out_<kernel>(line): the barrier that is left out from now on, or 0.
#define PTX_ENTRY(kernel, runs)                                                          \
  extern "C" void run_##kernel(const char* arguments, emulated::Launch* launch) {        \
    ptx::run([&] { ptx::kernel(reinterpret_cast<uint64_t>(arguments)); }, launch, runs); \
  }                                                                                      \
  extern "C" void count_##kernel(uint64_t* threads, uint64_t* warps, int on) {           \
    ptx::by_threads.resize(runs), ptx::by_warps.resize(runs);                            \
    std::copy(ptx::by_threads.begin(), ptx::by_threads.end(), threads);                  \
    std::copy(ptx::by_warps.begin(), ptx::by_warps.end(), warps);                        \
    ptx::by_threads.assign(runs, 0), ptx::by_warps.assign(runs, 0);                      \
    ptx::counting = on != 0;                                                             \
  }                                                                                      \
  extern "C" void leave_out_##kernel(int line) { ptx::left_out = line; }
