// Phases of a block of threads, run by the CPU (tests).
#pragma once
#include "msda/share.h"

namespace msda {

// Threads of a phase in one of several orders: what depends on it is a race.
enum Order : int32_t { kForward = 1, kReversed = 2, kShuffled = 3 };

template <typename Phase>
void each_thread(int32_t threads, int32_t order, Phase phase) {
  for (int32_t i = 0; i < threads; ++i) {
    int32_t thread = order == kReversed ? threads - 1 - i : i;
    if (order == kShuffled) thread = static_cast<int32_t>(i * int64_t{7919} % threads);
    phase(Share{thread, threads});
  }
}

}  // namespace msda
