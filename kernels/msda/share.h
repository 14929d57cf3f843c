// How the threads of a block share out work.
#pragma once
#include "msda/portable.h"

namespace msda {

// Of a number of items, thread t takes t, t + threads, ...
struct Share {
  int32_t thread, threads;
};

}  // namespace msda
