// How the GPU's kernels are launched: grids, blocks, shared memory and scratch memory.  Blends are
// in blend_records.h.
#pragma once
#include <cstdint>

#include "msda/plan.h"

// The launch of msda_field_masks.  `shared` and `limit` follow from the first six members.  With
// those two the driver tells `threads` and `resident`, from which the rest follows.
struct MsdaFieldLaunch {
  int32_t fields, depth, height, width;  // how many, and their size
  int32_t soft;                          // whether there is a softened one
  int32_t most_shared;                   // bytes of shared memory that a block may ask for
  int32_t threads, resident;             // of a block; blocks that the device holds at once
  int32_t masks;                         // how many there are of all fields
  int32_t limit;                         // the most threads of a block that have enough to do
  int32_t blocks;                        // of the grid
  int32_t in_shared, radix;              // as in MsdaGpuFields
  int64_t values, room;                  // bytes of a field, and of a thread's butterflies
  int64_t shared;                        // bytes of dynamic shared memory of a block
  int64_t row;                           // bytes of a mask
  int64_t workspace;                     // where it lies in the scratch memory, behind the masks
  int64_t per_block;                     // as in MsdaGpuFields
  int64_t scratch;                       // bytes of masks and workspace
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

// Finds which masks a batch needs: records with the same mask of kFMix share it.  `lists` has room
// for 3 batch + 1 numbers, and gets
//   that of each record's mask (0 if it has none),
//   from `batch` on: the first record with each mask,
//   from 2 batch on: the first mask of each field, and at last how many masks there are.
// A field belongs to masks that follow one another.  Returns how many fields there are, or -1 if
// memory is refused.
int32_t msda_mask_lists(int32_t* lists, const msda::Plan* plans, int32_t batch);

// The most threads of a block for the saliency of images of this size: as many as fill a device.
int32_t msda_saliency_threads(int32_t batch, int32_t height, int32_t width);
}  // extern "C"
