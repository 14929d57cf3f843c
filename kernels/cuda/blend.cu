// The kernels that mix a batch, of one channel or three: msda_blend_<type of the inputs>_<type of
// the outputs>.
#include "cuda/blend.cuh"

// Blocks of 256 threads that share a multiprocessor: with four a thread has 64 registers.  Before
// sm_90 those are a few too few for bytes that become halves, and would be spilled.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define MSDA_HALF_BLOCKS 3
#else
#define MSDA_HALF_BLOCKS 4
#endif

extern "C" {
using namespace msda;

__global__ void __launch_bounds__(256, 4)
    msda_blend_uint8_uint8(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, uint8_t>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_blend_uint8_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, float>(b);
}
__global__ void __launch_bounds__(256, MSDA_HALF_BLOCKS)
    msda_blend_uint8_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, Float16>(b);
}
__global__ void __launch_bounds__(256, MSDA_HALF_BLOCKS)
    msda_blend_uint8_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, Bfloat16>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_blend_float32_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend<float, float>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_blend_float32_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend<float, Float16>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_blend_float32_bfloat16(const __grid_constant__ MsdaGpuBlend b) {
  blend<float, Bfloat16>(b);
}
}  // extern "C"
