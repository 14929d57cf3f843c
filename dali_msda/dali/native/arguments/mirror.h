// The argument `mirror`: one flag per sample, given for each or for all.
#pragma once
#include <cstdint>
#include <vector>

#include "arguments/check.h"

namespace msda::native {

class Mirror {
 public:
  void Read(const OpSpec& spec, const Workspace& ws, int samples) {
    if (spec.HasTensorArgument("mirror")) {
      read_integers(given_, ws.ArgumentInput("mirror"), "mirror");
    } else {
      given_.assign(samples, spec.GetArgument<int>("mirror"));
    }
    flags_.resize(given_.size());
    for (size_t i = 0; i < given_.size(); ++i) {
      expect(given_[i] == 0 || given_[i] == 1, "mirror: expected 0 or 1, got ", given_[i],
             " for sample ", i, ".");
      flags_[i] = static_cast<uint8_t>(given_[i]);
    }
  }

  const uint8_t* data() const { return flags_.data(); }

 private:
  std::vector<int64_t> given_;  // kept from batch to batch
  std::vector<uint8_t> flags_;
};

}  // namespace msda::native
