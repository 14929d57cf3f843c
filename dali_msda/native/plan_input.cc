#include "plan_input.h"

#include <cmath>
#include <cstring>
#include <string>

#include "names.h"

namespace msda::native {
namespace {

// NaN fails, as it must.
bool is_share(float value) { return value >= 0 && value <= 1; }

void check_sources(const Plan& plan, int i, int batch) {
  expect(plan.sources >= 1 && plan.sources <= kMaxSources, "plans[", i, "].sources: expected 1 to ",
         kMaxSources, ", got ", int{plan.sources}, ".");
  for (int k = 0; k < plan.sources; ++k) {
    expect(plan.source[k] >= 0 && plan.source[k] < batch, "plans[", i, "].source[", k,
           "]: expected an index in [0, ", batch, "), got ", plan.source[k],
           "; a plan serves only a batch as large as the one it was drawn for.");
    expect(is_share(plan.weight[k]), "plans[", i, "].weight[", k,
           "]: expected a value in [0, 1], got ", plan.weight[k], ".");
  }
}

// The box may wrap: it starts inside the image and is no longer than it.
void check_box(const Plan& plan, int i) {
  const bool ordered = plan.y0 <= plan.y1 && plan.x0 <= plan.x1;
  const bool inside = 0 <= plan.y0 && plan.y0 <= plan.height && plan.y1 - plan.y0 <= plan.height &&
                      0 <= plan.x0 && plan.x0 <= plan.width && plan.x1 - plan.x0 <= plan.width;
  const bool may_wrap = plan.method != kResizeMix && plan.method != kCutout;
  const bool fits = may_wrap || (plan.y1 <= plan.height && plan.x1 <= plan.width);
  expect(ordered && inside && fits, "plans[", i, "]: expected a box in an image of ", plan.height,
         " x ", plan.width, ", got y ", plan.y0, " to ", plan.y1, ", x ", plan.x0, " to ", plan.x1,
         ".");
  expect(is_share(plan.inside) && is_share(plan.outside), "plans[", i,
         "]: expected own weights in [0, 1], got inside ", plan.inside, ", outside ", plan.outside,
         ".");
}

// "height x width", with the depth in front where there is one.
std::string words_of(const SampleSize& size) {
  const std::string image = dali::make_string(size.height, " x ", size.width);
  return size.is_image && size.depth == 1 ? image : dali::make_string(size.depth, " x ", image);
}

void check_depth(const Plan& plan, int i) {
  expect(plan.depth == 1 || serves_any_shape(plan.method), "plans[", i,
         "].depth: expected 1 for methods other than \"mixup\" and \"fmix\", got ", plan.depth,
         ".");
}

void check_field(const Plan& plan, int i) {
  // Real numbers: a product of three sizes of a broken record would overflow.
  const double pixels = double{1} * plan.depth * plan.height * plan.width;
  expect(plan.soft >= 0 && plan.count >= plan.soft && plan.count + int64_t{plan.soft} <= pixels,
         "plans[", i, "]: expected numbers of pixels that fit ", pixels, ", got count ", plan.count,
         ", soft ", plan.soft, ".");
  expect(plan.method != kFMix || pixels < 2147483648.0, "plans[", i,
         "]: expected fewer than 2^31 pixels for \"fmix\", got ", pixels, ".");
  for (const float value : {plan.falloff[0], plan.falloff[1], plan.falloff[2], plan.decay}) {
    expect(std::isfinite(value) && value >= 0, "plans[", i,
           "]: expected falloff and decay to be finite and at least 0, got ", value, ".");
  }
  expect(plan.decay <= 10, "plans[", i, "].decay: expected at most 10, got ", plan.decay, ".");
}

void check(const Plan& plan, int i, int batch) {
  expect(plan.version == kPlanVersion, "plans[", i, "].version: expected ", kPlanVersion, ", got ",
         plan.version, "; make the plans with fn.msda.plan or dali_msda.draw of this version.");
  if (!is_known_method(plan.method)) {  // the list of words is made only where it is needed
    DALI_FAIL("plans[", i, "].method: expected one of ", words_of(kMethodNames),
              " or 0 for none, got number ", int{plan.method}, ".");
  }
  check_sources(plan, i, batch);
  check_depth(plan, i);
  check_box(plan, i);
  check_field(plan, i);
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
  for (int i = 0; i < size(); ++i) check(plans_[i], i, samples);
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
