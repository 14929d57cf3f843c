// Where the machine code of the GPU's kernels comes from: NVRTC, by way of Python, or files.
#pragma once
#include <cstdint>
#include <string>

namespace msda::gpu {

// Returns the machine code of kernels/cuda/<source>.cu for a kind of device, such as "sm_90".  In a
// process with dali_msda.dali, the function that msda_set_compiler was given finds or makes it.
// Elsewhere, as in a server without Python, it lies beside this library, where
// `python -m dali_msda build --arch` puts it.  If there is none, throws std::runtime_error with the
// command that makes it.
std::string machine_code(const std::string& source, const std::string& arch);

}  // namespace msda::gpu

extern "C" {

// Writes the path of a source's machine code for a kind of device into `answer`, of `room` bytes,
// and returns 1.  If there is none, writes the reason and returns 0.
using MsdaCompiler = int32_t (*)(const char* source, const char* arch, char* answer, int64_t room);

// Sets this function for all operators that are made from now on; null for none.
__attribute__((visibility("default"))) void msda_set_compiler(MsdaCompiler compiler);
}
