// Where the machine code of the GPU's kernels comes from: NVRTC's, by way of Python, or files.
#pragma once
#include <cstdint>
#include <string>

namespace msda::gpu {

// Machine code of kernels/<source>.cu for a kind of device, such as "sm_90".  In a process with
// dali_msda.dali, it is what msda_set_compiler was given that finds or makes it; elsewhere, as in a
// server without Python, it lies beside this library, where `python -m dali_msda build --arch` puts
// it.  Throws std::runtime_error with the command that makes it.
std::string machine_code(const std::string& source, const std::string& arch);

}  // namespace msda::gpu

extern "C" {

// Writes the path of a source's machine code for a kind of device into `answer`, which has so much
// room, and returns 1; or else writes why there is none, and returns 0.
using MsdaCompiler = int32_t (*)(const char* source, const char* arch, char* answer, int64_t room);

// Sets it for all operators that are made from now on; null for none.
__attribute__((visibility("default"))) void msda_set_compiler(MsdaCompiler compiler);
}
