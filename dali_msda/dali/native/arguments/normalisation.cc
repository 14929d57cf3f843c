#include "arguments/normalisation.h"

#include <algorithm>
#include <cmath>

#include "arguments/check.h"

namespace msda::native {

Normalisation::Normalisation(const OpSpec& spec)
    : scales_(spec.GetRepeatedArgument<float>("scale")),
      shifts_(spec.GetRepeatedArgument<float>("shift")) {
  expect(scales_.size() == shifts_.size(), "shift: expected ", scales_.size(),
         " values, as scale has, got ", shifts_.size(), ".");
  const bool has_mean_or_std = spec.HasArgument("mean") || spec.HasArgument("std");
  expect(
      scales_.empty() || !has_mean_or_std,
      "scale: expected none with mean or std, which it replaces; leave out the one or the other.");
  if (!has_mean_or_std) return;
  const auto means = spec.GetRepeatedArgument<float>("mean");
  const auto stds = spec.GetRepeatedArgument<float>("std");
  expect(means.size() == stds.size() || means.size() == 1 || stds.size() == 1,
         "mean: expected 1 or ", stds.size(), " values, as std has, got ", means.size(), ".");
  expect(!means.empty() && !stds.empty(), "mean, std: expected at least one value, got none.");
  for (size_t c = 0; c < std::max(means.size(), stds.size()); ++c) {
    const double mean = means[means.size() == 1 ? 0 : c], std = stds[stds.size() == 1 ? 0 : c];
    expect(std::isfinite(mean), "mean: expected finite numbers, got ", mean, ".");
    expect(std::isfinite(std) && std > 0, "std: expected finite numbers > 0, got ", std,
           "; it is in units of the input's pixels.");
    scales_.push_back(static_cast<float>(1.0 / std));
    shifts_.push_back(static_cast<float>(-mean / std));
  }
}

void Normalisation::Fit(int32_t channels) {
  const auto wanted = static_cast<size_t>(channels);
  if (!is_given() || fitted_scales_.size() == wanted) return;
  expect(scales_.size() == 1 || scales_.size() == wanted, "mean, std: expected 1 or ", channels,
         " values, one per channel of images, got ", scales_.size(), ".");
  fitted_scales_ = scales_;
  fitted_shifts_ = shifts_;
  fitted_scales_.resize(wanted, scales_[0]);
  fitted_shifts_.resize(wanted, shifts_[0]);
}

}  // namespace msda::native
