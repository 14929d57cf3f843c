#include "cuda/host/driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <stdexcept>

#include "cuda/host/code.h"
#include "cuda/host/most_threads.h"

namespace msda::gpu {
namespace {

// Values of CUdevice_attribute, and of CUfunction_attribute
enum { kMultiprocessors = 16, kMajor = 75, kMinor = 76, kSharedBytes = 97 };
enum { kMaxDynamicShared = 8 };

template <typename Function>
void find(void* library, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (!function)
    throw std::runtime_error(std::string("CUDA: ") + name +
                             " is missing from the driver; install a newer one");
}

}  // namespace

Driver::Driver(const char* name) {
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw std::runtime_error(std::string("CUDA: no driver (") + name + " was not found)");
  int (*init)(unsigned);
  find(library, init, "cuInit");
  find(library, error_string_, "cuGetErrorString");
  find(library, device_get, "cuDeviceGet");
  find(library, attribute, "cuDeviceGetAttribute");
  find(library, retain_context, "cuDevicePrimaryCtxRetain");
  find(library, push_context, "cuCtxPushCurrent_v2");
  find(library, pop_context, "cuCtxPopCurrent_v2");
  find(library, load_module, "cuModuleLoadData");
  find(library, get_function, "cuModuleGetFunction");
  find(library, set_function_attribute, "cuFuncSetAttribute");
  find(library, best_block, "cuOccupancyMaxPotentialBlockSize");
  find(library, resident_blocks, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  find(library, launch, "cuLaunchKernel");
  find(library, copy_to_device, "cuMemcpyHtoDAsync_v2");
  check(init(0));
}

void Driver::check(int status) const {
  if (!status) return;
  const char* text = nullptr;
  error_string_(status, &text);
  throw std::runtime_error(std::string("CUDA: ") + (text ? text : "unknown error") + " (" +
                           std::to_string(status) + "); see `python -m dali_msda doctor`");
}

Kernel::Block Kernel::occupancy(int32_t limit, int64_t shared) {
  limit = most_threads(limit);
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = blocks_.try_emplace({limit, shared});
  if (is_new) {
    const Driver& driver = device_.driver();
    const size_t bytes = static_cast<size_t>(shared);
    try {
      if (shared > most_shared_) {  // never less, so that all known blocks can still be launched
        driver.check(
            driver.set_function_attribute(function_, kMaxDynamicShared, static_cast<int>(shared)));
        most_shared_ = shared;
      }
      int grid = 0, held = 0;
      Block& block = found->second;
      driver.check(driver.best_block(&grid, &block.threads, function_, nullptr, bytes, limit));
      driver.check(driver.resident_blocks(&held, function_, block.threads, bytes));
      block.resident = std::max(1, held) * device_.multiprocessors();
    } catch (...) {
      blocks_.erase(found);
      throw;
    }
  }
  return found->second;
}

void Kernel::launch(const uint32_t (&grid)[2], int32_t threads, int64_t shared, Handle stream,
                    const void* arguments) const {
  void* values[] = {const_cast<void*>(arguments)};
  device_.driver().check(
      device_.driver().launch(function_, grid[0], grid[1], 1, static_cast<unsigned>(threads), 1, 1,
                              static_cast<unsigned>(shared), stream, values, nullptr));
}

Device::Device(const Driver& driver, int index, CodeOf code_of)
    : driver_(driver), code_of_(code_of) {
  driver.check(driver.device_get(&handle_, index));
  driver.check(driver.retain_context(&context_, handle_));
  multiprocessors_ = Attribute(kMultiprocessors);
  shared_bytes_ = Attribute(kSharedBytes);
  arch_ = "sm_" + std::to_string(Attribute(kMajor)) + std::to_string(Attribute(kMinor));
}

int Device::Attribute(int number) const {
  int value = 0;
  driver_.check(driver_.attribute(&value, number, handle_));
  return value;
}

void Device::load(const std::string& source) {
  std::unique_lock lock(mutex_);
  if (modules_.count(source)) return;
  // The lock is released because Python may make the code: a thread with Python's lock that waited
  // for this one would wait for ever.
  lock.unlock();
  const std::string code = code_of_(source, arch_);
  lock.lock();
  if (modules_.count(source)) return;  // another thread was faster
  const Current current(*this);
  Handle module = nullptr;
  try {
    driver_.check(driver_.load_module(&module, code.data()));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(error.what() + ("; " + versions(code)));
  }
  modules_[source] = module;
}

Kernel& Device::kernel(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto& kernel = kernels_[name];
  if (!kernel) {
    const size_t from = name.find('_') + 1;
    const std::string source = name.substr(from, name.find('_', from) - from);
    Handle function = nullptr;
    driver_.check(driver_.get_function(&function, modules_.at(source), name.c_str()));
    kernel = std::make_unique<Kernel>(*this, function);
  }
  return *kernel;
}

void Device::copy(void* to, const void* from, size_t bytes, Handle stream) const {
  driver_.check(driver_.copy_to_device(to, from, bytes, stream));
}

Current::Current(const Device& device) : driver_(device.driver()) {
  driver_.check(driver_.push_context(device.context()));
}

Current::~Current() {
  Handle context;
  driver_.pop_context(&context);
}

Device& device(int index) {
  static std::mutex mutex;
  static const Driver* driver = nullptr;
  static auto* devices = new std::map<int, std::unique_ptr<Device>>;
  const std::lock_guard lock(mutex);
  if (!driver) driver = new Driver;
  auto& found = (*devices)[index];
  if (!found) found = std::make_unique<Device>(*driver, index, machine_code);
  return *found;
}

}  // namespace msda::gpu
