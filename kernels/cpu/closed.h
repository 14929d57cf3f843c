// How the C functions keep exceptions in: none may leave them, because their callers may be Python
// or C.
#pragma once
#include <new>

#include "cpu/api.h"

namespace msda {

// Runs the body of a C function.  All that a body throws is what the standard library throws where
// memory is refused or a container cannot hold so much.
template <typename Body>
int32_t closed(const Body& body) noexcept {
  try {
    body();
  } catch (...) {
    return kNoMemory;
  }
  return kDone;
}

// For C++ that calls the C functions: throws if one returns that memory was refused.
inline void expect_done(int32_t status) {
  if (status != kDone) throw std::bad_alloc();
}

}  // namespace msda
