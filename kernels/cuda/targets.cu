// Soft labels.  msda_targets_dense_<type of the labels> makes rows of all classes, from class
// indices or, for float32, from rows that are soft already.  msda_targets_compact_<type of the
// labels> makes class indices and weights.
#include "cuda/arguments.h"
#include "cuda/grid_items.cuh"
#include "msda/target.h"

namespace msda {
namespace {

template <typename Label>
__device__ __forceinline__ void dense(const MsdaGpuTargets& t) {
  each_grid_item(1, t.batch, t.classes, [&t](int32_t, int32_t i, int32_t c) {
    t.rows[int64_t{i} * t.classes + c] = target_from_labels_at(
        t.plans[i], static_cast<const Label*>(t.source), c, t.classes, t.smoothing);
  });
}

template <typename Label>
__device__ __forceinline__ void compact(const MsdaGpuTargets& t) {
  each_grid_item(1, t.batch, kMaxSources, [&t](int32_t, int32_t i, int32_t k) {
    const Plan& p = t.plans[i];
    const bool used = k < p.sources;
    const int64_t at = int64_t{i} * kMaxSources + k;
    t.labels[at] = static_cast<const Label*>(t.source)[p.source[used ? k : 0]];
    t.weights[at] = used ? p.weight[k] : 0.0f;
  });
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

__global__ void __launch_bounds__(256)
    msda_targets_dense_int64(const __grid_constant__ MsdaGpuTargets t) {
  dense<int64_t>(t);
}
__global__ void __launch_bounds__(256)
    msda_targets_dense_int32(const __grid_constant__ MsdaGpuTargets t) {
  dense<int32_t>(t);
}
__global__ void __launch_bounds__(256)
    msda_targets_dense_float32(const __grid_constant__ MsdaGpuTargets t) {
  each_grid_item(1, t.batch, t.classes, [&t](int32_t, int32_t i, int32_t c) {
    t.rows[int64_t{i} * t.classes + c] = target_from_rows_at(
        t.plans[i], static_cast<const float*>(t.source), c, t.classes, t.smoothing);
  });
}
__global__ void __launch_bounds__(256)
    msda_targets_compact_int64(const __grid_constant__ MsdaGpuTargets t) {
  compact<int64_t>(t);
}
__global__ void __launch_bounds__(256)
    msda_targets_compact_int32(const __grid_constant__ MsdaGpuTargets t) {
  compact<int32_t>(t);
}
}  // extern "C"
