// The arguments of the GPU's kernels (*.cu), which take them by value.  The host fills them in
// (host/); tests/cuda/kernel_arguments.py declares the same structs.  Every pointer is an address
// of the device.  The host's callers check arguments; the CPU draws plans.
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
  const int32_t* numbers;  // of each record's mask (msda_mask_lists, host/geometry.h); null: each
                           // record has its own
};

// How an output is made of its sources.
enum MsdaBlendMode : uint8_t {
  kSelectBox,   // each pixel from one source: in the box from one, around it from the other
  kSelectBits,  // the same by a mask of bits
  kErase,       // the own sample, but 0 in the box
  kShrink,      // in the box pixels of the partner, which is shrunk into it
  kMixBox,      // weights `inside` the box and `outside`
  kMixBump,     // a Gaussian bump of weights, from `outside` to `inside`
  kMixFloats,   // a mask of weights
  kSeveral,     // three or four sources
  kNothing,     // in place: there is no second output
};

// What a block needs to know of an output, in 64 bytes: the host works it out
// (host/blend_records.h) once, and not each thread.  Boxes and points are those of the plan.
struct alignas(16) MsdaBlendRecord {
  const char *own, *partner;  // the samples
  char* out;
  union {
    int64_t mask;       // kSelectBits, kMixFloats: where the mask lies behind MsdaGpuBlend::masks
    const char* third;  // kSeveral, and where `values` makes the output
  };
  union {
    struct {
      float inside, outside;
    } weight;
    struct {
      float y, x;
    } spacing;           // kShrink: how far the partner's pixels that are shown are apart
    const char* fourth;  // as `third`; of three sources any, with weight 0
  };
  union {
    struct {
      int32_t y0, y1, x0, x1;
    } box;  // empty for the modes without one
    struct {
      int32_t y, x;
      float falloff_y, falloff_x;
    } bump;
    struct {
      float weight[3];  // of the second source and those after it: the first is where they start
      int32_t count;    // of sources
    } several;
  };
  uint8_t mode;      // MsdaBlendMode
  uint8_t mirrored;  // bit k: source k is
  uint8_t aligned;   // whether groups of pixels are whole and their addresses fit wide loads
  uint8_t unused;
  int32_t plan;  // the number of its plan
};
static_assert(sizeof(MsdaBlendRecord) == 64, "the hosts count on it");

// Pixels of a row that a thread makes at a time: those that fill 16 bytes in each plane of the
// output, or 8 where the registers for 16 would let fewer threads share a multiprocessor.
constexpr int32_t group_pixels(int32_t in_bytes, int32_t out_bytes) {
  return in_bytes == 1 && out_bytes < 4 ? 8 : 4;
}

// A mixed batch, or those of its outputs that one kernel makes.
struct MsdaGpuBlend {
  const MsdaBlendRecord* records;  // in place two for each pair
  const msda::Plan* plans;         // all of the batch
  const char* masks;
  const uint8_t* mirror;  // flags of the input samples, where only the device has them; or null
  const float *scale, *shift;  // per channel, or null: for `values`
  float scales[3], shifts[3];  // the same for up to three channels, or 1 and -0
  int32_t count;               // outputs, in place pairs
  int32_t height, width, channels;
  int64_t plane;        // bytes of a plane of an output, but for `values`
  uint32_t pixels;      // height * width, but for `values`
  uint32_t inner;       // how many groups may begin at pixel 4 or later and have 4 more behind them
  int32_t chw;          // whether the output is CHW; else it is HWC
  int32_t normalises;   // whether there is a scale
  int32_t in_place;     // whether records come in pairs
  int32_t apart;        // whether each run of a group has a thread of its own (cuda/group.cuh)
  uint32_t parts;       // blocks that share a row, beside one another in the grid, or its runs
  uint32_t columns;     // groups of a row that a block makes side by side
  uint32_t rows;        // and rows below one another: columns * rows threads have work
  uint32_t reciprocal;  // thread * reciprocal >> 20 is thread / columns
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
