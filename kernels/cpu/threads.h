// A pool of threads for the CPU backend.  Which thread does which part never changes a result.
#pragma once
#include <cstdint>
#include <mutex>

namespace msda {

// Work on units [begin, end) of a job.
using Task = void (*)(const void* job, int64_t begin, int64_t end);

// Runs `task` over [0, units), in parts of `grain` or a multiple of it, and returns when all is
// done.  It uses up to `threads` threads, the caller among them; 0 means as many as this process
// may use.  There are fewer where no more can be started.  Throws std::bad_alloc if a task threw;
// some parts are then not done.
void parallel_for(int64_t units, int64_t grain, int32_t threads, Task task, const void* job);

// The lock for what all threads of a process share.  A forked child never finds it held.
std::mutex& mutex_of_process();

}  // namespace msda
