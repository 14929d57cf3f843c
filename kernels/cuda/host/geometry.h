// How the GPU's kernels are launched: grids, blocks, shared memory and scratch memory.  Both hosts
// ask here (dali_msda/backends/cuda.py and batch.cpp), and of blends in blend_records.h.
#pragma once
#include <cstdint>

#include "msda/plan.h"

// The launch of msda_field_masks.  `shared` and `limit` follow from the first six members.  With
// those two the driver tells `threads` and `resident`, from which the rest follows.
struct MsdaFieldLaunch {
  int32_t batch, depth, height, width;  // records, and the size of their masks
  int32_t soft;                         // whether there is a softened one
  int32_t most_shared;                  // bytes of shared memory that a block may ask for
  int32_t threads, resident;            // of a block; blocks that the device holds at once
  int32_t limit;                        // the most threads of a block that have enough to do
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

// Sets how many blocks of `threads` threads a grid has along x and y (grid_items.cuh), for samples
// with `rows` rows of `items` items.  `resident` is how many blocks the device holds at once.  Each
// thread takes one item, unless that makes the grid many times larger than this; then threads take
// several.
void msda_grid(uint32_t* grid, int64_t samples, int64_t rows, int64_t items, int32_t threads,
               int32_t resident);

// Fills in what follows from the members that are set; it is called before and after the driver is
// asked.
void msda_field_launch(MsdaFieldLaunch* launch);

// Finds whose mask each record has: that of the first record with the same mask of kFMix, or its
// own.  Returns how many have another one's, or -1 if memory is refused.
int32_t msda_mask_owners(int32_t* owners, const msda::Plan* plans, int32_t batch);
}  // extern "C"
