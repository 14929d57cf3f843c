// fn.msda.saliency on the CPU: one job per sample.
#include "dali/pipeline/util/thread_pool.h"
#include "saliency_op.h"

namespace msda::native {

class SaliencyCpu final : public SaliencyOp<CPUBackend> {
 public:
  using SaliencyOp::SaliencyOp;

 protected:
  using dali::Operator<CPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    auto& pool = ws.GetThreadPool();
    const auto& images = ws.Input<CPUBackend>(0);
    if (maps_) ws.Output<CPUBackend>(1).SetLayout("HW");
    for (int i = 0; i < images.num_samples(); ++i) {
      pool.AddWork([this, &ws, i](int) { RunSample(ws, i); }, images.tensor_shape_span(i)[0]);
    }
    pool.RunAll();
  }

 private:
  void RunSample(Workspace& ws, int i) const {
    const void* in = ws.Input<CPUBackend>(0).raw_tensor(i);
    void* map = maps_ ? ws.Output<CPUBackend>(1).raw_mutable_tensor(i) : nullptr;
    MsdaSaliency one = Image(ws, i);
    one.peaks = ws.Output<CPUBackend>(0).mutable_tensor<int32_t>(i);
    one.maps = maps_ ? &map : nullptr;
    one.ins = &in;
    one.batch = one.threads = 1;
    one.isa = -1;
    expect_done(msda_saliency(&one));
  }
};

DALI_REGISTER_OPERATOR(msda__Saliency, SaliencyCpu, CPU);

}  // namespace msda::native
