// The way into every C function that may fail: no exception leaves one, for its caller may be
// Python or C.
#pragma once
#include <new>

#include "cpu/api.h"

namespace msda {

// Does what a C function is for.  All that a body throws is what the standard library throws where
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

// The way back, for C++ that calls the C functions.
inline void expect_done(int32_t status) {
  if (status != kDone) throw std::bad_alloc();
}

}  // namespace msda
