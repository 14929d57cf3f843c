// A CUDA driver without a GPU: its memory is the CPU's, its kernels are emulated.  What a test may
// set or read stands in `stub`.
#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "emulated_cuda.h"

namespace {

struct Stub {
  int32_t capturing, unfinished, relaxed;  // set: whether a stream records, events are not over
  int32_t deferred;                        // set: streams only start when stub_finish() is called
  int32_t shared_bytes;                    // set: of shared memory for a block, 0 for Hopper's
  int32_t failing;                         // set: copies (1) or launches (2) fail
  int32_t allocations, pinned, copies, launches, records, waits, modules, contexts;
  uint64_t stream;  // of the last copy, launch or record
} stub;

std::vector<std::function<int()>> queue;  // of all streams

int enqueue(std::function<int()> work) {
  if (!stub.deferred) return work();
  queue.push_back(std::move(work));
  return 0;
}

struct Function {
  void (*run)(const void*, emulated::Launch*);
  size_t arguments;  // bytes
  bool barriers;
  int most_shared = 48 * 1024;  // of dynamic memory, unless more was asked for
};

int32_t shared_bytes() { return stub.shared_bytes ? stub.shared_bytes : 232448; }

int allocated(void** to, size_t size) {
  if (stub.capturing && !stub.relaxed) return 900;  // would end the capture
  ++stub.allocations;
  *to = std::aligned_alloc(256, (size + 255) / 256 * 256);
  std::memset(*to, 0xCD, (size + 255) / 256 * 256);
  return *to ? 0 : 2;
}

}  // namespace

extern "C" {

Stub* stub_state() { return &stub; }

// The device catches up; the first error of what it does.
int stub_finish() {
  int status = 0;
  for (const auto& work : queue)
    if (!status) status = work();
  queue.clear();
  return status;
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
int cuCtxPushCurrent_v2(void* context) { return context == &stub ? ++stub.contexts, 0 : 201; }
int cuCtxPopCurrent_v2(void** context) {
  *context = &stub;
  return stub.contexts-- > 0 ? 0 : 201;
}
int cuCtxSynchronize() { return 0; }
int cuModuleLoadData(void** module, const void* code) {
  if (std::memcmp(code,
                  "\x7f"
                  "ELF",
                  4) != 0)
    return 200;
  ++stub.modules;
  *module = &stub;
  return stub.contexts ? 0 : 201;
}
int cuModuleGetFunction(void** function, void*, const char* name) {
  Dl_info self;
  dladdr(reinterpret_cast<void*>(&stub_state), &self);
  void* library = dlopen(self.dli_fname, RTLD_NOW);  // linked with the emulated kernels
  auto run = reinterpret_cast<void (*)(const void*, emulated::Launch*)>(
      dlsym(library, (std::string("run_") + name).c_str()));
  auto size = static_cast<const size_t*>(dlsym(library, (std::string("size_") + name).c_str()));
  const bool barriers = std::strstr(name, "field") || std::strstr(name, "saliency");
  *function = new Function{run, size ? *size : 0, barriers};
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
  const Function& f = *static_cast<Function*>(function);
  if (static_cast<int64_t>(shared) > f.most_shared) return 1;
  if (z != 1 || !block || block > 1024 || !x || !y || y > 65535 || !stub.contexts) return 1;
  if (stub.failing == 2) return 719;
  emulated::Launch launch = {};
  launch.grid[0] = launch.count[0] = x, launch.grid[1] = launch.count[1] = y;
  launch.block = block, launch.order = 2, launch.barriers = f.barriers;
  ++stub.launches, stub.stream = reinterpret_cast<uint64_t>(stream);
  const auto* first = static_cast<const char*>(arguments[0]);
  const std::vector<char> taken(first, first + f.arguments);  // at once, as the driver does
  return enqueue([f, launch, taken]() mutable {
    f.run(taken.data(), &launch);
    return launch.fault ? 700 : 0;
  });
}
int cuMemAlloc_v2(void** memory, size_t size) { return allocated(memory, size); }
int cuMemHostAlloc(void** memory, size_t size, unsigned) {
  ++stub.pinned;
  return allocated(memory, size);
}
int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t size, void* stream) {
  if (!stub.contexts) return 201;
  if (stub.failing == 1) return 719;
  ++stub.copies, stub.stream = reinterpret_cast<uint64_t>(stream);
  return enqueue([to, from, size] {
    std::memcpy(to, from, size);
    return 0;
  });
}
int cuEventCreate(void** event, unsigned) {
  *event = std::malloc(1);
  return 0;
}
int cuEventRecord(void*, void* stream) {
  ++stub.records, stub.stream = reinterpret_cast<uint64_t>(stream);
  return stub.capturing ? 900 : 0;
}
int cuEventQuery(void*) { return stub.capturing ? 900 : stub.unfinished ? 600 : 0; }
int cuEventSynchronize(void*) {
  ++stub.waits;
  return 0;
}
int cuEventDestroy_v2(void* event) {
  std::free(event);
  return 0;
}
int cuStreamWaitEvent(void* stream, void*, unsigned flags) {
  stub.stream = reinterpret_cast<uint64_t>(stream);
  return flags;
}
int cuStreamIsCapturing(void*, int* status) {
  *status = stub.capturing;
  return 0;
}
int cuThreadExchangeStreamCaptureMode(int* mode) {
  std::swap(*mode, stub.relaxed);
  return 0;
}
int cuPointerGetAttribute(void* value, int attribute, void*) {
  *static_cast<int*>(value) = 0;
  return attribute == 9 ? 0 : 1;
}
}  // extern "C"
