// Which instruction set to use: 0 x86-64, 1 x86-64-v3, 2 x86-64-v4, 3 that with VBMI.
#pragma once
#include <cstdint>

namespace msda {

// The one asked for, or the best that this machine has for -1; never one that it lacks.
int32_t chosen_isa(int32_t wanted);

}  // namespace msda
