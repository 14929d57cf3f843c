// fn.msda.targets on a GPU.  Labels and plans lie on the CPU, and the targets go to the device.
#include "arguments/gpu_call.h"
#include "targets_op.h"

namespace msda::native {

class TargetsGpu final : public TargetsOp<GPUBackend> {
 public:
  explicit TargetsGpu(const OpSpec& spec) : TargetsOp(spec), gpu_(spec, {"targets"}) {}

 protected:
  using dali::Operator<GPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    MsdaTargets targets = targets_;
    targets.plans = plans_.data();
    targets.batch = plans_.size();
    if (compact_) return Compact(ws, targets);
    const std::vector<void*>& rows = Rows(ws, 0);
    gpu_.Run(ws, [&](MsdaGpuCall* call) {
      return msda_gpu_targets_rows(call, rows.data(), rows.size(), &targets);
    });
  }

 private:
  // Made on the CPU and copied: it is a few bytes a sample, from what lies on the CPU anyway.
  void Compact(Workspace& ws, const MsdaTargets& targets) {
    const size_t values = size_t(targets.batch) * columns_;
    labels_.resize(values), weights_.resize(values);
    compact_columns(labels_.data(), weights_.data(), columns_, targets);
    const size_t each = size_t(plans_.interpolations()) * columns_;
    Scatter(ws, 0, each * sizeof(int64_t), labels_.data());
    Scatter(ws, 1, each * sizeof(float), weights_.data());
  }

  void Scatter(Workspace& ws, int output, size_t bytes, const void* from) {
    const std::vector<void*>& rows = Rows(ws, output);
    gpu_.Run(ws, [&](MsdaGpuCall* call) {
      return msda_gpu_scatter(call, rows.data(), rows.size(), bytes, from);
    });
  }

  const std::vector<void*>& Rows(Workspace& ws, int output) {
    auto& out = ws.Output<GPUBackend>(output);
    rows_.resize(out.num_samples());
    for (int i = 0; i < out.num_samples(); ++i) rows_[i] = out.raw_mutable_tensor(i);
    return rows_;
  }

  Gpu gpu_;
  std::vector<void*> rows_;  // kept from batch to batch, as the others are
  std::vector<int64_t> labels_;
  std::vector<float> weights_;
};

DALI_REGISTER_OPERATOR(msda__Targets, TargetsGpu, GPU);

}  // namespace msda::native
