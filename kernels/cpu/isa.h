// The instruction sets that the kernels are compiled for, and which of them to use.
#pragma once
#include "cpu/simd/kernels.h"

namespace msda {

// An instruction set.  On x86, number 0 is x86-64, 1 x86-64-v3, 2 x86-64-v4, and 3 the same with
// VBMI; on aarch64, number 0 is NEON, which is the only one.
struct Isa {
  const char* name;
  const Kernels& kernels;
};

// The instruction set with this number, or the best one for -1; never one that this machine lacks.
const Isa& isa_of(int32_t wanted);

inline const Kernels& kernels_of(int32_t isa) { return isa_of(isa).kernels; }

}  // namespace msda
