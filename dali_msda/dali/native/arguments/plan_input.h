// The plans that an operator is given: copied out of DALI's samples and checked, because a bad one
// would read outside the batch.
#pragma once
#include <algorithm>
#include <vector>

#include "arguments/dali_names.h"
#include "arguments/sample_layout.h"
#include "cpu/api.h"

namespace msda::native {

class PlanInput {
 public:
  explicit PlanInput(int max_batch_size) { plans_.reserve(max_batch_size); }

  // Of each sample one plan, (160), or one for each interpolation, (k, 160).  Throws with the
  // sample, the field, what is expected and what was got.
  void Read(const TensorList<CPUBackend>& batch);
  // The plans were drawn for samples of this size.
  void ExpectSize(const SampleSize& size) const;

  const msda::Plan* data() const { return plans_.data(); }
  int size() const { return static_cast<int>(plans_.size()); }
  int interpolations() const { return std::max(1, interpolations_); }
  // The shape of what is made for one sample: that of the plans leads.
  dali::TensorShape<> Shaped(const dali::TensorShape<>& shape) const;
  const msda::Plan& operator[](int i) const { return plans_[i]; }

 private:
  std::vector<msda::Plan> plans_;
  int interpolations_ = 0;  // 0: the plans have no axis for them
};

}  // namespace msda::native
