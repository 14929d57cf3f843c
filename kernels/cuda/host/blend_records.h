// The records that tell the kernels of a blend how to make each output (MsdaBlendRecord), worked
// out once from the plans, and how those kernels are launched.  It knows nothing of the driver.
#pragma once
#include "cpu/api.h"
#include "cuda/arguments.h"

// How many outputs, or pairs in place, the kernels that take groups of pixels make (msda_blend_*,
// in place msda_pairs_*), and how many those that take values (msda_values_*).
struct MsdaBlendCounts {
  int32_t groups, values;
  int32_t aligned;  // whether all groups are whole and fit wide loads and stores
};

extern "C" {

// Fills in the records of a batch: those for the first kernels, then those for the others.  There
// is one for each output, in place two for each pair, of which the second may be empty; so there is
// room for `batch` of them, in place for twice as many.  `outs` and `ins` of `blend` are addresses
// on the device, its `fields` and `scale` are not read, and its `mirror` is on the CPU.  The masks
// lie `mask_stride` bytes apart; `numbers` has that of each record's (msda_mask_lists), or is null:
// then each has its own.
void msda_blend_records(MsdaBlendRecord* records, MsdaBlendCounts* counts, const MsdaBlend* blend,
                        int64_t mask_stride, const int32_t* numbers);

// Sets all but the records, the plans, the masks and what lies on the device.
void msda_blend_arguments(MsdaGpuBlend* arguments, const MsdaBlend* blend);

// Shares out the groups of a batch's outputs among blocks: sets the grid and the last members of
// the arguments.  Returns the threads of a block.
int32_t msda_blend_launch(uint32_t* grid, MsdaGpuBlend* arguments, const MsdaBlendCounts* counts,
                          const MsdaBlend* blend, int32_t multiprocessors);
}  // extern "C"
