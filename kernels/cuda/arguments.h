// The arguments of the GPU's kernels (*.cu), which take them by value.  The host fills them in
// (host/); tests/cuda/kernel_arguments.py declares the same structs.  Every pointer is an address of
// the device.  The host's callers check arguments; the CPU draws plans.
#pragma once
#include "msda/field/fourier.h"
#include "msda/plan.h"

// The samples of a batch: each at an address of its own, or `stride` bytes from one to the next.
struct MsdaSamples {
  char* first;
  int64_t stride;
  void* const* each;  // null: first + i * stride
};

// The masks of kFMix records, `stride` bytes from one to the next.  A mask is bits in whole
// words or, where its edges are softened, one float a pixel.
struct MsdaMasks {
  char* first;
  int64_t stride;
  const int32_t* owners;  // the number of each record's mask (msda_mask_lists, host/geometry.h);
                          // null: each record has its own
};

// A mixed batch.  MsdaBlend of cpu/api.h says what each member means.
struct MsdaGpuBlend {
  MsdaSamples outs, ins;
  MsdaMasks fields;
  const msda::Plan* plans;
  const uint8_t* mirror;       // one flag per input sample, or null
  const float *scale, *shift;  // per channel, or null
  const int32_t* pairs;        // in place, without `mirror`: as in MsdaBlend; else null
  int32_t batch;               // plans, a multiple of `interpolations`
  int32_t interpolations;      // so many outputs in a row have the same sources (1: any)
  int32_t height, width, channels;
  int32_t chw;  // whether the output is CHW; else it is HWC
};

// (batch, height, width) own weights.
struct MsdaGpuMask {
  float* weights;
  MsdaMasks fields;
  const msda::Plan* plans;
  int32_t batch, height, width;
};

// Soft labels: dense rows, or four class indices and weights per plan.
struct MsdaGpuTargets {
  float* rows;         // (batch, classes)
  int64_t* labels;     // (batch, 4)
  float* weights;      // (batch, 4)
  const void* source;  // labels of the type that the entry point names
  const msda::Plan* plans;
  int32_t batch, classes;
  float smoothing;
};

// MsdaAxis of cpu/api.h on the device.
struct MsdaGpuAxis {
  const float *cosine, *sine;
  const int32_t* place;
  msda::Passes passes;
};

// How to make the masks of the kFMix records, which all have the size of the axes.
struct MsdaGpuFields {
  MsdaMasks fields;
  const msda::Plan* plans;
  MsdaGpuAxis axes[3];  // z, y, x
  char* workspace;      // `per_block` bytes for each block of the grid
  int64_t per_block;
  const int32_t *makers, *firsts;  // of msda_mask_lists()
  int32_t count;                   // fields
  int32_t in_shared;        // 1: the values lie in dynamic shared memory, else in the workspace
  int32_t radix;            // the greatest of the axes: above 7 the workspace has room for it
  const float* amplitudes;  // msda_amplitudes (cpu/api.h) of records with all modes of the paper's
                            // law and this `decay`; other records, or all if null, compute theirs
  float decay;
};

// Where each image is most salient; MsdaSaliency of cpu/api.h says what that is.
struct MsdaGpuSaliency {
  MsdaSamples ins;        // HWC, of the type that the entry point names
  MsdaSamples maps;       // uint8 (H, W); without an address if they are not wanted
  int32_t* peaks;         // (batch, 2): y and x
  const uint8_t* mirror;  // one flag per image, or null
  char* workspace;        // `per_block` bytes for each block of the grid
  int64_t per_block;      // msda_saliency_block_bytes (cpu/api.h)
  int32_t batch, height, width;
  int32_t channels;  // 1, or 3 for RGB
};
