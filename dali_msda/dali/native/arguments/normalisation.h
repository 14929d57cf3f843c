// The arguments `mean` and `std`, or `scale` and `shift`, as the blend takes them: one scale and
// one shift per channel.
#pragma once
#include <cstdint>
#include <vector>

#include "arguments/dali_names.h"

namespace msda::native {

class Normalisation {
 public:
  explicit Normalisation(const OpSpec& spec);

  bool is_given() const { return !scales_.empty(); }
  // Makes them fit images of so many channels.  Throws unless there is one value, or one per
  // channel.
  void Fit(int32_t channels);

  // Null if none of the arguments was given.
  const float* scale() const { return is_given() ? fitted_scales_.data() : nullptr; }
  const float* shift() const { return is_given() ? fitted_shifts_.data() : nullptr; }

 private:
  std::vector<float> scales_, shifts_;  // one value, or one per channel
  std::vector<float> fitted_scales_, fitted_shifts_;
};

}  // namespace msda::native
