// fn.msda.saliency on a GPU: one launch for each run of images of one size, which in most batches
// is one.
#include "arguments/gpu_scratch.h"
#include "saliency_op.h"

namespace msda::native {

class SaliencyGpu final : public SaliencyOp<GPUBackend> {
 public:
  explicit SaliencyGpu(const OpSpec& spec) : SaliencyOp(spec), kernels_(device_of(spec)) {}

 protected:
  using dali::Operator<GPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    const int batch = ws.Input<GPUBackend>(0).num_samples();
    if (maps_) ws.Output<GPUBackend>(1).SetLayout("HW");
    ins_.resize(batch), map_rows_.resize(batch);
    groups_.clear();
    for (int i = 0; i < batch; ++i) AddSample(ws, i);
    GpuScratch memory(ws);
    kernels_.Run(groups_, memory, ws.stream());
  }

 private:
  void AddSample(Workspace& ws, int i) {
    const auto& images = ws.Input<GPUBackend>(0);
    const auto shape = images.tensor_shape_span(i);
    auto* peak = ws.Output<GPUBackend>(0).mutable_tensor<int32_t>(i);
    ins_[i] = images.raw_tensor(i);
    map_rows_[i] = maps_ ? ws.Output<GPUBackend>(1).raw_mutable_tensor(i) : nullptr;
    if (groups_.empty() || !Continues(groups_.back(), shape, peak)) {
      MsdaSaliency group = {};
      group.peaks = peak;
      group.maps = maps_ ? &map_rows_[i] : nullptr;
      group.ins = &ins_[i];
      group.mirror = mirror_.data() + i;
      group.height = static_cast<int32_t>(shape[0]);
      group.width = static_cast<int32_t>(shape[1]);
      group.channels = static_cast<int32_t>(shape[2]);
      group.in_dtype = images.type() == DALI_UINT8 ? kUint8 : kFloat32;
      groups_.push_back(group);
    }
    ++groups_.back().batch;
  }

  template <typename Shape>
  static bool Continues(const MsdaSaliency& group, const Shape& shape, const int32_t* peak) {
    return group.height == shape[0] && group.width == shape[1] && group.channels == shape[2] &&
           group.peaks + 2 * group.batch == peak;
  }

  gpu::Saliency kernels_;
  std::vector<const void*> ins_;  // kept from batch to batch
  std::vector<void*> map_rows_;
  std::vector<MsdaSaliency> groups_;
};

DALI_REGISTER_OPERATOR(msda__Saliency, SaliencyGpu, GPU);

}  // namespace msda::native
