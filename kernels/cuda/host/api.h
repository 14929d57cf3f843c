// The GPU's C interface, which the array functions call through ctypes and the DALI operators link.
// Work is put on a stream, and nothing waits for the GPU.
//
// Members of MsdaBlend, MsdaTargets and MsdaSaliency mean what they mean on the CPU (cpu/api.h).
// Samples, rows, peaks and maps are addresses on the device.  Lists of addresses and all else lie
// in memory of the CPU, and may be freed as soon as a call returns; `threads` and `isa` are not
// read.
#pragma once
#include "cpu/api.h"

extern "C" {

// Where a call works.  It returns an MsdaStatus.
struct MsdaGpuCall {
  int32_t device;  // its number
  int32_t count;   // of the other streams
  void* stream;
  void* const* others;  // streams that are waited for, and that wait for this call's work
  char text[16384];     // what failed, if kFailed is returned
};

// Sets call->device to the number of the device on which an address lies.
int32_t msda_gpu_of(MsdaGpuCall* call, const void* address);

// Loads the kernels of kernels/cuda/<source>.cu.  The other functions do so themselves, but their
// caller may be a thread for which one with Python's lock waits, while Python may have to compile.
int32_t msda_gpu_load(MsdaGpuCall* call, const char* source);

// Mixes a batch.  Its masks are made on the way unless they are given as `fields`, one behind the
// other.  `mirror`: flags on the device, in place of those of MsdaBlend, or null.  Planar samples
// have one channel, `planes` times: so many bytes lie from one to the next in and out.  They lie
// evenly, as samples of one array do.
int32_t msda_gpu_blend(MsdaGpuCall* call, const MsdaBlend* blend, const uint8_t* mirror,
                       int32_t planes, int64_t in_step, int64_t out_step);

// Fills in the own weight of every pixel, (batch, height, width).
int32_t msda_gpu_mask(MsdaGpuCall* call, float* weights, const msda::Plan* plans, int32_t batch,
                      int32_t interpolations, int32_t height, int32_t width);

// Makes the masks of a batch's kFMix records; their addresses lie evenly.  A mask that records
// share is made for the first of them.
int32_t msda_gpu_fields(MsdaGpuCall* call, const MsdaFields* fields);

// Makes rows, (batch, classes), of which those of each sample have an address.  `labels`, of type
// "int64", "int32" or "float32", lie on the device; if null, those of MsdaTargets are sent there.
int32_t msda_gpu_targets_dense(MsdaGpuCall* call, void* const* rows, int32_t samples,
                               const MsdaTargets* targets, const void* labels, const char* type);
// Makes class indices and weights, (batch, 4).
int32_t msda_gpu_targets_compact(MsdaGpuCall* call, int64_t* labels, float* weights,
                                 const MsdaTargets* targets, const void* source, const char* type);

// Finds where images are most salient, in groups of one size.  `mirror`: as in msda_gpu_blend, for
// all of them.
int32_t msda_gpu_saliency(MsdaGpuCall* call, const MsdaSaliency* groups, int32_t count,
                          const uint8_t* mirror);

// Copies `bytes` bytes of CPU memory to each address; those that follow one another take one copy.
int32_t msda_gpu_scatter(MsdaGpuCall* call, void* const* to, int32_t count, int64_t bytes,
                         const void* from);
}  // extern "C"
