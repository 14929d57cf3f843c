// The plans that an operator is given.  They are copied out of DALI's samples and checked, because
// a bad one would make a kernel read outside the batch.
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

  // Takes one plan of each sample, (160), or one for each interpolation, (k, 160).  Throws if one
  // is bad, and says which, what is expected and what was got.
  void Read(const TensorList<CPUBackend>& batch);
  // Throws unless the plans were drawn for samples of this size.
  void ExpectSize(const SampleSize& size) const;

  const msda::Plan* data() const { return plans_.data(); }
  int size() const { return static_cast<int>(plans_.size()); }
  int interpolations() const { return std::max(1, interpolations_); }
  // The shape of what is made for one sample: the axis of the plans, if they have one, comes first.
  dali::TensorShape<> Shaped(const dali::TensorShape<>& shape) const;
  const msda::Plan& operator[](int i) const { return plans_[i]; }

 private:
  std::vector<msda::Plan> plans_;
  int interpolations_ = 0;  // 0: the plans have no axis for them
};

}  // namespace msda::native
