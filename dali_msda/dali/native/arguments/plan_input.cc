#include "arguments/plan_input.h"

#include <cstring>
#include <string>

#include "arguments/check.h"

namespace msda::native {
namespace {

// "height x width", with the depth in front where there is one.
std::string words_of(const SampleSize& size) {
  const std::string image = dali::make_string(size.height, " x ", size.width);
  return size.is_image && size.depth == 1 ? image : dali::make_string(size.depth, " x ", image);
}

}  // namespace

void PlanInput::Read(const TensorList<CPUBackend>& batch) {
  expect(batch.type() == DALI_UINT8, "plans: expected uint8, got ", batch.type(),
         "; give the output of fn.msda.plan.");
  const int samples = batch.num_samples();
  interpolations_ = 0;
  plans_.clear();
  for (int i = 0; i < samples; ++i) {
    const auto shape = batch.tensor_shape_span(i);
    const bool fits = (shape.size() == 1 || (shape.size() == 2 && shape[0] > 0)) &&
                      shape.back() == int64_t{sizeof(Plan)};
    expect(fits, "plans: expected shape (", sizeof(Plan), ") or (k, ", sizeof(Plan), "), got (",
           batch.tensor_shape(i), ") for sample ", i, "; give the output of fn.msda.plan.");
    const int count = shape.size() == 2 ? static_cast<int>(shape[0]) : 0;
    if (i == 0) interpolations_ = count;
    expect(count == interpolations_, "plans: expected one shape in a batch, got (",
           batch.tensor_shape(0), ") for sample 0 and (", batch.tensor_shape(i), ") for sample ", i,
           ".");
    const size_t first = plans_.size();
    plans_.resize(first + interpolations());
    std::memcpy(&plans_[first], batch.raw_tensor(i), interpolations() * sizeof(Plan));
  }
  char fault[256];
  const int64_t wrong = msda_check(plans_.data(), size(), samples, nullptr, 0, fault, sizeof fault);
  expect(wrong < 0, "plans[", wrong, "]: ", fault, ".");
  for (int i = 0; i < size(); ++i)
    expect(plans_[i].method != kPuzzleMix, "plans[", i,
           "]: expected a method that needs no gradients of the model, got puzzlemix; mix in the "
           "training step, with dali_msda.torch.PuzzleMix.");
}

dali::TensorShape<> PlanInput::Shaped(const dali::TensorShape<>& shape) const {
  if (interpolations_ == 0) return shape;
  return dali::shape_cat(int64_t{interpolations_}, shape);
}

void PlanInput::ExpectSize(const SampleSize& size) const {
  for (int i = 0; i < this->size(); ++i) {
    const Plan& plan = plans_[i];
    const bool fits =
        plan.depth == size.depth && plan.height == size.height && plan.width == size.width;
    if (fits) continue;  // the sizes are put into words only where they are needed
    const SampleSize got = {plan.depth, plan.height, plan.width, size.is_image};
    DALI_FAIL("plans[", i, "]: expected a plan for images of ", words_of(size), ", got one for ",
              words_of(got), "; draw it from images of this size and layout.");
  }
}

}  // namespace msda::native
