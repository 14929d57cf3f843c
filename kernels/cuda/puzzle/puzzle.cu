// Puzzle Mix.  msda_puzzle_pool_<type of the images> makes what is needed of each sample,
// msda_puzzle_masks the masks and what moves, msda_puzzle_blend_<type of the inputs>_<type of the
// outputs> the images; msda_puzzle_weights puts label weights into records.
#include "cuda/grid_items.cuh"
#include "cuda/puzzle/blend.cuh"
#include "cuda/puzzle/masks.cuh"
#include "cuda/puzzle/pool.cuh"

#define MSDA_PUZZLE_BLEND(types, In, Out)                                       \
  __global__ void __launch_bounds__(256, 4)                                     \
      msda_puzzle_blend_##types(const __grid_constant__ MsdaGpuPuzzleBlend b) { \
    blend_places<In, Out>(b);                                                   \
  }

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
MSDA_EACH_TYPES(MSDA_PUZZLE_BLEND)
}  // extern "C"
