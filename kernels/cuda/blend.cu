// The kernels that mix a batch: msda_blend_<type of the inputs>_<type of the outputs>.  Those of
// gather.cu are needed where msda_needs_gather (host/geometry.h) says so.
#include "cuda/blend.cuh"

namespace msda {
namespace {

template <typename In, typename Out>
__device__ __forceinline__ void blend(const MsdaGpuBlend& b) {
  if (b.channels == 3) return blend_groups<In, Out, 3, false>(b);
  if (b.channels == 1) return blend_groups<In, Out, 1, false>(b);
  each_grid_item(b.batch, b.height, b.width * b.channels, [&b](int32_t i, int32_t y, int32_t k) {
    blend_one<In, Out>(b, i, y, k / b.channels, k % b.channels);
  });
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

__global__ void msda_blend_uint8_uint8(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, uint8_t>(b);
}
__global__ void msda_blend_uint8_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, float>(b);
}
__global__ void msda_blend_uint8_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, Float16>(b);
}
__global__ void msda_blend_uint8_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, Bfloat16>(b);
}
__global__ void msda_blend_float32_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend<float, float>(b);
}
__global__ void msda_blend_float32_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend<float, Float16>(b);
}
__global__ void msda_blend_float32_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend<float, Bfloat16>(b);
}
}  // extern "C"
