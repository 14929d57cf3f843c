// fn.msda.blend on a GPU.
#include "arguments/gpu_scratch.h"
#include "blend_op.h"

namespace msda::native {

class BlendGpu final : public BlendOp<GPUBackend> {
 public:
  explicit BlendGpu(const OpSpec& spec) : BlendOp(spec), kernels_(device_of(spec)) {}

 protected:
  using dali::Operator<GPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    FindSamples(ws);
    GpuScratch memory(ws);
    kernels_.Run(blend_, memory, ws.stream());
  }

 private:
  gpu::Blend kernels_;
};

DALI_REGISTER_OPERATOR(msda__Blend, BlendGpu, GPU);

}  // namespace msda::native
