// DALI's memory for a batch on a GPU.
#pragma once
#include "arguments/dali_names.h"
#include "cuda/host/batch.h"
#include "dali/kernels/dynamic_scratchpad.h"

namespace msda::native {

// The memory goes back to DALI's pools when this object ends, in the order of the stream.  So
// nobody else gets it before the device is done with what the stream holds by then.
class GpuScratch final : public gpu::BatchMemory {
 public:
  explicit GpuScratch(const Workspace& ws) : pad_(ws.output_order()) {}

  char* Pinned(size_t bytes) override { return pad_.AllocatePinned<char>(bytes, kAlignment); }
  char* OnDevice(size_t bytes) override { return pad_.AllocateGPU<char>(bytes, kAlignment); }

 private:
  static constexpr size_t kAlignment = 256;

  dali::kernels::DynamicScratchpad pad_;
};

// The device of an operator.  It must be asked for when the operator is made, because loading code
// may need Python.  The thread that makes operators holds Python's lock or can wait for it, while
// RunImpl runs on a thread of DALI, for which the thread with the lock may be waiting.
inline gpu::Device& device_of(const OpSpec& spec) {
  return gpu::device(spec.GetArgument<int>("device_id"));
}

}  // namespace msda::native
