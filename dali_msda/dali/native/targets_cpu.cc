// fn.msda.targets on the CPU.  A batch of rows costs microseconds, so one thread does it.
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
        compact_columns(ws.Output<CPUBackend>(0).mutable_tensor<int64_t>(i),
                        ws.Output<CPUBackend>(1).mutable_tensor<float>(i), columns_, one);
      } else {
        msda_targets_dense(ws.Output<CPUBackend>(0).mutable_tensor<float>(i), &one);
      }
    }
  }
};

DALI_REGISTER_OPERATOR(msda__Targets, TargetsCpu, CPU);

}  // namespace msda::native
