// The kernels that mix a batch, of one channel or three: msda_blend_<type of the inputs>_<type of
// the outputs>.
#include "cuda/blend.cuh"

extern "C" {
using namespace msda;

// Four blocks of 256 threads share a multiprocessor: 64 registers for each thread.
__global__ void __launch_bounds__(256, 4)
    msda_blend_uint8_uint8(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, uint8_t>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_blend_uint8_float32(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, float>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_blend_uint8_float16(const __grid_constant__ MsdaGpuBlend b) {
  blend<uint8_t, Float16>(b);
}
__global__ void __launch_bounds__(256, 4)
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
