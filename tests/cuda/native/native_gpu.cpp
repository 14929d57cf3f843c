// The GPU's host (kernels/cuda/host) on a driver that a test brings.
#include "cuda/code/code.cpp"
#include "cuda/host/api.cpp"
#include "cuda/host/batch.cpp"
#include "cuda/host/blend.cpp"
#include "cuda/host/driver.cpp"
#include "cuda/host/memory.cpp"
#include "cuda/host/puzzle/puzzle.cpp"

extern "C" {

// Forgets all devices, and opens them by this driver from now on.
void host_use(const char* library) {
  static std::string kept;
  kept = library;
  driver_library = kept.c_str();
  devices->clear();
}

// Sends parts to the device, and finds where they and the scratch memory lie.
void host_send(void* stream, const void* const* parts, const int64_t* sizes, int32_t count,
               int64_t scratch, const void** addresses) {
  Device& there = device(0);
  const Current current(there);
  Upload upload(there, stream);
  for (int32_t k = 0; k < count; ++k)
    upload.Add(static_cast<const char*>(parts[k]), static_cast<size_t>(sizes[k]), &addresses[k]);
  upload.Send(static_cast<size_t>(scratch));
  addresses[count] = upload.Scratch();
}

// Threads of a block of a kernel, and how many blocks the device holds and has room to run.
void host_occupancy(const char* name, int32_t* found) {
  Device& there = device(0);
  const Current current(there);
  const Kernel::Block block = there.kernel(name).occupancy();
  int count = 0, handle = 0;
  driver().device_get(&handle, 0);
  driver().attribute(&count, 16, handle);  // of multiprocessors
  found[0] = block.threads, found[1] = block.resident, found[2] = count;
}

// What opening a driver throws, or null.
const char* host_open(const char* library) {
  static std::string text;
  try {
    (void)Driver(library);
    return nullptr;
  } catch (const std::exception& error) {
    text = error.what();
    return text.c_str();
  }
}
}  // extern "C"
