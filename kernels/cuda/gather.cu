// The kernels that mix a batch of which some records gather pixels (gather.h), for one channel or
// three: msda_gather_<type of the inputs>_<type of the outputs>.  Other batches take those of
// blend.cu, which need fewer registers.
#include "cuda/blend.cuh"

namespace msda {
namespace {

template <typename In, typename Out>
__device__ __forceinline__ void blend_all(const MsdaGpuBlend& b) {
  b.channels == 3 ? blend_groups<In, Out, 3, true>(b) : blend_groups<In, Out, 1, true>(b);
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

// The bound means 128 registers a thread.  For sm_80 the compiler would take a few more, and a
// multiprocessor would hold half as many blocks.
__global__ void __launch_bounds__(256, 2)
    msda_gather_uint8_uint8(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, uint8_t>(b);
}
__global__ void msda_gather_uint8_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, float>(b);
}
__global__ void msda_gather_uint8_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, Float16>(b);
}
__global__ void msda_gather_uint8_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<uint8_t, Bfloat16>(b);
}
__global__ void msda_gather_float32_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<float, float>(b);
}
__global__ void msda_gather_float32_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<float, Float16>(b);
}
__global__ void msda_gather_float32_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend_all<float, Bfloat16>(b);
}
}  // extern "C"
