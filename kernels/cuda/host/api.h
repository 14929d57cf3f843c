// The GPU's C interface, which the array functions call through ctypes and the DALI operators link.
// A call puts work on a stream.  It waits for the GPU only if its callers are far ahead (memory.h).
//
// Members of MsdaBlend, MsdaFields, MsdaTargets and MsdaSaliency mean what they mean on the CPU
// (cpu/api.h).  Samples, masks, rows, peaks and maps lie on the device.  Lists of their addresses
// and all else lie in memory of the CPU, which may be freed as soon as a call returns.  `threads`,
// `isa` and `order` are not read.
#pragma once
#include "cpu/api.h"

extern "C" {

// Where a call works.  It returns an MsdaStatus.
struct MsdaGpuCall {
  int32_t device;  // number of the GPU
  int32_t count;   // of `others`
  void* stream;
  void* const* others;  // streams that `stream` waits for first, and that wait for it afterwards
  char text[16384];     // what failed, if kFailed is returned
};

// Sets call->device to the number of the device on which an address lies.
int32_t msda_gpu_of(MsdaGpuCall* call, const void* address);

// Loads the kernels of kernels/cuda/<source>.cu, which Python may have to compile.  The other
// functions do so when they need them.  A thread for which one with Python's lock may be waiting
// must have it done before.
int32_t msda_gpu_load(MsdaGpuCall* call, const char* source);

// Mixes a batch.  Its masks are made on the way unless they are given as `fields`, which then lie
// evenly: as far from one another as the rows of an array do.  `mirror` holds flags on the device,
// in place of those of MsdaBlend, or is null.
//
// Planar samples are described as images of one channel.  They have `planes` of these, each
// `in_step` bytes behind the last one, and `out_step` bytes in the outputs; they lie evenly, too.
int32_t msda_gpu_blend(MsdaGpuCall* call, const MsdaBlend* blend, const uint8_t* mirror,
                       int32_t planes, int64_t in_step, int64_t out_step);

// Fills in the own weight of every pixel, (batch, height, width).
int32_t msda_gpu_mask(MsdaGpuCall* call, float* weights, const msda::Plan* plans, int32_t batch,
                      int32_t height, int32_t width);

// Makes the masks of a batch's kFMix records; their addresses lie evenly.  A mask that records
// share is made for the first of them.
int32_t msda_gpu_fields(MsdaGpuCall* call, const MsdaFields* fields);

// Makes rows, (batch, classes); those of each of the `samples` samples have an address.  The labels
// of MsdaTargets are sent to the device.
int32_t msda_gpu_targets_rows(MsdaGpuCall* call, void* const* rows, int32_t samples,
                              const MsdaTargets* targets);
// Makes rows or, if they are null, class indices and weights, (batch, 4), from labels on the device
// (`source`) of the type "int64", "int32" or "float32".  `own`, (batch), are label weights in place
// of the records', as msda_gpu_puzzle finds them; or null.
int32_t msda_gpu_targets(MsdaGpuCall* call, float* rows, int64_t* labels, float* weights,
                         const MsdaTargets* targets, const void* source, const char* type,
                         const float* own);

// Finds where images are most salient, in groups of one size each.  `mirror` is as in
// msda_gpu_blend, with the flags of all groups.
int32_t msda_gpu_saliency(MsdaGpuCall* call, const MsdaSaliency* groups, int32_t count,
                          const uint8_t* mirror);

// Copies `bytes` bytes of CPU memory to each address; those that follow one another take one copy.
int32_t msda_gpu_scatter(MsdaGpuCall* call, void* const* to, int32_t count, int64_t bytes,
                         const void* from);
}  // extern "C"
