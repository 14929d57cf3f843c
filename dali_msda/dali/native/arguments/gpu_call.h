// How an operator calls the GPU's C interface (cuda/host/api.h).
#pragma once
#include <initializer_list>
#include <stdexcept>

#include "arguments/dali_names.h"
#include "cuda/host/api.h"

namespace msda::native {

// The device of an operator.
class Gpu {
 public:
  // Loads the operator's kernels, from sources of these names.  That must be done when the operator
  // is made, because loading code may need Python.  The thread that makes operators holds Python's
  // lock or can wait for it, while RunImpl runs on a thread of DALI, for which the thread with the
  // lock may be waiting.
  Gpu(const OpSpec& spec, std::initializer_list<const char*> sources) {
    call_.device = spec.GetArgument<int>("device_id");
    for (const char* source : sources) Check(msda_gpu_load(&call_, source));
  }

  // Calls work(call), a function of api.h, on the stream of a workspace.
  template <typename Work>
  void Run(const Workspace& ws, Work work) {
    call_.stream = ws.stream();
    Check(work(&call_));
  }

 private:
  void Check(int32_t status) const {
    if (status == kNoMemory) throw std::bad_alloc();
    if (status != kDone) throw std::runtime_error(call_.text);
  }

  MsdaGpuCall call_ = {};
};

}  // namespace msda::native
