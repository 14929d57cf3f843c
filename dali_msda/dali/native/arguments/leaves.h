// A policy as operator arguments: one list per setting, one entry per leaf.
#pragma once
#include <vector>

#include "arguments/dali_names.h"
#include "cpu/api.h"

namespace msda::native {

// Reads and checks the leaves; throws with the argument's name, what is expected and what was got.
std::vector<MsdaLeaf> read_leaves(const OpSpec& spec);

}  // namespace msda::native
