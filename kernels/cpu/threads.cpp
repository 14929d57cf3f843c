#include "cpu/threads.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

namespace msda {
namespace {

// A thread takes 1 / (threads * kPartsPerThread) of what is left.  So parts are large at first, and
// one thread does what lies side by side; they are small in the end, and a slow thread is soon
// waited for.
constexpr int64_t kPartsPerThread = 4;

struct Job {
  Task task;
  const void* argument;
  int64_t units, grain, parts;  // a thread takes 1 / parts of what is left
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};

  // Takes the next part, if there is one.
  bool take(int64_t* begin, int64_t* end) {
    *begin = next.load();
    do {
      if (*begin >= units) return false;
      const int64_t part = std::max(grain, (units - *begin) / parts / grain * grain);
      *end = std::min(units, *begin + part);
    } while (!next.compare_exchange_weak(*begin, *end));
    return true;
  }

  void work() noexcept {
    int64_t begin, end;
    try {
      while (take(&begin, &end)) task(argument, begin, end);
    } catch (...) {
      failed = true, next = units;  // nobody takes the parts that are left
    }
  }
};

int32_t available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

// Threads wait for a job, take parts of it until none is left, and wait again.
class Pool {
 public:
  void run(Job& job, int32_t helpers) {
    std::lock_guard<std::mutex> one_job_at_a_time(callers_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (threads_ < helpers && start_thread()) ++threads_;
      job_ = &job;
      wanted_ = std::min(helpers, threads_);
    }
    wake_.notify_all();
    job.work();
    std::unique_lock<std::mutex> lock(mutex_);
    wanted_ = 0;  // a thread that has not woken yet is no longer needed
    done_.wait(lock, [this] { return busy_ == 0; });
    job_ = nullptr;
  }

 private:
  // False where the system refuses one more, as containers do.
  bool start_thread() {
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {
      return false;
    }
    return true;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return wanted_ > 0; });
      --wanted_, ++busy_;
      Job* job = job_;
      lock.unlock();
      job->work();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex callers_, mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  int32_t threads_ = 0, wanted_ = 0, busy_ = 0;
};

// The pool of this process.  A forked child (a DataLoader worker) inherits none of the threads, so
// it gets a pool of its own; the pool is never destroyed, since its threads outlive main().
Pool& pool() {
  static Pool* current = nullptr;
  static pid_t owner = 0;
  std::lock_guard<std::mutex> lock(mutex_of_process());
  if (owner != getpid()) current = new Pool, owner = getpid();
  return *current;
}

std::mutex of_process;
// A fork waits until the lock is free and holds it meanwhile: the thread that holds it otherwise
// would not exist in the child, where nobody could ever take the lock.
[[maybe_unused]] const int registered = pthread_atfork(
    [] { of_process.lock(); }, [] { of_process.unlock(); }, [] { of_process.unlock(); });

}  // namespace

std::mutex& mutex_of_process() { return of_process; }

void parallel_for(int64_t units, int64_t grain, int32_t threads, Task task, const void* job) {
  if (units <= 0) return;
  grain = std::max<int64_t>(1, grain);
  if (threads <= 0) threads = available_cores();
  threads = static_cast<int32_t>(std::min<int64_t>(threads, (units + grain - 1) / grain));
  if (threads <= 1) return task(job, 0, units);
  Job shared{task, job, units, grain, kPartsPerThread * threads};
  pool().run(shared, threads - 1);
  if (shared.failed) throw std::bad_alloc();
}

}  // namespace msda
