// The CPU backend's entry points.  They pick the build for this machine and share the work among
// threads.
#include "cpu/api.h"

#include <algorithm>
#include <memory>
#include <new>

#include "cpu/closed.h"
#include "cpu/isa.h"
#include "cpu/threads.h"
#include "msda/mask.h"
#include "msda/target.h"

namespace msda {
namespace {

// Memory of the calling thread, aligned to 64 bytes.  It is kept between calls, and only grows.
char* thread_scratch(int64_t bytes) {
  struct Free {
    void operator()(char* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  static thread_local std::unique_ptr<char[], Free> memory;
  static thread_local int64_t held = 0;
  if (held < bytes) {
    memory.reset(static_cast<char*>(::operator new[](bytes, std::align_val_t{64})));
    held = bytes;
  }
  return memory.get();
}

// What a thread needs for msda_mask.
struct MaskJob {
  float* weights;
  const Plan* plans;
  const void* const* fields;
  int32_t height, width;
};

// Values in a part of a job.  Smaller parts are not worth waking a thread for.
constexpr int64_t kGrainValues = 1 << 16;

void order_pairs(int32_t* order, const Plan* plans, int32_t batch, int32_t interpolations) {
  const int32_t pairs = batch / interpolations;
  char* done = thread_scratch(pairs);
  std::fill(done, done + pairs, 0);
  int32_t count = 0;
  for (int32_t first = 0; first < pairs; ++first)
    for (int32_t i = first; i < pairs && !done[i];) {
      done[i] = 1, order[count++] = i;
      const Plan& p = plans[int64_t{i} * interpolations];
      if (p.sources > 1) i = p.source[1];
    }
}

void blend_range(const MsdaBlend& b, int64_t begin, int64_t end) {
  kernels_of(b.isa).blend_rows(b, begin, end, thread_scratch(scratch_bytes(b)));
}

void blend(const MsdaBlend* b) {
  const int64_t row = std::max<int64_t>(1, static_cast<int64_t>(b->width) * b->channels);
  if (b->pairs) {
    const auto task = [](const void* job, int64_t begin, int64_t end) {
      const auto& blend = *static_cast<const MsdaBlend*>(job);
      kernels_of(blend.isa).blend_pairs(blend, begin, end,
                                        thread_scratch(pair_scratch_bytes(blend)));
    };
    return parallel_for(b->batch, std::max<int64_t>(1, kGrainValues / (row * b->height)),
                        b->threads, task, b);
  }
  const auto task = [](const void* job, int64_t begin, int64_t end) {
    blend_range(*static_cast<const MsdaBlend*>(job), begin, end);
  };
  // Whole samples where they are small, whole blocks of rows where they are large.
  const int64_t rows =
      std::max<int64_t>(rows_per_block(*b), kGrainValues / (row * b->interpolations));
  parallel_for(msda_blend_rows(b), rows, b->threads, task, b);
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

int32_t msda_order(int32_t* order, const Plan* plans, int32_t batch, int32_t interpolations) {
  return closed([=] { order_pairs(order, plans, batch, interpolations); });
}

int32_t msda_blend_range(const MsdaBlend* b, int64_t begin, int64_t end) {
  return closed([=] { blend_range(*b, begin, end); });
}

int32_t msda_blend(const MsdaBlend* b) {
  return closed([=] { blend(b); });
}

int64_t msda_blend_rows(const MsdaBlend* b) {
  return static_cast<int64_t>(b->batch / b->interpolations) * b->height;
}

int32_t msda_mask(float* weights, const Plan* plans, const void* const* fields, int32_t batch,
                  int32_t height, int32_t width, int32_t threads) {
  const MaskJob job = {weights, plans, fields, height, width};
  const auto task = [](const void* argument, int64_t begin, int64_t end) {
    const auto& m = *static_cast<const MaskJob*>(argument);
    for (int64_t row = begin; row < end; ++row) {
      const Plan& p = m.plans[row / m.height];
      const void* mask = has_mask(p) ? m.fields[row / m.height] : nullptr;
      for (int32_t x = 0; x < m.width; ++x)
        m.weights[row * m.width + x] = own_weight(p, mask, static_cast<int32_t>(row % m.height), x);
    }
  };
  const int64_t rows = static_cast<int64_t>(batch) * height;
  return closed([=, &job] {
    parallel_for(rows, kGrainValues / std::max(1, width) + 1, threads, task, &job);
  });
}

void msda_targets_dense(float* rows, const MsdaTargets* t) {
  for (int32_t i = 0; i < t->batch; ++i) {
    float* row = rows + static_cast<int64_t>(i) * t->classes;
    if (t->labels)
      target_from_labels(row, t->plans[i], t->labels, t->classes, t->smoothing);
    else
      target_from_rows(row, t->plans[i], t->rows, t->classes, t->smoothing);
  }
}

void msda_targets_compact(int64_t* labels, float* weights, const MsdaTargets* t) {
  for (int32_t i = 0; i < t->batch; ++i)
    for (int32_t k = 0; k < kMaxSources; ++k) {
      const Plan& p = t->plans[i];
      labels[i * kMaxSources + k] = t->labels[p.source[k < p.sources ? k : 0]];
      weights[i * kMaxSources + k] = k < p.sources ? p.weight[k] : 0.0f;
    }
}
}
