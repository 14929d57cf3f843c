// A CUDA driver without a GPU: its memory is the CPU's, its kernels are emulated.  What a test may
// set or read stands in `stub`.
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "emulated_cuda.h"

namespace {

struct Stub {
  int32_t capturing;     // set: whether streams record a graph, in place of working
  int32_t elsewhere;     // set: whether another thread captures, and forbids what would disturb it
  int32_t unfinished;    // set: no event is over
  int32_t deferred;      // set: streams only start when stub_finish() is called
  int32_t shared_bytes;  // set: of shared memory for a block, 0 for Hopper's
  int32_t failing;       // set: copies (1), launches (2), synchronising (3) or memory (4) fail
  int32_t relaxed, broken;  // threads in that capture mode; how often a capture was disturbed
  int32_t allocations, pinned, copies, launches, records, waits, modules, contexts;
  int32_t tables, spare;                    // copies on the host's own stream
  int64_t table_bytes;                      // of those copies
  int64_t bytes, pinned_bytes, most_bytes;  // held now; of the device, at most at a time
  uint64_t stream;                          // of the last copy, launch or record
} stub;

void* const kOwnStream = reinterpret_cast<void*>(uint64_t{1000});  // of the host

std::recursive_mutex mutex;
thread_local int capture_mode = 0;  // of the thread: 0 global, 2 relaxed
void (*on_launch)(const char*) = nullptr;
using Run = void (*)(const void*, emulated::Launch*);
std::map<std::string, Run> replaced;  // kernels that others take the place of
void (*on_wait)(uint64_t, uint64_t) = nullptr;

struct Work {
  uint64_t stream;
  std::function<int()> run;
  std::function<bool()> is_ready;  // or null: always
};
std::vector<Work> queue, graph;

int enqueue(void* stream, std::function<int()> run, std::function<bool()> is_ready = nullptr) {
  const Work work = {reinterpret_cast<uint64_t>(stream), std::move(run), std::move(is_ready)};
  const bool is_captured = stub.capturing && stream != kOwnStream;
  if (!is_captured && !stub.deferred) return work.run();
  (is_captured ? graph : queue).push_back(work);
  return 0;
}

// Runs what may run, of one stream or of all, until something is over.  Streams that need not wait
// for others take turns, the last first.
int run_queue(const uint64_t* only = nullptr, const std::function<bool()>& is_over = nullptr) {
  int status = 0;
  uint64_t last = 0;
  while (!(is_over && is_over())) {
    std::map<uint64_t, size_t, std::greater<>> heads;  // the first work of each stream
    for (size_t k = 0; k < queue.size(); ++k) heads.try_emplace(queue[k].stream, k);
    const auto may_run = [&](const auto& head) {
      const Work& work = queue[head.second];
      return (!only || head.first == *only) && (!work.is_ready || work.is_ready());
    };
    auto next = std::find_if(heads.upper_bound(last), heads.end(), may_run);
    if (next == heads.end()) next = std::find_if(heads.begin(), heads.end(), may_run);
    if (next == heads.end()) break;
    const Work work = std::move(queue[next->second]);
    last = next->first;
    queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(next->second));
    if (const int failed = work.run(); !status) status = failed;
  }
  return status;
}

struct Event {
  struct State {
    int64_t recorded = 0, done = 0;
    uint64_t stream = 0;
  };
  std::shared_ptr<State> state = std::make_shared<State>();
};

struct Function {
  std::string name;
  Run run;
  size_t arguments;  // bytes
  bool barriers;
  int most_shared = 48 * 1024;  // of dynamic memory, unless more was asked for
};

int32_t shared_bytes() { return stub.shared_bytes ? stub.shared_bytes : 232448; }

// Whether the thread may not do this now, because a graph is captured.
bool is_forbidden() {
  const bool forbidden = (stub.capturing || stub.elsewhere) && capture_mode != 2;
  stub.broken += forbidden;
  return forbidden;
}

constexpr size_t kPage = 4096;
struct Block {
  void* base;
  size_t pages, bytes;
  bool is_pinned;
};
std::map<void*, Block> memory;

// Memory that ends where none is, but for what is needed to start where a GPU's may.
int allocated(void** to, size_t bytes, bool is_pinned) {
  if (is_forbidden()) return 900;
  if (stub.failing == 4 || !bytes) return 2;
  const size_t pages = (bytes + kPage - 1) / kPage * kPage + kPage;
  void* base = mmap(nullptr, pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  mprotect(base, pages - kPage, PROT_READ | PROT_WRITE);
  *to = static_cast<char*>(base) + pages - kPage - (bytes + 15) / 16 * 16;
  std::memset(*to, 0xCD, std::min(bytes, size_t{1} << 20));
  memory[*to] = {base, pages, bytes, is_pinned};
  ++(is_pinned ? stub.pinned : stub.allocations);
  (is_pinned ? stub.pinned_bytes : stub.bytes) += static_cast<int64_t>(bytes);
  stub.most_bytes = std::max(stub.most_bytes, stub.bytes);
  return 0;
}

int freed(void* address, bool is_pinned) {
  if (is_forbidden()) return 900;
  const auto found = memory.find(address);
  if (found == memory.end() || found->second.is_pinned != is_pinned) return 1;
  munmap(found->second.base, found->second.pages);
  (is_pinned ? stub.pinned_bytes : stub.bytes) -= static_cast<int64_t>(found->second.bytes);
  memory.erase(found);
  return 0;
}

using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace

extern "C" {

Stub* stub_state() { return &stub; }
void stub_listen(void (*launch)(const char*), void (*wait)(uint64_t, uint64_t)) {
  on_launch = launch, on_wait = wait;
}
// What runs in place of a kernel from now on.
void stub_replace(const char* name, Run run) { replaced[name] = run; }
// As if nothing had ever been asked of it.
void stub_reset() {
  replaced.clear();
  for (const auto& [address, block] : memory) munmap(block.base, block.pages);
  memory.clear(), queue.clear(), graph.clear();
  stub = {};
  on_launch = nullptr, on_wait = nullptr;
}
// The device catches up; the first error of what it does.
int stub_finish() {
  const int status = run_queue();
  return status ? status : queue.empty() ? 0 : 999;
}
// What waits to be run never is.
void stub_drop() { queue.clear(); }
// The graph that was captured is launched.
void stub_replay() {
  for (const Work& work : graph) enqueue(reinterpret_cast<void*>(work.stream), work.run);
}
// A stream is destroyed with work under way, and its handle given to a new one.
void stub_reuse_handle(uint64_t stream) {
  for (Work& work : queue)
    if (work.stream == stream) work.stream = stream - 1;
}

int cuInit(unsigned) { return 0; }
int cuGetErrorString(int status, const char** text) {
  *text = status == 900 ? "operation not permitted when stream is capturing" : "stub error";
  return 0;
}
int cuDeviceGet(int* device, int index) {
  *device = index;
  return index == 0 ? 0 : 101;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == 16 ? 3 : attribute == 97 ? shared_bytes() : attribute == 75 ? 9 : 0;
  return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &stub;
  return 0;
}
int cuCtxPushCurrent_v2(void* context) {
  const Lock lock(mutex);
  return context == &stub ? ++stub.contexts, 0 : 201;
}
int cuCtxPopCurrent_v2(void** context) {
  const Lock lock(mutex);
  *context = &stub;
  return stub.contexts-- > 0 ? 0 : 201;
}
int cuModuleLoadData(void** module, const void* code) {
  if (std::memcmp(code,
                  "\x7f"
                  "ELF",
                  4) != 0)
    return 200;
  if (is_forbidden()) return 900;
  ++stub.modules;
  *module = &stub;
  return stub.contexts ? 0 : 201;
}
int cuModuleGetFunction(void** function, void*, const char* name) {
  Dl_info self;
  dladdr(reinterpret_cast<void*>(&stub_state), &self);
  void* library = dlopen(self.dli_fname, RTLD_NOW);  // linked with the emulated kernels
  auto run = reinterpret_cast<Run>(dlsym(library, (std::string("run_") + name).c_str()));
  auto size = static_cast<const size_t*>(dlsym(library, (std::string("size_") + name).c_str()));
  const bool barriers =
      std::strstr(name, "field") || std::strstr(name, "saliency") || std::strstr(name, "puzzle");
  *function = new Function{name, run, size ? *size : 0, barriers};
  return run ? 0 : 500;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
  if (attribute != 8 || value > shared_bytes()) return 1;
  static_cast<Function*>(function)->most_shared = value;
  return 0;
}
int cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void*, void*, size_t, int limit) {
  *grid = 6, *block = limit && limit < 128 ? limit : 128;
  return 0;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, size_t) {
  *blocks = 2;
  return 0;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned block, unsigned,
                   unsigned, unsigned shared, void* stream, void** arguments, void**) {
  const Lock lock(mutex);
  const Function& f = *static_cast<Function*>(function);
  if (static_cast<int64_t>(shared) > f.most_shared) return 1;
  if (z != 1 || !block || block > 1024 || !x || !y || y > 65535 || !stub.contexts) return 1;
  if (stub.failing == 2) return 719;
  emulated::Launch launch = {};
  launch.grid[0] = launch.count[0] = x, launch.grid[1] = launch.count[1] = y;
  launch.block = block, launch.order = 2, launch.barriers = f.barriers;
  ++stub.launches, stub.stream = reinterpret_cast<uint64_t>(stream);
  if (on_launch) on_launch(f.name.c_str());
  const auto* first = static_cast<const char*>(arguments[0]);
  const std::vector<char> taken(first, first + f.arguments);  // at once, as the driver does
  const auto other = replaced.find(f.name);
  const Run run = other == replaced.end() ? f.run : other->second;
  return enqueue(stream, [run, launch, taken]() mutable {
    run(taken.data(), &launch);
    return launch.fault ? 700 : 0;
  });
}
int cuMemAlloc_v2(void** address, size_t size) {
  const Lock lock(mutex);
  return allocated(address, size, false);
}
int cuMemHostAlloc(void** address, size_t size, unsigned) {
  const Lock lock(mutex);
  return allocated(address, size, true);
}
int cuMemFree_v2(void* address) {
  const Lock lock(mutex);
  return freed(address, false);
}
int cuMemFreeHost(void* address) {
  const Lock lock(mutex);
  return freed(address, true);
}
int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t size, void* stream) {
  const Lock lock(mutex);
  if (!stub.contexts) return 201;
  if (!stream && (stub.capturing || stub.elsewhere)) return ++stub.broken, 906;
  if (stub.failing == 1) return 719;
  if (stream == kOwnStream)
    ++stub.tables, stub.table_bytes += static_cast<int64_t>(size);
  else
    ++stub.copies, stub.stream = reinterpret_cast<uint64_t>(stream);
  return enqueue(stream, [to, from, size] {
    std::memcpy(to, from, size);
    return 0;
  });
}
int cuStreamCreate(void** stream, unsigned flags) {
  *stream = kOwnStream;
  return flags == 1 ? 0 : 1;  // one that waits for the default stream disturbs a capture
}
int cuStreamSynchronize(void* stream) {
  const Lock lock(mutex);
  if (is_forbidden()) return 900;
  const auto only = reinterpret_cast<uint64_t>(stream);
  return run_queue(&only);
}
int cuEventCreate(void** event, unsigned) {
  *event = new Event;
  return 0;
}
int cuEventRecord(void* event, void* stream) {
  const Lock lock(mutex);
  ++stub.records, stub.stream = reinterpret_cast<uint64_t>(stream);
  if (stub.capturing) return 900;
  auto state = static_cast<Event*>(event)->state;
  state->stream = stub.stream;
  return enqueue(stream, [state, ticket = ++state->recorded] {
    state->done = ticket;
    return 0;
  });
}
int cuEventQuery(void* event) {
  const Lock lock(mutex);
  if (is_forbidden()) return 900;
  const auto& state = *static_cast<Event*>(event)->state;
  return stub.unfinished || state.done < state.recorded ? 600 : 0;
}
int cuEventSynchronize(void* event) {
  const Lock lock(mutex);
  if (is_forbidden()) return 900;
  ++stub.waits;
  const auto& state = *static_cast<Event*>(event)->state;
  if (stub.failing == 3) return 719;
  return run_queue(nullptr, [&] { return state.done >= state.recorded; });
}
int cuEventDestroy_v2(void* event) {
  delete static_cast<Event*>(event);
  return 0;
}
int cuStreamWaitEvent(void* stream, void* event, unsigned flags) {
  const Lock lock(mutex);
  stub.stream = reinterpret_cast<uint64_t>(stream);
  auto state = static_cast<Event*>(event)->state;
  if (on_wait && state->stream != stub.stream) on_wait(stub.stream, state->stream);
  const auto nothing = [] { return 0; };
  const auto is_over = [state, ticket = state->recorded] { return state->done >= ticket; };
  return flags ? 1 : enqueue(stream, nothing, is_over);
}
int cuStreamIsCapturing(void*, int* status) {
  *status = stub.capturing;
  return 0;
}
int cuThreadExchangeStreamCaptureMode(int* mode) {
  const Lock lock(mutex);
  stub.relaxed += (*mode == 2) - (capture_mode == 2);
  std::swap(*mode, capture_mode);
  return 0;
}
int cuPointerGetAttribute(void* value, int attribute, void*) {
  *static_cast<int*>(value) = 0;
  return attribute == 9 ? 0 : 1;
}
}  // extern "C"
