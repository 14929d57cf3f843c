// The work of a batch on a GPU.  All that the kernels need of CPU memory is put into one pinned
// buffer and copied at once; then the kernels are launched.  It knows nothing of DALI, and
// dali_msda/backends/cuda.py does the same for arrays.
//
// Nothing here waits for the GPU.  Addresses of samples are those of the device.  All other memory
// that is handed in is the CPU's, and may be freed as soon as a call returns.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/api.h"
#include "cuda/arguments.h"
#include "cuda/host/blend_records.h"
#include "cuda/host/driver.h"
#include "cuda/host/geometry.h"

namespace msda::gpu {

// Memory for one batch.  It must last until the device is done with what was put on the stream, and
// be aligned to 256 bytes.  For 0 bytes it may be null.
class BatchMemory {
 public:
  virtual char* Pinned(size_t bytes) = 0;
  virtual char* OnDevice(size_t bytes) = 0;

 protected:
  ~BatchMemory() = default;
};

// What a batch copies to the device.
class Upload {
 public:
  // Adds `count` values, which must stay where they are until Send(), or null.  Returns the number
  // by which At() finds them.
  template <typename T>
  int Add(const T* values, size_t count) {
    return AddBytes(values, count * sizeof(T));
  }
  // Copies all of it at once, and gets `scratch` more bytes for what the kernels make on the way.
  void Send(const Device& device, BatchMemory& memory, size_t scratch, Handle stream);

  // Where a part lies on the device; null if null was added.
  template <typename T>
  const T* At(int part) const {
    return reinterpret_cast<const T*>(parts_[part].values ? device_ + parts_[part].offset
                                                          : nullptr);
  }
  char* Scratch() const { return device_ + size_; }
  void Clear() { parts_.clear(), size_ = 0; }

 private:
  int AddBytes(const void* values, size_t bytes);

  struct Part {
    const void* values;
    size_t bytes, offset;
  };
  std::vector<Part> parts_;  // kept from batch to batch
  size_t size_ = 0;
  char* device_ = nullptr;
};

// The samples of a batch, at any addresses.  A list of them is copied only if their distances
// differ.
class SampleParts {
 public:
  SampleParts(Upload& upload, const void* const* samples, int32_t count);
  MsdaSamples On(const Upload& upload) const;

 private:
  MsdaSamples even_ = {};
  int list_ = -1;
};

// The masks of a batch's kFMix records.
class Fields {
 public:
  explicit Fields(Device& device) : device_(device) { device.load("field"); }

  // Adds what the masks need, and returns how many bytes of scratch memory they take: 0 for no
  // masks.
  size_t Prepare(Upload& upload, const Plan* plans, int32_t batch, int32_t interpolations);
  // Makes the masks, if there are any, at the start of the scratch memory.  A mask that records
  // share is made once.  `plans` lie on the device.
  MsdaMasks Launch(const Upload& upload, const Plan* plans, Handle stream);

  // How far the masks lie apart, and whose each record has, or null: known after Prepare().
  int64_t Stride() const { return how_.row; }
  const int32_t* Owners() const { return how_.batch && shared_ ? owners_.data() : nullptr; }

 private:
  // The tables of an axis: cosines, sines, places.
  struct Axis {
    Passes passes = {};
    std::vector<float> tables;
    int part = -1;

    void Fit(int32_t length);
  };
  // Adds the amplitudes of the first record with all modes of the paper's law.  Records with the
  // same decay then need not compute them.
  void AddAmplitudes(Upload& upload, const Plan* plans);

  Device& device_;
  Kernel* kernel_ = nullptr;
  Axis axes_[3];  // z, y, x; kept from batch to batch
  std::vector<float> amplitudes_;
  Plan amplitudes_of_ = {};
  int amplitudes_part_ = -1;
  std::vector<int32_t> owners_;  // whose mask each record has
  bool shared_ = false;
  int owners_part_ = -1;
  int32_t interpolations_ = 1;
  MsdaFieldLaunch how_ = {};
};

// The mixed batch.
class Blend {
 public:
  explicit Blend(Device& device);

  // `outs` and `ins` of `blend` are addresses on the device; its `fields`, `pairs`, `threads` and
  // `isa` are not read.
  void Run(const MsdaBlend& blend, BatchMemory& memory, Handle stream);

 private:
  void Launch(const MsdaBlend& blend, MsdaGpuBlend job, const MsdaBlendCounts& counts,
              Handle stream);

  Device& device_;
  Fields fields_;
  std::vector<MsdaBlendRecord> records_;  // kept from batch to batch
  Upload upload_;
};

// Soft labels.
class Targets {
 public:
  explicit Targets(Device& device) : device_(device) { device.load("targets"); }

  // Makes dense rows; those of each sample go to its own address on the device.
  void Run(const std::vector<void*>& rows, const MsdaTargets& targets, BatchMemory& memory,
           Handle stream);

 private:
  Device& device_;
  Upload upload_;
};

// The most salient pixels of images, and their maps.
class Saliency {
 public:
  explicit Saliency(Device& device) : device_(device) { device.load("saliency"); }

  // A group has images of one size.  All but `mirror` and the lists of addresses lies on the
  // device; `threads` and `isa` are not read.
  void Run(const std::vector<MsdaSaliency>& groups, BatchMemory& memory, Handle stream);

 private:
  Device& device_;
  Upload upload_;
};

// Copies `bytes` bytes to each address of the device; addresses that follow one another take one
// copy.  `from` is pinned memory, which must last until the device has read it.
void scatter(const Device& device, const std::vector<void*>& to, size_t bytes, const char* from,
             Handle stream);

}  // namespace msda::gpu
