// fn.msda.saliency on a GPU: one launch for each run of images of one size, which in most batches
// is one.
#include "arguments/gpu_call.h"
#include "saliency_op.h"

namespace msda::native {

class SaliencyGpu final : public SaliencyOp<GPUBackend> {
 public:
  explicit SaliencyGpu(const OpSpec& spec) : SaliencyOp(spec), gpu_(spec, {"saliency"}) {}

 protected:
  using dali::Operator<GPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    const int batch = ws.Input<GPUBackend>(0).num_samples();
    if (maps_) ws.Output<GPUBackend>(1).SetLayout("HW");
    ins_.resize(batch), map_rows_.resize(batch);
    groups_.clear();
    for (int i = 0; i < batch; ++i) AddSample(ws, i);
    gpu_.Run(ws, [&](MsdaGpuCall* call) {
      return msda_gpu_saliency(call, groups_.data(), groups_.size(), nullptr);
    });
  }

 private:
  void AddSample(Workspace& ws, int i) {
    MsdaSaliency image = Image(ws, i);
    image.peaks = ws.Output<GPUBackend>(0).mutable_tensor<int32_t>(i);
    ins_[i] = ws.Input<GPUBackend>(0).raw_tensor(i);
    map_rows_[i] = maps_ ? ws.Output<GPUBackend>(1).raw_mutable_tensor(i) : nullptr;
    image.ins = &ins_[i];
    image.maps = maps_ ? &map_rows_[i] : nullptr;
    if (groups_.empty() || !Continues(groups_.back(), image)) groups_.push_back(image);
    ++groups_.back().batch;
  }

  static bool Continues(const MsdaSaliency& group, const MsdaSaliency& image) {
    return group.height == image.height && group.width == image.width &&
           group.channels == image.channels && group.peaks + 2 * group.batch == image.peaks;
  }

  Gpu gpu_;
  std::vector<const void*> ins_;  // kept from batch to batch
  std::vector<void*> map_rows_;
  std::vector<MsdaSaliency> groups_;
};

DALI_REGISTER_OPERATOR(msda__Saliency, SaliencyGpu, GPU);

}  // namespace msda::native
