// A GPU by way of the CUDA driver, a library that is looked up at run time: machine code, launches,
// memory.  Errors of the driver are thrown as std::runtime_error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include "cuda/host/memory.h"

namespace msda::gpu {

void check(int status);  // throws what the driver says of it

// A function of the driver.
template <typename... Arguments>
struct DriverFunction {
  int (*raw)(Arguments...) = nullptr;  // returns a status
  void operator()(Arguments... arguments) const { check(raw(arguments...)); }
};

// The functions of the driver that are used.
#define MSDA_DRIVER_FUNCTIONS(F)                                                                  \
  F(init, "cuInit", unsigned)                                                                     \
  F(error_string, "cuGetErrorString", int, const char**)                                          \
  F(device_get, "cuDeviceGet", int*, int)                                                         \
  F(attribute, "cuDeviceGetAttribute", int*, int, int)                                            \
  F(pointer_attribute, "cuPointerGetAttribute", void*, int, const void*)                          \
  F(retain_context, "cuDevicePrimaryCtxRetain", Handle*, int)                                     \
  F(push_context, "cuCtxPushCurrent_v2", Handle)                                                  \
  F(pop_context, "cuCtxPopCurrent_v2", Handle*)                                                   \
  F(exchange_capture_mode, "cuThreadExchangeStreamCaptureMode", int*)                             \
  F(load_module, "cuModuleLoadData", Handle*, const void*)                                        \
  F(get_function, "cuModuleGetFunction", Handle*, Handle, const char*)                            \
  F(set_function_attribute, "cuFuncSetAttribute", Handle, int, int)                               \
  F(best_block, "cuOccupancyMaxPotentialBlockSize", int*, int*, Handle, Handle, size_t, int)      \
  F(resident_blocks, "cuOccupancyMaxActiveBlocksPerMultiprocessor", int*, Handle, int, size_t)    \
  F(launch, "cuLaunchKernel", Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
    unsigned, Handle, void**, void**)                                                             \
  F(allocate, "cuMemAlloc_v2", void**, size_t)                                                    \
  F(allocate_pinned, "cuMemHostAlloc", void**, size_t, unsigned)                                  \
  F(free, "cuMemFree_v2", void*)                                                                  \
  F(free_pinned, "cuMemFreeHost", void*)                                                          \
  F(copy, "cuMemcpyHtoDAsync_v2", void*, const void*, size_t, Handle)                             \
  F(create_stream, "cuStreamCreate", Handle*, unsigned)                                           \
  F(finish_stream, "cuStreamSynchronize", Handle)                                                 \
  F(wait_event, "cuStreamWaitEvent", Handle, Handle, unsigned)                                    \
  F(is_capturing, "cuStreamIsCapturing", Handle, int*)                                            \
  F(create_event, "cuEventCreate", Handle*, unsigned)                                             \
  F(record_event, "cuEventRecord", Handle, Handle)                                                \
  F(query_event, "cuEventQuery", Handle)                                                          \
  F(finish_event, "cuEventSynchronize", Handle)                                                   \
  F(destroy_event, "cuEventDestroy_v2", Handle)

struct Driver {
  // Throws if there is no such library, or if it finds no GPU.
  explicit Driver(const char* library);

#define MSDA_MEMBER(member, name, ...) DriverFunction<__VA_ARGS__> member;
  MSDA_DRIVER_FUNCTIONS(MSDA_MEMBER)
#undef MSDA_MEMBER
};
const Driver& driver();  // opened once

// A kernel of a device, whose context must be current.
class Kernel {
 public:
  Kernel(int32_t multiprocessors, Handle function)
      : multiprocessors_(multiprocessors), function_(function) {}

  // Threads of a block that keep the device busiest, at most `limit` (0: any number), with
  // `shared` bytes of dynamic shared memory; and how many such blocks the device holds.
  struct Block {
    int32_t threads, resident;
  };
  Block occupancy(int32_t limit = 0, int64_t shared = 0);

  // `arguments` is the kernel's one struct.
  void launch(const uint32_t (&grid)[2], int32_t threads, int64_t shared, Handle stream,
              const void* arguments) const;

 private:
  const int32_t multiprocessors_;
  const Handle function_;
  std::mutex mutex_;
  int64_t most_shared_ = 0;
  std::map<std::pair<int32_t, int64_t>, Block> blocks_;
};

// A device in its primary context, which is DALI's, CuPy's and torch's too.
class Device {
 public:
  explicit Device(int index);

  // Loads the kernels of a source, once.  Their code may have to be compiled.
  void load(const std::string& source);
  // An entry point, msda_<source>_..., whose source is loaded if need be.
  Kernel& kernel(const std::string& name);
  // Makes a stream wait for what was launched on another one; the caller goes on.
  void wait(Handle stream, Handle other) const;

  // Values that are made and copied to the device once.  They are kept for good, because graphs may
  // hold their address.  Once all of them take kMostTables bytes, this returns null, and further
  // values must be sent with their batch.  A key is a depth, height, width and decay; tables of an
  // axis have its length as their width, and no height.
  using Key = std::tuple<int32_t, int32_t, int32_t, float>;
  const float* table(const Key& key, size_t count, const std::function<void(float*)>& make);
  static constexpr size_t kMostTables = size_t{64} << 20;

  int32_t shared_bytes;  // the most that a block may ask for
  int32_t multiprocessors;
  Handle context = nullptr;
  Pool pinned{true}, memory{false};

 private:
  int Attribute(int number) const;

  int handle_ = 0;
  std::string arch_;
  std::mutex mutex_, tables_mutex_;
  std::map<std::string, Handle> modules_;
  std::map<std::string, Kernel> kernels_;
  Handle tables_stream_ = nullptr;
  size_t tables_bytes_ = 0;
  std::map<Key, const float*> tables_;
};

// While it lives, a device's context is the calling thread's, and the thread may do what it may not
// while others capture a graph: take memory, ask for events.  None of that enters a graph.
class Current {
 public:
  explicit Current(const Device& device);
  ~Current();
  Current(const Current&) = delete;

 private:
  int mode_ = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED
};

// The device of this number.  It is opened once and never closed, because the driver may be
// unloaded before static objects are destroyed.
Device& device(int index);

}  // namespace msda::gpu
