// The GPU's host (kernels/cuda/host), with neither DALI nor a GPU: on a
// driver and in memory that a test brings.  Functions return null, or what was thrown.
#include "cuda/host/batch.cpp"
#include "cuda/host/code.cpp"
#include "cuda/host/driver.cpp"

namespace {

using Allocate = void* (*)(int64_t bytes, int32_t pinned);

struct Memory final : msda::gpu::BatchMemory {
  Allocate allocate;

  explicit Memory(Allocate allocate) : allocate(allocate) {}
  char* Pinned(size_t bytes) override { return Get(bytes, 1); }
  char* OnDevice(size_t bytes) override { return Get(bytes, 0); }
  char* Get(size_t bytes, int32_t pinned) {
    return bytes ? static_cast<char*>(allocate(static_cast<int64_t>(bytes), pinned)) : nullptr;
  }
};

struct Host {
  msda::gpu::Driver driver;
  msda::gpu::Device device;
  msda::gpu::Blend blend;
  msda::gpu::Targets targets;
  msda::gpu::Saliency saliency;

  Host(const char* library, int index)
      : driver(library),
        device(driver, index, msda::gpu::machine_code),
        blend(device),
        targets(device),
        saliency(device) {}
};

template <typename Work>
const char* error_of(Work work) {
  static std::string text;
  try {
    work();
    return nullptr;
  } catch (const std::exception& error) {
    text = error.what();
    return text.c_str();
  }
}

}  // namespace

extern "C" {

const char* host_open(Host** host, const char* library, int32_t index) {
  return error_of([=] { *host = new Host(library, index); });
}
const char* host_load(Host* host, const char* source) {
  return error_of([=] { host->device.load(source); });
}
const char* host_blend(Host* host, const MsdaBlend* blend, Allocate allocate, void* stream) {
  return error_of([=] {
    Memory memory(allocate);
    host->blend.Run(*blend, memory, stream);
  });
}
const char* host_targets(Host* host, void* const* rows, int32_t samples, const MsdaTargets* targets,
                         Allocate allocate, void* stream) {
  return error_of([=] {
    Memory memory(allocate);
    host->targets.Run({rows, rows + samples}, *targets, memory, stream);
  });
}
const char* host_scatter(Host* host, void* const* to, int32_t samples, int64_t bytes,
                         const char* from, void* stream) {
  return error_of([=] {
    msda::gpu::scatter(host->device, {to, to + samples}, static_cast<size_t>(bytes), from, stream);
  });
}
const char* host_saliency(Host* host, const MsdaSaliency* groups, int32_t count, Allocate allocate,
                          void* stream) {
  return error_of([=] {
    Memory memory(allocate);
    host->saliency.Run({groups, groups + count}, memory, stream);
  });
}
}  // extern "C"
