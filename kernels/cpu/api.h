// The CPU backend's C interface, which the array functions call through ctypes and the DALI
// operators link.  The callers check the arguments (dali_msda/ops.py, dali_msda/dali/native/).  The
// functions here trust them, and no exception leaves them (cpu/closed.h).  Those that keep memory
// between calls return an MsdaStatus; if it is not kDone, what they fill is unspecified.
#pragma once
#include "msda/field/fourier.h"
#include "msda/plan.h"
#include "msda/policy.h"
#include "msda/puzzle/settings.h"

extern "C" {

enum MsdaDtype : int32_t { kUint8 = 0, kFloat32 = 1, kFloat16 = 2, kBfloat16 = 3 };
enum MsdaLayout : int32_t { kHwc = 0, kChw = 1 };
enum MsdaStatus : int32_t {
  kDone = 0,
  kNoMemory = 1,  // memory was refused
  kFailed = 2     // a GPU or its driver failed (cuda/host/api.h)
};

// How to mix a batch.
struct MsdaBlend {
  void* const* outs;           // `batch` outputs
  const void* const* ins;      // `samples` inputs, HWC, each contiguous
  const msda::Plan* plans;     // `batch` records; their sources are below `samples`
  const void* const* fields;   // of each kFMix record: its bits (msda_fields) or, where it
                               // is softened, its weights as floats; null if there is none
  const uint8_t* mirror;       // one flag per INPUT sample, or null
  const float *scale, *shift;  // per channel: out = mixed * scale + shift; null for none
  int32_t batch, samples;
  int32_t height;           // rows of a sample: of a volume, depth times height; of a sequence, 1
  int32_t width, channels;  // width * channels must fit as well
  int32_t in_dtype, out_dtype;  // MsdaDtype: uint8 or float32 in, any out; uint8 out only of uint8
                                // in, without a scale
  int32_t out_layout;           // MsdaLayout
  int32_t interpolations;       // so many outputs in a row have the same sources (1: any)
  const int32_t* pairs;         // in place (outs are ins): the one other sample that output i
                                // reads and whose output reads i, or i itself; else null
  const int32_t* order;         // the pairs in the order in which they are mixed (msda_order), or
                                // null; no result depends on it
  int32_t threads;              // 0: one per core
  int32_t isa;                  // -1: the best this machine has; else see msda_isa_name
};

// How to make the masks of the kFMix records.
struct MsdaFields {
  void* const* fields;      // of each kFMix record: one bit a pixel, in whole words; where its
                            // `soft` is not 0, one float a pixel
  const msda::Plan* plans;  // records of other methods are passed over
  int32_t batch;
  int32_t interpolations;  // as in MsdaBlend: a field that they share is made once
  int32_t threads, isa;    // as in MsdaBlend
};

struct MsdaSaliency {
  int32_t* peaks;          // (batch, 2): y and x of each map's greatest value, the first of several
  void* const* maps;       // `batch` maps, uint8 (H, W), or null
  const void* const* ins;  // `batch` images, HWC, each contiguous
  const uint8_t* mirror;   // one flag per image: map and peak of the image flipped left to right
  int32_t batch, height, width;
  int32_t channels;      // 1, or 3 for RGB
  int32_t in_dtype;      // MsdaDtype: uint8, or float32 in 0 to 255, which is rounded first
  int32_t threads, isa;  // as in MsdaBlend
};

struct MsdaTargets {
  const msda::Plan* plans;
  const int64_t* labels;  // (samples,) class indices, or null
  const float* rows;      // (samples, classes) soft labels, or null
  int32_t batch, classes;
  float smoothing;  // share of the mass spread evenly over all classes
};

// How to find the masks of Puzzle Mix and what moves (msda/puzzle/).
struct MsdaPuzzle {
  uint8_t* cells;    // (batch, places, places, 3): own weight of a place, in steps of 1 / (levels -
                     // 1); the own block and the partner's that it shows, counted row by row
  float* weights;    // (batch,): means of the own weights
  uint8_t* uniform;  // (samples,): 1 where a saliency map has a value that is negative or not
                     // finite, or nothing above 0, and was taken to be uniform; else 0
  const float* saliency;       // (samples, height, width)
  const void* const* ins;      // `samples` images
  const msda::Plan* plans;     // `batch` records; only their sources and lambdas are read
  const float *scale, *shift;  // per channel: value * scale + shift of a float image lies in [0,
                               // 1]; null if the values do
  int32_t batch, samples, height, width, channels;
  int32_t in_dtype;        // MsdaDtype: uint8, in 0 to 255, or float32
  int32_t planar;          // 0: images are HWC; 1: CHW
  int32_t interpolations;  // as in MsdaBlend
  int32_t blocks, places;  // along each axis: parts of the mask, and those that move
  int32_t cell;            // pixels of a side that are averaged before borders are compared; a
                           // block's side, if that is less
  int32_t transport;       // 0: no block moves
  msda::PuzzleSettings settings;
  int32_t threads;  // as in MsdaBlend
};

// How to find what Co-Mixup needs of each saliency map.
struct MsdaCoMixupMaps {
  int32_t* shares;        // (samples, blocks, blocks): parts of the saliency, in units of 2^-24
  int32_t* peaks;         // (samples, 2): y and x of the window with most of it, in strides
  uint8_t* uniform;       // (samples,): as in MsdaPuzzle
  const float* saliency;  // (samples, height, width)
  int32_t samples, height, width;
  int32_t blocks;          // along each axis, which divide the height and the width
  int32_t window, stride;  // pixels of a side of the windows, and from one to the next
  int32_t threads;         // as in MsdaBlend
};

// How to find the outputs of Co-Mixup (cpu/comixup/part.h).
struct MsdaCoMixup {
  int32_t* sources;    // (samples, blocks, blocks, 2): each block of an output shows half of each
                       // of these samples
  double* objectives;  // of each part: its cost
  const int32_t *shares, *peaks;  // of MsdaCoMixupMaps
  double alpha, beta, gamma, tau, eta, omega;
  uint64_t seed;
  uint32_t step, rank;
  int32_t samples, blocks;
  int32_t part;            // samples that are mixed with each other; the last part may have fewer
  int32_t sweeps, starts;  // over the outputs of a part, and how often from other start labels
  int32_t soft, resolve;  // flags: count what is above the threshold only; tell outputs of the same
                          // inputs apart
  int32_t threads;
};

// What the transforms along one axis of a field need; tables of passes.length values each.
struct MsdaAxis {
  float *cosine, *sine;
  int32_t* place;
  msda::Passes passes;
};

// Returns the first leaf of a policy that msda_draw cannot draw, for so many records a sample, or
// -1.  `text`, of `room` bytes, then says "name: expected X, got Y".
int64_t msda_check_policy(const MsdaLeaf* leaves, int64_t count, int32_t interpolations, char* text,
                          int32_t room);

// Name of a method, as policies spell it; null for a number that is none.
const char* msda_method_name(int32_t method);

// Fills draw->batch * draw->interpolations records, those of a sample in a row.
int32_t msda_draw(msda::Plan* plans, const MsdaLeaf* leaves, const MsdaDraw* draw);

// Returns the first record that the other functions must not be given, or -1.  `text`, of `room`
// bytes, then says "name: expected X, got Y".  Sources must be below `samples`.  `size`, or null,
// is depth, height and width of the samples, which have the last `axes` of these axes.
int64_t msda_check(const msda::Plan* plans, int64_t batch, int32_t samples, const int32_t* size,
                   int32_t axes, char* text, int32_t room);

// Fills in uniforms in (0, 1) as plans draw them: out[i] is number i of the stream (for loaders).
void msda_uniforms(double* out, int32_t n, uint64_t seed, uint64_t identity, uint32_t step,
                   uint32_t purpose);

// Fills in the own weight of every pixel, (batch, height, width); `fields` and `height` are as in
// MsdaBlend.
int32_t msda_mask(float* weights, const msda::Plan* plans, const void* const* fields, int32_t batch,
                  int32_t height, int32_t width, int32_t threads);

// Whether two records have the same mask of kFMix.
int32_t msda_same_mask(const msda::Plan* a, const msda::Plan* b);

// Makes the masks of a batch's kFMix records.
int32_t msda_fields(const MsdaFields* fields);

// Fills in the amplitudes of the half spectrum of a record of the paper's law, depth * height rows
// of width / 2 + 1, and a 0 behind them (for the GPU's host).
int32_t msda_amplitudes(float* amplitudes, const msda::Plan* plan);

// Bytes of shared memory that a block of GPU threads needs for a record's field
// (msda/field/phases.h).
int64_t msda_field_block_bytes(const msda::Plan* plan);

// Finds where each image is most salient (msda/saliency.h).
int32_t msda_saliency(const MsdaSaliency* saliency);

// Bytes of memory that a block of GPU threads needs for the saliency of an image.
int64_t msda_saliency_block_bytes(int32_t height, int32_t width);

// Whether msda_puzzle can be given these sizes and settings.  If not, `text`, of `room` bytes, says
// "name: expected X, got Y".
int32_t msda_check_puzzle(const MsdaPuzzle* puzzle, char* text, int32_t room);

// Finds the masks and what moves.
int32_t msda_puzzle(const MsdaPuzzle* puzzle);

// Mixes a batch by what msda_puzzle found: `places`, settings.levels and `cells` are its.  As for
// msda_blend, but images are neither mirrored nor mixed in place.
int32_t msda_puzzle_blend(const MsdaBlend* blend, const uint8_t* cells, int32_t places,
                          int32_t levels);

// Co-Mixup: measures the maps, finds the outputs, and mixes a batch by their `sources`.  The last
// is as msda_puzzle_blend; blend->plans are not read.
int32_t msda_comixup_maps(const MsdaCoMixupMaps* maps);
int32_t msda_comixup(const MsdaCoMixup* comixup);
int32_t msda_comixup_blend(const MsdaBlend* blend, const int32_t* sources, int32_t blocks);

// Fills in the tables and the passes of an axis of axis->passes.length pixels (for the GPU's host).
int32_t msda_axis(MsdaAxis* axis);

// Fills in an order of the batch / interpolations pairs in which the partner of each comes next,
// unless it has been before.  Its pixels are then still in the cache.
int32_t msda_order(int32_t* order, const msda::Plan* plans, int32_t batch, int32_t interpolations);

// Mixes a batch.  msda_blend uses a pool of threads of its own.  msda_blend_range does the rows
// [begin, end) of msda_blend_rows on the calling thread, for callers with threads of their own,
// such as DALI.  The rows are those of the batch; the interpolations of a pair count as one.  In
// place, with `pairs`, only msda_blend works.
int32_t msda_blend(const MsdaBlend* blend);
int32_t msda_blend_range(const MsdaBlend* blend, int64_t begin, int64_t end);
int64_t msda_blend_rows(const MsdaBlend* blend);

// Makes rows, (batch, classes), or class indices and weights, (batch, 4).  There a source that
// takes no part repeats the own label with weight 0.
void msda_targets_dense(float* rows, const MsdaTargets* targets);
void msda_targets_compact(int64_t* labels, float* weights, const MsdaTargets* targets);

int32_t msda_plan_version(void);
// The instruction sets by number, the plainest first; null past the last that this machine can run.
const char* msda_isa_name(int32_t isa);
}  // extern "C"
