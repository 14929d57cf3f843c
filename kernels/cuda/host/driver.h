// A GPU by way of the CUDA driver, a library that is looked up at run time: machine code, launches,
// copies.  It does in C++ what dali_msda/backends/driver.py does in Python, and knows nothing of
// DALI.  Nothing in it waits for a GPU.
//
// Errors of the driver are thrown as std::runtime_error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace msda::gpu {

using Handle = void*;  // a context, module, function or stream of the driver

// The functions of the driver that are used.
class Driver {
 public:
  // Throws if there is no such library, or if it finds no GPU.
  explicit Driver(const char* library = "libcuda.so.1");

  void check(int status) const;

  int (*device_get)(int*, int);
  int (*attribute)(int*, int, int);
  int (*retain_context)(Handle*, int);
  int (*push_context)(Handle);
  int (*pop_context)(Handle*);
  int (*load_module)(Handle*, const void*);
  int (*get_function)(Handle*, Handle, const char*);
  int (*set_function_attribute)(Handle, int, int);
  int (*best_block)(int*, int*, Handle, Handle, size_t, int);
  int (*resident_blocks)(int*, Handle, int, size_t);
  int (*launch)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                Handle, void**, void**);
  int (*copy_to_device)(void*, const void*, size_t, Handle);

 private:
  int (*error_string_)(int, const char**);
};

class Device;

// A kernel of a device.  The device's context must be current.
class Kernel {
 public:
  Kernel(const Device& device, Handle function) : device_(device), function_(function) {}

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
  const Device& device_;
  const Handle function_;
  std::mutex mutex_;
  int64_t most_shared_ = 0;
  std::map<std::pair<int32_t, int64_t>, Block> blocks_;
};

// Returns the machine code of kernels/cuda/<source>.cu for a kind of device, such as "sm_90".
using CodeOf = std::string (*)(const std::string& source, const std::string& arch);

// A device in its primary context, which is DALI's, CuPy's and torch's too.
class Device {
 public:
  Device(const Driver& driver, int index, CodeOf code_of);
  Device(const Device&) = delete;

  // Loads the kernels of a source, once.  They must be loaded before kernel() is called for them.
  void load(const std::string& source);
  // An entry point, msda_<source>_...
  Kernel& kernel(const std::string& name);

  void copy(void* to, const void* from, size_t bytes, Handle stream) const;

  int32_t multiprocessors() const { return multiprocessors_; }
  int32_t shared_bytes() const { return shared_bytes_; }  // the most that a block may ask for
  const Driver& driver() const { return driver_; }
  Handle context() const { return context_; }

 private:
  int Attribute(int number) const;

  const Driver& driver_;
  const CodeOf code_of_;
  int handle_ = 0;
  Handle context_ = nullptr;
  int32_t multiprocessors_, shared_bytes_;
  std::string arch_;
  std::mutex mutex_;
  std::map<std::string, Handle> modules_;
  std::map<std::string, std::unique_ptr<Kernel>> kernels_;
};

// Makes a device's context the calling thread's while it lives.
class Current {
 public:
  explicit Current(const Device& device);
  ~Current();
  Current(const Current&) = delete;

 private:
  const Driver& driver_;
};

// The device of this number.  It is opened once and never closed, because the driver may be
// unloaded before static objects are destroyed.
Device& device(int index);

}  // namespace msda::gpu
