#include "cuda/host/driver.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "cuda/code/code.h"
#include "cuda/host/most_threads.h"

namespace msda::gpu {
namespace {

// Values of CUdevice_attribute, CUfunction_attribute and CUstream_flags
enum { kMultiprocessors = 16, kMajor = 75, kMinor = 76, kSharedBytes = 97 };
enum { kMaxDynamicShared = 8 };
enum { kNonBlocking = 1 };

const char* driver_library = "libcuda.so.1";
std::mutex devices_mutex;
auto* const devices = new std::map<int, std::unique_ptr<Device>>;

int (*error_string)(int, const char**);

template <typename Function>
void find(void* library, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (!function)
    throw std::runtime_error(std::string("CUDA: ") + name +
                             " is missing from the driver; install a newer one");
}

}  // namespace

void check(int status) {
  if (!status) return;
  const char* text = nullptr;
  error_string(status, &text);
  throw std::runtime_error(std::string("CUDA: ") + (text ? text : "unknown error") + " (" +
                           std::to_string(status) + "); see `python -m dali_msda doctor`");
}

Driver::Driver(const char* name) {
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw std::runtime_error(std::string("CUDA: no driver (") + name + " was not found)");
#define MSDA_FIND(member, name, ...) find(library, member.raw, name);
  MSDA_DRIVER_FUNCTIONS(MSDA_FIND)
#undef MSDA_FIND
  gpu::error_string = error_string.raw;
  init(0);
}

const Driver& driver() {
  static const Driver* opened = new Driver(driver_library);
  return *opened;
}

Kernel::Block Kernel::occupancy(int32_t limit, int64_t shared) {
  limit = most_threads(limit);
  const std::lock_guard lock(mutex_);
  const auto known = blocks_.find({limit, shared});
  if (known != blocks_.end()) return known->second;
  const size_t bytes = static_cast<size_t>(shared);
  if (shared > most_shared_) {  // never less, so that all known blocks can still be launched
    driver().set_function_attribute(function_, kMaxDynamicShared, static_cast<int>(shared));
    most_shared_ = shared;
  }
  Block block = {};
  int grid = 0, held = 0;
  driver().best_block(&grid, &block.threads, function_, nullptr, bytes, limit);
  driver().resident_blocks(&held, function_, block.threads, bytes);
  block.resident = std::max(1, held) * multiprocessors_;
  return blocks_[{limit, shared}] = block;
}

void Kernel::launch(const uint32_t (&grid)[2], int32_t threads, int64_t shared, Handle stream,
                    const void* arguments) const {
  void* values[] = {const_cast<void*>(arguments)};
  driver().launch(function_, grid[0], grid[1], 1, static_cast<unsigned>(threads), 1, 1,
                  static_cast<unsigned>(shared), stream, values, nullptr);
}

Device::Device(int index) {
  driver().device_get(&handle_, index);
  driver().retain_context(&context, handle_);
  multiprocessors = Attribute(kMultiprocessors);
  shared_bytes = Attribute(kSharedBytes);
  arch_ = "sm_" + std::to_string(Attribute(kMajor)) + std::to_string(Attribute(kMinor));
}

int Device::Attribute(int number) const {
  int value = 0;
  driver().attribute(&value, number, handle_);
  return value;
}

void Device::load(const std::string& source) {
  std::unique_lock lock(mutex_);
  if (modules_.count(source)) return;
  // The lock is released because Python may make the code: a thread with Python's lock that waited
  // for this one would wait for ever.
  lock.unlock();
  const std::string code = machine_code(source, arch_);
  lock.lock();
  if (modules_.count(source)) return;  // another thread was faster
  const Current current(*this);
  Handle module = nullptr;
  try {
    driver().load_module(&module, code.data());
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(error.what() + ("; " + versions(code)));
  }
  modules_[source] = module;
}

Kernel& Device::kernel(const std::string& name) {
  const size_t from = name.find('_') + 1;
  const std::string source = name.substr(from, name.find('_', from) - from);
  load(source);
  const std::lock_guard lock(mutex_);
  const auto known = kernels_.find(name);
  if (known != kernels_.end()) return known->second;
  Handle function = nullptr;
  driver().get_function(&function, modules_.at(source), name.c_str());
  return kernels_.try_emplace(name, multiprocessors, function).first->second;
}

void Device::wait(Handle stream, Handle other) const {
  Handle event = nullptr;
  driver().create_event(&event, kWithoutTiming);
  driver().record_event(event, other);
  driver().wait_event(stream, event, 0);
  driver().destroy_event(event);  // the driver keeps it until it has occurred
}

const float* Device::table(const Key& key, size_t count, const std::function<void(float*)>& make) {
  const std::lock_guard lock(tables_mutex_);
  const auto known = tables_.find(key);
  if (known != tables_.end()) return known->second;
  const size_t bytes = count * sizeof(float);
  if (tables_bytes_ + bytes > kMostTables) return nullptr;
  std::vector<float> values(count);
  make(values.data());
  void* address = nullptr;
  driver().allocate(&address, bytes);
  tables_bytes_ += bytes;
  // A stream of its own: while a graph is captured, nothing may touch the default one.
  if (!tables_stream_) driver().create_stream(&tables_stream_, kNonBlocking);
  driver().copy(address, values.data(), bytes, tables_stream_);
  driver().finish_stream(tables_stream_);
  return tables_[key] = static_cast<float*>(address);
}

Current::Current(const Device& device) {
  driver().push_context(device.context);
  driver().exchange_capture_mode.raw(&mode_);
}

Current::~Current() {
  Handle context;
  driver().exchange_capture_mode.raw(&mode_);
  driver().pop_context.raw(&context);
}

Device& device(int index) {
  static const pid_t opened_by = getpid();
  if (getpid() != opened_by)
    throw std::runtime_error(
        "CUDA: a forked process cannot use a GPU that its parent has used; start it by \"spawn\"");
  const std::lock_guard lock(devices_mutex);
  auto& found = (*devices)[index];
  if (!found) found = std::make_unique<Device>(index);
  return *found;
}

}  // namespace msda::gpu
