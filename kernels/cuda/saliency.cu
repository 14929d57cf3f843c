// Saliency maps and their peaks, a block of threads for each image: msda_saliency_<type of the
// images>.  What a block keeps of an image lies in the workspace, about ten bytes for each pixel.
#include "cuda/group.cuh"
#include "msda/saliency.h"

namespace msda {
namespace {

constexpr int32_t kThreads = 1024;  // the most that a block has

template <typename In>
__device__ __forceinline__ void find(const SaliencyBlock& b, const In* image, int32_t* peak,
                                     BlockThread me) {
  phase_grey(b, image, me);
  __syncthreads();
  phase_smooth(b, b.other, b.grey, me);
  __syncthreads();
  phase_smooth(b, b.grey, b.other, me);
  __syncthreads();
  phase_runs(b, me);
  __syncthreads();
  phase_row_sums(b, me);
  __syncthreads();
  phase_column_sums(b, me);
  __syncthreads();
  phase_contrasts(b, me);
  __syncthreads();
  phase_fold_sums(b, me);
  __syncthreads();
  phase_greatest(b, me);
  __syncthreads();
  phase_map(b, me);
  __syncthreads();
  phase_fold_peaks(b, me);
  __syncthreads();
  phase_peak(b, peak, me);
}

template <typename In>
__device__ __forceinline__ void saliency(const MsdaGpuSaliency& a) {
  __shared__ uint64_t found[kThreads];
  __shared__ Greatest greatest[2];
  const BlockThread me = {static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(blockDim.x)};
  SaliencyBlock b = {};
  b.height = a.height, b.width = a.width, b.channels = a.channels;
  place_in(&b, a.workspace + blockIdx.x * a.per_block);
  b.found = found, b.greatest = greatest;
  for (int32_t i = blockIdx.x; i < a.batch; i += gridDim.x) {
    b.map = a.maps.first || a.maps.each ? sample_at<uint8_t>(a.maps, i) : nullptr;
    b.mirrored = a.mirror && a.mirror[i];
    find(b, sample_at<const In>(a.ins, i), a.peaks + 2 * int64_t{i}, me);
  }
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

__global__ void __launch_bounds__(kThreads, 1)
    msda_saliency_uint8(const __grid_constant__ MsdaGpuSaliency a) {
  saliency<uint8_t>(a);
}
__global__ void __launch_bounds__(kThreads, 1)
    msda_saliency_float32(const __grid_constant__ MsdaGpuSaliency a) {
  saliency<float>(a);
}
}  // extern "C"
