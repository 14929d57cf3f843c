// Puzzle Mix on a GPU, as the calls of cuda/host/api.h.
//
// Members of MsdaPuzzle mean what they mean on the CPU (cpu/api.h).  The images, the saliency and
// what is found lie on the device; lists of addresses, records, scale and shift in memory of the
// CPU.  All are checked by msda_check_puzzle before.
#pragma once
#include "cuda/host/api.h"

extern "C" {

// Finds the masks and what moves.
int32_t msda_gpu_puzzle(MsdaGpuCall* call, const MsdaPuzzle* puzzle);

// Mixes a batch by what was found.  Inputs and outputs both lie as blend->out_layout says.  Neither
// mirroring nor mixing in place is offered.
int32_t msda_gpu_puzzle_blend(MsdaGpuCall* call, const MsdaBlend* blend, const uint8_t* cells,
                              int32_t places, int32_t levels);
}  // extern "C"
