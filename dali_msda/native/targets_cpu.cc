// fn.msda.targets on the CPU.  A batch of rows costs microseconds, so one thread does it.
#include <algorithm>

#include "targets_op.h"

namespace msda::native {

class TargetsCpu final : public TargetsOp<CPUBackend> {
 public:
  using TargetsOp::TargetsOp;

 protected:
  using dali::Operator<CPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    // One call per sample: outputs need not be contiguous, and sources index the whole batch.
    MsdaTargets one = targets_;
    one.batch = plans_.interpolations();
    for (int i = 0; i < targets_.batch; ++i) {
      one.plans = plans_.data() + i * one.batch;
      if (compact_) {
        Compact(ws, i, one);
      } else {
        msda_targets_dense(ws.Output<CPUBackend>(0).mutable_tensor<float>(i), &one);
      }
    }
  }

 private:
  void Compact(Workspace& ws, int i, MsdaTargets one) const {
    auto* labels = ws.Output<CPUBackend>(0).mutable_tensor<int64_t>(i);
    auto* weights = ws.Output<CPUBackend>(1).mutable_tensor<float>(i);
    const int rows = one.batch;
    one.batch = 1;
    for (int row = 0; row < rows; ++row, ++one.plans) {
      int64_t all_labels[kMaxSources];
      float all_weights[kMaxSources];
      msda_targets_compact(all_labels, all_weights, &one);
      std::copy_n(all_labels, columns_, labels + row * columns_);
      std::copy_n(all_weights, columns_, weights + row * columns_);
    }
  }
};

DALI_REGISTER_OPERATOR(msda__Targets, TargetsCpu, CPU);

}  // namespace msda::native
