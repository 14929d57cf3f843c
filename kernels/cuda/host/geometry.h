// The geometry of the GPU's launches: grids, blocks, shared memory and scratch memory, and which
// kernels a batch needs.  Computed here for both hosts (dali_msda/backends/cuda.py and batch.h).
#pragma once
#include <cstdint>

#include "msda/plan.h"

// The launch of msda_field_masks: `shared` and `limit` follow from the first six members, the rest
// from `threads` and `resident` too, which the driver says for those.
struct MsdaFieldLaunch {
  int32_t batch, depth, height, width;  // records, and the size of their masks
  int32_t soft;                         // whether there is a softened one
  int32_t most_shared;                  // bytes of shared memory that a block may ask for
  int32_t threads, resident;            // of a block; blocks that the device holds at once
  int32_t limit;                        // more threads than that would have nothing to do
  int32_t blocks;                       // of the grid
  int32_t in_shared, radix;             // as in MsdaGpuFields
  int64_t values, room;                 // bytes of a field, and of a thread's butterflies
  int64_t shared;                       // bytes of dynamic shared memory of a block
  int64_t row;                          // bytes of a mask
  int64_t workspace;                    // where it lies in the scratch memory, behind the masks
  int64_t per_block;                    // as in MsdaGpuFields
  int64_t scratch;                      // bytes of masks and workspace
};

extern "C" {

// Blocks along x and y of a launch that walks `items` items in each of `rows` rows of each sample
// (grid_items.cuh), in blocks of so many threads.
//
// A thread takes one item while the grid is not many times what the device holds at once, of which
// `resident` is the number of blocks; then the threads go round.
void msda_grid(uint32_t* grid, int64_t samples, int64_t rows, int64_t items, int32_t threads,
               int32_t resident);

// How many items a row of a blend has, each of which is one thread's; the type is an MsdaDtype.
int32_t msda_group_items(int32_t out_dtype, int32_t width, int32_t channels);

// Whether a blend takes the kernels of gather.cu.
int32_t msda_needs_gather(const msda::Plan* plans, int32_t batch, int32_t channels);

void msda_field_launch(MsdaFieldLaunch* launch);

// Whose mask each record has: that of the first with the same mask of kFMix, or its own.  Returns
// how many have another's, or -1 where memory is refused.
int32_t msda_mask_owners(int32_t* owners, const msda::Plan* plans, int32_t batch);
}  // extern "C"
