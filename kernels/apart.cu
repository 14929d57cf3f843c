// The mixed batch, where some records take more than a pixel's own place in two sources: as
// blend.cu, whose kernels have fewer registers without that.  msda_apart_<type of the inputs>_<type
// of the outputs>: one channel or three.
#include "msda/apart.h"
#include "walk.cuh"

namespace msda {
namespace {

template <typename In, typename Out, int32_t kChannels>
__device__ __forceinline__ void all_groups(const MsdaGpuBlend& b) {
  constexpr int32_t kPixels = 16 / static_cast<int32_t>(sizeof(Out));
  using H = Held<In, kChannels, kPixels>;
  walk(b.batch / b.interpolations, b.height, (b.width + kPixels - 1u) / kPixels,
       [&b](int32_t i, int32_t y, int32_t k) {
         blend_group<H, Out, true>(b, i * b.interpolations, y, k * kPixels);
       });
}

template <typename In, typename Out>
__device__ __forceinline__ void blend_all(const MsdaGpuBlend& b) {
  b.channels == 3 ? all_groups<In, Out, 3>(b) : all_groups<In, Out, 1>(b);
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

__global__ void msda_apart_uint8_uint8(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, uint8_t>(b);
}
__global__ void msda_apart_uint8_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, float>(b);
}
__global__ void msda_apart_uint8_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, Float16>(b);
}
__global__ void msda_apart_uint8_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, Bfloat16>(b);
}
__global__ void msda_apart_float32_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<float, float>(b);
}
__global__ void msda_apart_float32_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<float, Float16>(b);
}
__global__ void msda_apart_float32_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<float, Bfloat16>(b);
}
}  // extern "C"
