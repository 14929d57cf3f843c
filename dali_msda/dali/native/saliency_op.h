// fn.msda.saliency: inputs, arguments and their checks, for every backend.  The backend's file
// (saliency_cpu.cc, saliency_gpu.cc) does the work.
#pragma once
#include <limits>
#include <vector>

#include "arguments/check.h"
#include "arguments/mirror.h"
#include "cpu/api.h"
#include "dali/pipeline/operator/checkpointing/stateless_operator.h"

namespace msda::native {

// Input 0: images, uint8 or float32 HWC.  Outputs: peaks, int32 (2,), and maps, uint8 (H, W).
template <typename Backend>
class SaliencyOp : public dali::StatelessOperator<Backend> {
 public:
  explicit SaliencyOp(const OpSpec& spec)
      : dali::StatelessOperator<Backend>(spec), maps_(spec.GetArgument<bool>("maps")) {}

 protected:
  bool SetupImpl(std::vector<OutputDesc>& outputs, const Workspace& ws) override {
    const auto& images = ws.Input<Backend>(0);
    const int batch = images.num_samples();
    expect(images.type() == DALI_UINT8 || images.type() == DALI_FLOAT,
           "images: expected uint8 or float, got ", images.type(), "; cast them with fn.cast.");
    dali::TensorListShape<> sizes(batch, 2);
    for (int i = 0; i < batch; ++i) {
      const auto shape = images.tensor_shape_span(i);
      const bool fits = shape[0] > 0 && shape[1] > 0 && (shape[2] == 1 || shape[2] == 3) &&
                        shape[0] * shape[1] <= std::numeric_limits<int32_t>::max();
      expect(fits,
             "images: expected at least one pixel, fewer than 2^31, and 1 or 3 channels, got (",
             images.tensor_shape(i), ") for sample ", i, ".");
      sizes.set_tensor_shape(i, TensorShape<2>{shape[0], shape[1]});
    }
    mirror_.Read(this->spec_, ws, batch);
    outputs = {{dali::uniform_list_shape(batch, {2}), DALI_INT32}};
    if (maps_) outputs.push_back({sizes, DALI_UINT8});
    return true;
  }

  // Size, channels and flag of an image, with nothing to write to yet.
  MsdaSaliency Image(const Workspace& ws, int i) const {
    const auto& images = ws.Input<Backend>(0);
    const auto shape = images.tensor_shape_span(i);
    MsdaSaliency image = {};
    image.mirror = mirror_.data() + i;
    image.height = static_cast<int32_t>(shape[0]);
    image.width = static_cast<int32_t>(shape[1]);
    image.channels = static_cast<int32_t>(shape[2]);
    image.in_dtype = images.type() == DALI_UINT8 ? kUint8 : kFloat32;
    return image;
  }

  const bool maps_;

 private:
  Mirror mirror_;
};

}  // namespace msda::native
