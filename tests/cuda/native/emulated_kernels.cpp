// All entry points of the GPU, to be run on the CPU (emulation.py).
#include "emulated_cuda.h"
// The kernels, as they are.
#include "cuda/blend.cu"
#include "cuda/field.cu"
#include "cuda/mask.cu"
#include "cuda/pairs.cu"
#include "cuda/puzzle/puzzle.cu"
#include "cuda/saliency.cu"
#include "cuda/targets.cu"
#include "cuda/values.cu"

namespace msda {
namespace {
thread_local float dynamic_shared[58368];  // 228 KB
}
}  // namespace msda

#define EMULATED_VALUES(types, ...) EMULATED(msda_values_##types, MsdaGpuBlend)
MSDA_EACH_TYPES(EMULATED_VALUES)
#define EMULATED_BLEND(types, ...) EMULATED(msda_blend_##types, MsdaGpuBlend)
MSDA_EACH_TYPES(EMULATED_BLEND)
EMULATED(msda_pairs_uint8, MsdaGpuBlend)
EMULATED(msda_pairs_float32, MsdaGpuBlend)
EMULATED(msda_mask_float32, MsdaGpuMask)
EMULATED(msda_field_masks, MsdaGpuFields)
EMULATED(msda_targets_dense_int64, MsdaGpuTargets)
EMULATED(msda_targets_dense_int32, MsdaGpuTargets)
EMULATED(msda_targets_dense_float32, MsdaGpuTargets)
EMULATED(msda_targets_compact_int64, MsdaGpuTargets)
EMULATED(msda_targets_compact_int32, MsdaGpuTargets)
EMULATED(msda_saliency_uint8, MsdaGpuSaliency)
EMULATED(msda_saliency_float32, MsdaGpuSaliency)
EMULATED(msda_puzzle_pool_uint8, MsdaGpuPuzzlePool)
EMULATED(msda_puzzle_pool_float32, MsdaGpuPuzzlePool)
EMULATED(msda_puzzle_masks, MsdaGpuPuzzleMasks)
EMULATED(msda_puzzle_weights, MsdaGpuPuzzleWeights)
#define EMULATED_PUZZLE_BLEND(types, ...) EMULATED(msda_puzzle_blend_##types, MsdaGpuPuzzleBlend)
MSDA_EACH_TYPES(EMULATED_PUZZLE_BLEND)
