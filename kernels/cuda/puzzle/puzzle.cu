// Puzzle Mix.  msda_puzzle_pool_<type of the images> makes what is needed of each sample,
// msda_puzzle_masks the masks and what moves, msda_puzzle_blend_<type of the inputs>_<type of the
// outputs> the images; msda_puzzle_weights puts label weights into records.
#include "cuda/grid_items.cuh"
#include "cuda/puzzle/blend.cuh"
#include "cuda/puzzle/masks.cuh"
#include "cuda/puzzle/pool.cuh"

extern "C" {
using namespace msda;

__global__ void __launch_bounds__(256, 4)
    msda_puzzle_pool_uint8(const __grid_constant__ MsdaGpuPuzzlePool a) {
  pool<uint8_t>(a);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_pool_float32(const __grid_constant__ MsdaGpuPuzzlePool a) {
  pool<float>(a);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_masks(const __grid_constant__ MsdaGpuPuzzleMasks a) {
  find_masks(a);
}
__global__ void __launch_bounds__(256)
    msda_puzzle_weights(const __grid_constant__ MsdaGpuPuzzleWeights a) {
  each_grid_item(1, 1, a.batch, [&a](int32_t, int32_t, int32_t i) {
    Plan& p = a.plans[i];
    p.weight[0] = a.own[i], p.weight[1] = p.sources > 1 ? 1.0f - a.own[i] : 0.0f;
  });
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_blend_uint8_uint8(const __grid_constant__ MsdaGpuPuzzleBlend b) {
  blend_places<uint8_t, uint8_t>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_blend_uint8_float32(const __grid_constant__ MsdaGpuPuzzleBlend b) {
  blend_places<uint8_t, float>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_blend_uint8_float16(const __grid_constant__ MsdaGpuPuzzleBlend b) {
  blend_places<uint8_t, Float16>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_blend_uint8_bfloat16(const __grid_constant__ MsdaGpuPuzzleBlend b) {
  blend_places<uint8_t, Bfloat16>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_blend_float32_float32(const __grid_constant__ MsdaGpuPuzzleBlend b) {
  blend_places<float, float>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_blend_float32_float16(const __grid_constant__ MsdaGpuPuzzleBlend b) {
  blend_places<float, Float16>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_puzzle_blend_float32_bfloat16(const __grid_constant__ MsdaGpuPuzzleBlend b) {
  blend_places<float, Bfloat16>(b);
}
}  // extern "C"
