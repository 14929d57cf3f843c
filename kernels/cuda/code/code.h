// Where the code of the GPU's kernels comes from: a pack beside this library, or NVRTC by way of
// Python.
#pragma once
#include <cstdint>
#include <string>

namespace msda::gpu {

// Returns code of kernels/cuda/<source>.cu for a kind of device, such as "sm_90": machine code, or
// PTX for the driver to compile.  A pack beside this library comes first (code_pack.h).  If it has
// no code that the device and its driver take, the function that msda_set_compiler was given finds
// or makes it.  In a process without Python there is none; then std::runtime_error is thrown with
// the command that makes a pack.
std::string machine_code(const std::string& source, const std::string& arch);

// Says which CUDA some code was compiled by and which one the driver serves, for the message when
// the driver refuses it.
std::string versions(const std::string& code);

}  // namespace msda::gpu

extern "C" {

// Writes the path of a source's code for a kind of device into `answer`, of `room` bytes, and
// returns 1.  If there is none, writes the reason and returns 0.
using MsdaCompiler = int32_t (*)(const char* source, const char* arch, char* answer, int64_t room);

// Sets this function for all operators that are made from now on; null for none.
__attribute__((visibility("default"))) void msda_set_compiler(MsdaCompiler compiler);

// What the pack beside this library holds for a device.
enum MsdaPacked : int32_t {
  kPackDamaged = -1,  // or it is not this library's
  kPackMissing = 0,   // there is no pack
  kPackWithout = 1,   // it has no code for the device
  kPackTooNew = 2,    // it has, but the driver does not take it
  kPackHasCode = 3,
};

// Returns an MsdaPacked.  Writes the kind of the packed code that a kind of device would run, or
// why there is none.
int32_t msda_packed_kind(const char* source, const char* arch, char* answer, int64_t room);

// Writes which of these kinds of code, with spaces between them, a kind of device runs best: an
// empty text if none.
void msda_best_kind(const char* kinds, const char* arch, char* answer, int64_t room);
}
