// fn.msda.targets on a GPU.  Labels and plans lie on the CPU, and the targets go to the device.
#include "arguments/gpu_scratch.h"
#include "targets_op.h"

namespace msda::native {

class TargetsGpu final : public TargetsOp<GPUBackend> {
 public:
  explicit TargetsGpu(const OpSpec& spec)
      : TargetsOp(spec), device_(device_of(spec)), kernels_(device_) {}

 protected:
  using dali::Operator<GPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    GpuScratch memory(ws);
    MsdaTargets targets = targets_;
    targets.plans = plans_.data();
    targets.batch = plans_.size();
    if (compact_) {
      Compact(ws, targets, memory);
    } else {
      kernels_.Run(Rows(ws, 0), targets, memory, ws.stream());
    }
  }

 private:
  // Made on the CPU and copied: it is a few bytes a sample, from what lies on the CPU anyway.
  void Compact(Workspace& ws, const MsdaTargets& targets, GpuScratch& memory) {
    if (targets.batch == 0) return;
    const size_t values = size_t(targets.batch) * columns_;
    auto* labels = reinterpret_cast<int64_t*>(memory.Pinned(values * sizeof(int64_t)));
    auto* weights = reinterpret_cast<float*>(memory.Pinned(values * sizeof(float)));
    compact_columns(labels, weights, columns_, targets);
    const size_t each = size_t(plans_.interpolations()) * columns_;
    Scatter(ws, 0, each * sizeof(int64_t), labels);
    Scatter(ws, 1, each * sizeof(float), weights);
  }

  void Scatter(Workspace& ws, int output, size_t bytes, const void* from) {
    gpu::scatter(device_, Rows(ws, output), bytes, static_cast<const char*>(from), ws.stream());
  }

  const std::vector<void*>& Rows(Workspace& ws, int output) {
    auto& out = ws.Output<GPUBackend>(output);
    rows_.resize(out.num_samples());
    for (int i = 0; i < out.num_samples(); ++i) rows_[i] = out.raw_mutable_tensor(i);
    return rows_;
  }

  gpu::Device& device_;
  gpu::Targets kernels_;
  std::vector<void*> rows_;  // kept from batch to batch
};

DALI_REGISTER_OPERATOR(msda__Targets, TargetsGpu, GPU);

}  // namespace msda::native
