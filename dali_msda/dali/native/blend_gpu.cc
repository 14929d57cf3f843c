// fn.msda.blend on a GPU.  Not in place, because an operator of DALI has outputs of its own, and
// not planar, because its images are HWC on either device.
#include "arguments/gpu_call.h"
#include "blend_op.h"

namespace msda::native {

class BlendGpu final : public BlendOp<GPUBackend> {
 public:
  explicit BlendGpu(const OpSpec& spec) : BlendOp(spec), gpu_(spec, {"blend", "values", "field"}) {}

 protected:
  using dali::Operator<GPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    FindSamples(ws);
    gpu_.Run(ws,
             [&](MsdaGpuCall* call) { return msda_gpu_blend(call, &blend_, nullptr, 1, 0, 0); });
  }

 private:
  Gpu gpu_;
};

DALI_REGISTER_OPERATOR(msda__Blend, BlendGpu, GPU);

}  // namespace msda::native
