// What the threads of a block do to values that they share.
#pragma once
#include "msda/portable.h"

namespace msda {

// Adds 1 to a counter that the threads of a block share.  Returns what the counter was before.
MSDA_FN uint32_t add_one(uint32_t* counter) {
#if defined(__CUDA_ARCH__)
  return atomicAdd(counter, 1u);
#else
  return (*counter)++;
#endif
}

// Makes a value that the threads of a block share the greater one of itself and another.
MSDA_FN void raise_to(int32_t* shared, int32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMax(shared, value);
#else
  if (value > *shared) *shared = value;
#endif
}

MSDA_FN void raise_to(uint64_t* shared, uint64_t value) {
#if defined(__CUDA_ARCH__)
  atomicMax(reinterpret_cast<unsigned long long*>(shared), value);
#else
  if (value > *shared) *shared = value;
#endif
}

}  // namespace msda
