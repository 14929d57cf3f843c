// The arguments of puzzle.cu's kernels, as those of cuda/arguments.h.
#pragma once
#include "cuda/arguments.h"
#include "msda/block_thread.h"
#include "msda/puzzle/pooling.h"

constexpr int32_t kPuzzleGroup = 4;  // values of a row that a thread of a blend makes at a time

// What is pooled of each sample, a block of threads for each.
struct MsdaGpuPuzzlePool {
  MsdaSamples ins;             // images of the type that the entry point names
  const float* saliency;       // (samples, height, width)
  const float *scale, *shift;  // as in MsdaPuzzle (cpu/api.h)
  int32_t* shares;             // (samples, places, places)
  int32_t* pooled;             // (samples, channels, cells[0], cells[1])
  uint8_t* uniform;            // (samples,)
  int64_t* columns;            // (blocks of the grid, places, width): sums of a part of a column
  msda::PuzzleGeometry geometry;
  int32_t samples, height, width;
  msda::Divisor by_width, by_columns, by_rows, by_block[2];  // by width, cells and per_block
};

// What the host works out of a record.
struct MsdaPuzzleOutput {
  int32_t own, partner;  // the same where the output is not mixed
  int32_t is_mixed;
  msda::Prior prior;
};

// The masks of a batch, and what moves.
struct MsdaGpuPuzzleMasks {
  uint8_t* cells;  // as in MsdaPuzzle; so are the next ones
  float* weights;
  const int32_t *shares, *pooled;  // of MsdaGpuPuzzlePool
  const MsdaPuzzleOutput* outputs;
  msda::PuzzleGeometry geometry;
  msda::BorderScale scale;
  int32_t batch, levels, transport;
  int32_t step_cost;  // msda/puzzle/transport.h
  int32_t
      per_block;  // outputs of a block, which has a thread for each place of theirs, at most 256
};

// A batch that is mixed by its cells.
struct MsdaGpuPuzzleBlend {
  MsdaSamples outs, ins;       // both HWC or both CHW
  const int32_t* pairs;        // (batch, 2): own sample and partner
  const uint8_t* cells;        // (batch, places, places, 3)
  const float *scale, *shift;  // per channel, or null
  int32_t places, levels;
  int32_t along;                     // blocks of an output
  int32_t planes, height;            // of CHW samples there are several planes, of so many rows
  int32_t row_values, groups;        // values of a row, all channels of HWC, and groups of them
  int32_t place_rows, place_values;  // of a place: rows, and values of each
  int32_t channels;                  // values of a pixel that lie beside one another
  msda::Divisor by_places, by_place_rows, by_place_values;
};

// Label weights of records on the device.
struct MsdaGpuPuzzleWeights {
  msda::Plan* plans;
  const float* own;  // (batch,): own weights
  int32_t batch;
};
