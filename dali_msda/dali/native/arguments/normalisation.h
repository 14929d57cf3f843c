// The arguments `mean` and `std` as the blend takes them: one scale and one shift per channel.
#pragma once
#include <cstdint>
#include <vector>

#include "arguments/dali_names.h"

namespace msda::native {

class Normalisation {
 public:
  explicit Normalisation(const OpSpec& spec);

  bool is_given() const { return !scales_.empty(); }
  // For images of so many channels; throws if the arguments have neither one value nor as many.
  void Fit(int32_t channels);

  // Null if neither mean nor std was given.
  const float* scale() const { return is_given() ? fitted_scales_.data() : nullptr; }
  const float* shift() const { return is_given() ? fitted_shifts_.data() : nullptr; }

 private:
  std::vector<float> scales_, shifts_;  // one value, or one per channel
  std::vector<float> fitted_scales_, fitted_shifts_;
};

}  // namespace msda::native
