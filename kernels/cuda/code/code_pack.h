// Machine code of the GPU's kernels that was compiled beforehand, in one file: a pack.  A release
// wheel brings one; `python -m dali_msda build --arch` makes one (dali_msda/backends/packs.py):
//
//   dali_msda kernels 1 <key>
//   <source> <kind> <bytes> <CRC-32>    a line for each piece of code
//                                       an empty line
//   the pieces, in the order of their lines
//
// A kind is "sm_90", machine code, or "compute_90", PTX, which the driver compiles.  The key covers
// everything that the kernels are compiled from.  A library takes the pack with its own key only.
#pragma once
#include <string>
#include <vector>

namespace msda::gpu {

struct Code {
  std::string kind, bytes;  // both are empty if there is none
};

// The file name of the pack that this library takes.
std::string pack_name();

// Returns the code in a pack of kernels/cuda/<source>.cu that a device such as "sm_90" runs best,
// as best_kind says.  Throws std::runtime_error if there is no such file, or if it is damaged or
// was not made for this library.
Code packed_code(const std::string& path, const std::string& source, const std::string& arch);

// Returns which of these kinds of code a device runs best, or an empty text if it runs none: its
// own; or else machine code for a lower minor version of the same major version, which newer
// devices run, though no Tegra does; or else the newest PTX that is not newer than the device.
std::string best_kind(const std::vector<std::string>& kinds, const std::string& arch);

}  // namespace msda::gpu
