// fn.msda.blend: inputs, arguments and their checks, for every backend.  The backend's file
// (blend_cpu.cc) does the work.
#pragma once
#include <vector>

#include "check.h"
#include "dali/pipeline/operator/checkpointing/stateless_operator.h"
#include "normalisation.h"
#include "plan_input.h"

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

// Input 0: images, uint8 or float32 HWC, one shape per batch.  Input 1: plans, on the CPU.
template <typename Backend>
class BlendOp : public dali::StatelessOperator<Backend> {
 public:
  explicit BlendOp(const OpSpec& spec)
      : dali::StatelessOperator<Backend>(spec),
        plans_(spec.GetArgument<int>("max_batch_size")),
        normalisation_(spec),
        out_type_(spec.GetArgument<DALIDataType>("dtype")) {
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
    TensorShape<3> shape = {};
    if (batch > 0) {
      const auto in = images.shape().template tensor_shape<3>(0);
      expect(in[0] > 0 && in[1] > 0 && in[2] > 0,
             "images: expected at least one pixel and channel, got shape (", in, ").");
      plans_.ExpectSize(in[0], in[1]);
      blend_.height = static_cast<int32_t>(in[0]);
      blend_.width = static_cast<int32_t>(in[1]);
      blend_.channels = static_cast<int32_t>(in[2]);
      normalisation_.Fit(blend_.channels);
      shape = blend_.out_layout == kChw ? TensorShape<3>{in[2], in[0], in[1]} : in;
    }
    ReadMirror(ws);
    outputs = {{dali::uniform_list_shape(batch, plans_.Shaped(shape)), out_type_}};
    return true;
  }

  // Interpolations are frames of a sequence to DALI.
  TensorLayout OutputLayout() const {
    const TensorLayout one = blend_.out_layout == kChw ? "CHW" : "HWC";
    return plans_.Shaped({}).size() ? "F" + one : one;
  }

  PlanInput plans_;
  Normalisation normalisation_;
  std::vector<uint8_t> mirror_;
  MsdaBlend blend_ = {};  // of the current batch, but for its pointers

 private:
  void CheckTypes(DALIDataType type) {
    expect(type == DALI_UINT8 || type == DALI_FLOAT, "images: expected uint8 or float, got ", type,
           "; cast them with fn.cast.");
    blend_.in_dtype = type == DALI_UINT8 ? kUint8 : kFloat32;
    expect(blend_.out_dtype != kUint8 || (type == DALI_UINT8 && !normalisation_.is_given()),
           "dtype: expected FLOAT or FLOAT16 for normalised or float images, got UINT8; leave out "
           "mean and std, or ask for FLOAT.");
  }

  void ReadMirror(const Workspace& ws) {
    const OpSpec& spec = this->spec_;
    if (spec.HasTensorArgument("mirror")) {
      read_integers(flags_, ws.ArgumentInput("mirror"), "mirror");
    } else {
      flags_.assign(blend_.samples, spec.template GetArgument<int>("mirror"));
    }
    mirror_.resize(flags_.size());
    for (size_t i = 0; i < flags_.size(); ++i) {
      expect(flags_[i] == 0 || flags_[i] == 1, "mirror: expected 0 or 1, got ", flags_[i],
             " for sample ", i, ".");
      mirror_[i] = static_cast<uint8_t>(flags_[i]);
    }
  }

  const DALIDataType out_type_;
  std::vector<int64_t> flags_;  // as they came; kept from batch to batch, as is mirror_
};

}  // namespace msda::native
