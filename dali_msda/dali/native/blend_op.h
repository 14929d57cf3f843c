// fn.msda.blend: inputs, arguments and their checks, for every backend.  The backend's file
// (blend_cpu.cc, blend_gpu.cc) does the work.
#pragma once
#include <algorithm>
#include <vector>

#include "arguments/check.h"
#include "arguments/mirror.h"
#include "arguments/normalisation.h"
#include "arguments/plan_input.h"
#include "arguments/sample_layout.h"
#include "dali/pipeline/operator/checkpointing/stateless_operator.h"

namespace msda::native {

inline int32_t msda_dtype(DALIDataType type, const char* name) {
  switch (type) {
    case DALI_UINT8:
      return kUint8;
    case DALI_FLOAT:
      return kFloat32;
    case DALI_FLOAT16:
      return kFloat16;
    default:
      DALI_FAIL(name, ": expected UINT8, FLOAT or FLOAT16, got ", type,
                "; DALI has no bfloat16: cast after the pipeline.");
  }
}

// Input 0: images, uint8 or float32, channels last, one shape per batch.  Input 1: plans, on the
// CPU.
template <typename Backend>
class BlendOp : public dali::StatelessOperator<Backend> {
 public:
  explicit BlendOp(const OpSpec& spec)
      : dali::StatelessOperator<Backend>(spec),
        plans_(spec.GetArgument<int>("max_batch_size")),
        normalisation_(spec),
        out_type_(spec.GetArgument<DALIDataType>("dtype")) {
    ins_.reserve(spec.GetArgument<int>("max_batch_size"));
    outs_.reserve(spec.GetArgument<int>("max_batch_size"));
    blend_.out_dtype = msda_dtype(out_type_, "dtype");
    const auto layout = spec.GetArgument<TensorLayout>("output_layout");
    expect(layout == "CHW" || layout == "HWC", "output_layout: expected \"CHW\" or \"HWC\", got \"",
           layout, "\".");
    blend_.out_layout = layout == "CHW" ? kChw : kHwc;
  }

 protected:
  bool SetupImpl(std::vector<OutputDesc>& outputs, const Workspace& ws) override {
    const auto& images = ws.Input<Backend>(0);
    const int batch = images.num_samples();
    blend_.samples = batch;
    CheckTypes(images.type());
    expect_one_shape(images);
    plans_.Read(ws.Input<CPUBackend>(1));
    blend_.batch = plans_.size();
    blend_.interpolations = plans_.interpolations();
    const int axes = images.sample_dim();
    const auto layout = this->spec_.GetSchema().GetInputLayout(0, axes, images.GetLayout());
    layout_ = output_layout(layout, blend_.out_layout == kChw);
    TensorShape<> shape;
    shape.resize(axes);
    if (batch > 0) {
      shape = images.tensor_shape(0);
      ReadSize(layout, shape);
      // A volume is an image of the rows of all its planes: only the channels may move.
      if (blend_.out_layout == kChw) std::rotate(shape.begin(), shape.end() - 1, shape.end());
    }
    mirror_.Read(this->spec_, ws, blend_.samples);
    outputs = {{dali::uniform_list_shape(batch, plans_.Shaped(shape)), out_type_}};
    return true;
  }

  // Fills `blend_` in with what belongs to the current batch, and gives the output its layout.
  void FindSamples(Workspace& ws) {
    const auto& images = ws.Input<Backend>(0);
    auto& out = ws.Output<Backend>(0);
    out.SetLayout(OutputLayout());
    const int each = blend_.interpolations;
    ins_.resize(blend_.samples);
    outs_.resize(blend_.batch);
    for (int i = 0; i < blend_.samples; ++i) {
      ins_[i] = images.raw_tensor(i);
      auto* to = static_cast<char*>(out.raw_mutable_tensor(i));
      const size_t bytes = out.type_info().size() * out.tensor_shape(i).num_elements() / each;
      for (int k = 0; k < each; ++k) outs_[i * each + k] = to + k * bytes;
    }
    blend_.ins = ins_.data();
    blend_.outs = outs_.data();
    blend_.plans = plans_.data();
    blend_.mirror = mirror_.data();
    blend_.scale = normalisation_.scale();
    blend_.shift = normalisation_.shift();
  }

  PlanInput plans_;
  MsdaBlend blend_ = {};  // of the current batch

 private:
  // To DALI interpolations are the frames of a sequence, unless the samples have frames already.
  TensorLayout OutputLayout() const {
    if (plans_.Shaped({}).size() == 0) return layout_;
    return TensorLayout(layout_.contains('F') ? "K" : "F") + layout_;
  }

  void ReadSize(const TensorLayout& layout, const TensorShape<>& shape) {
    const int64_t channels = shape[shape.size() - 1];
    expect(channels > 0 && dali::volume(shape) > 0,
           "images: expected at least one pixel and channel, got shape (", shape, ").");
    const SampleSize size = size_of(layout, shape);
    expect(channels <= INT32_MAX / size.width,
           "images: expected fewer than 2^31 values in a row, got shape (", shape, ").");
    plans_.ExpectSize(size);
    blend_.height = static_cast<int32_t>(size.depth * size.height);
    blend_.width = static_cast<int32_t>(size.width);
    blend_.channels = static_cast<int32_t>(channels);
    normalisation_.Fit(blend_.channels);
  }

  void CheckTypes(DALIDataType type) {
    expect(type == DALI_UINT8 || type == DALI_FLOAT, "images: expected uint8 or float, got ", type,
           "; cast them with fn.cast.");
    blend_.in_dtype = type == DALI_UINT8 ? kUint8 : kFloat32;
    expect(blend_.out_dtype != kUint8 || (type == DALI_UINT8 && !normalisation_.is_given()),
           "dtype: expected FLOAT or FLOAT16 for normalised or float images, got UINT8; leave out "
           "mean and std, or ask for FLOAT.");
  }

  Normalisation normalisation_;
  Mirror mirror_;
  const DALIDataType out_type_;
  TensorLayout layout_;           // of one mixed sample
  std::vector<const void*> ins_;  // kept from batch to batch
  std::vector<void*> outs_;
};

}  // namespace msda::native
