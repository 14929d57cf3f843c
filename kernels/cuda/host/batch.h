// What the calls of api.h have in common: errors, what a batch sends to the device, and the masks
// of kFMix.
#pragma once
#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "cuda/arguments.h"
#include "cuda/host/api.h"
#include "cuda/host/driver.h"
#include "cuda/host/geometry.h"

namespace msda::gpu {

// What a batch copies to the device: through pinned memory, all of it at once.
class Upload {
 public:
  Upload(Device& device, Handle stream) : device(device), stream(stream) {}

  // Adds `count` values, or null.  Until Send() they stay where they are, and so does `there`,
  // which is then where they lie on the device until this ends.
  template <typename T, typename There>
  void Add(const T* values, size_t count, const There** there) {
    if (values && count) AddBytes(values, count * sizeof(T), there);
  }
  // Adds the samples of a batch, at any addresses of the device.  A list of these is copied only if
  // their distances differ.
  void AddSamples(const void* const* samples, int32_t count, MsdaSamples* there);
  // Copies all, and takes `scratch` more bytes for what the kernels make on the way.
  void Send(size_t scratch);
  char* Scratch() const { return memory_ ? memory_->address + size_ : nullptr; }

  Device& device;
  const Handle stream;

 private:
  void AddBytes(const void* values, size_t bytes, void* there);

  struct Part {
    const void* values;
    size_t bytes, offset;
    void* there;
  };
  std::vector<Part> parts_;
  size_t size_ = 0;
  std::optional<Lease> memory_;
};

// Runs the body of a call, and returns a status and a text for what it throws.
template <typename Body>
int32_t reported(MsdaGpuCall& call, const Body& body) noexcept {
  try {
    body();
    return kDone;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  } catch (const std::exception& error) {
    std::snprintf(call.text, sizeof(call.text), "%s", error.what());
    return kFailed;
  }
}

// The same with the device current, and in order with the call's other streams.
template <typename Body>
int32_t on_device(MsdaGpuCall& call, const Body& body) noexcept {
  return reported(call, [&] {
    Device& there = device(call.device);
    const Current current(there);
    for (int32_t k = 0; k < call.count; ++k) there.wait(call.stream, call.others[k]);
    Upload upload(there, call.stream);
    body(upload);
    for (int32_t k = 0; k < call.count; ++k) there.wait(call.others[k], call.stream);
  });
}

// Launches a kernel that takes its items as each_grid_item() does.
void launch_items(const Upload& upload, const std::string& kernel, int64_t samples, int64_t rows,
                  int64_t items, const void* job);

inline const char* name_of(int32_t dtype) {
  constexpr const char* kNames[] = {"uint8", "float32", "float16", "bfloat16"};
  return kNames[dtype];
}

// The masks of a batch's kFMix records.
class Fields {
 public:
  // Adds what the masks need to what is sent.
  Fields(Upload& upload, const Plan* plans, int32_t batch);
  Fields(const Fields&) = delete;

  size_t scratch() const { return static_cast<size_t>(how_.scratch); }  // 0 for no masks
  int64_t stride() const { return how_.row; }  // bytes from one mask to the next
  // The number of each record's mask, or null if there are none.
  const int32_t* numbers() const { return how_.fields ? lists_.data() : nullptr; }
  // Makes the masks, if there are any: at the start of the scratch memory, or in rows that are
  // given, one for each record.  A mask that records share is made once, in the first one's row.
  // `plans` lie on the device.
  MsdaMasks Launch(const Plan* plans, const MsdaMasks& rows = {}) const;

 private:
  void AddAxis(int32_t k, int32_t length);
  void AddAmplitudes(const Plan* plans);

  Upload& upload_;
  const int32_t batch_;
  Kernel* kernel_ = nullptr;
  MsdaFieldLaunch how_ = {};
  MsdaGpuFields job_ = {};
  std::vector<float> tables_[3];  // of the axes z, y, x that are not on the device
  std::vector<int32_t> lists_;    // of msda_mask_lists()
  const int32_t* lists_there_ = nullptr;
};

}  // namespace msda::gpu
