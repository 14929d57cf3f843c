// The masks of Puzzle Mix and what moves.  A block of threads makes those of several outputs, with
// a thread for each of their places; the first threads of an output have a cell of its grid, too.
#pragma once
#include "cuda/puzzle/arguments.h"
#include "cuda/puzzle/cut.cuh"
#include "msda/puzzle/transport.h"
#include "msda/shared.h"

namespace msda {

struct MaskRoom {
  CutRoom cut;
  uint64_t best[kMaxCells];  // rank of the best block that asked for a place
  uint8_t visible[2][kMaxCells];
};

// A thread's output and place.
struct MaskThread {
  int32_t output;      // in the batch
  bool is_there;       // else the thread has none, and only waits for the others
  int32_t place;       // in the output
  int32_t first;       // what `best` and `visible` have for the output's place 0
  int32_t first_slot;  // of the output's grid
};

// The costs but for the prior.  Each thread works out the two borders behind its cell, and then
// adds what the two before it cost.
__device__ __forceinline__ void fill_grid(const MsdaGpuPuzzleMasks& a, CutRoom& room,
                                          const CutCell& c, int32_t cell,
                                          const MsdaPuzzleOutput& output) {
  const PuzzleGeometry& g = a.geometry;
  const int32_t side = g.side, d = a.levels - 1, row = cell / side, column = cell - row * side;
  const bool is_mixed = c.is_there && output.is_mixed;
  int32_t slope = 0;
  if (is_mixed) {
    const int32_t ratio = g.places / side;
    const int64_t each = int64_t{g.places} * g.places;
    const int32_t *own = a.shares + output.own * each, *partner = a.shares + output.partner * each;
#pragma unroll 1
    for (int32_t y = 0; y < ratio; ++y)
#pragma unroll 1
      for (int32_t x = 0; x < ratio; ++x) {
        const int32_t place = (row * ratio + y) * g.places + column * ratio + x;
        slope += 2 * d * (own[place] - partner[place]);
      }
  }
  const int64_t each = g.channels * cells_of(g);
  const int32_t* pooled[2] = {a.pooled + output.own * each, a.pooled + output.partner * each};
#pragma unroll 1
  for (int32_t axis = 0; axis < 2; ++axis) {
    int32_t weight = 0, far = 0;
    const int32_t border = axis == 0 ? row : column, at = axis == 0 ? column : row;
    if (is_mixed && border + 1 < side) {
      const Border made = border_of(g, a.scale, pooled, axis, border, at);
      slope += d * near_slope(made);
      far = d * far_slope(made), weight = border_weight(made, a.scale);
    }
    if (!c.is_there) continue;
    (axis == 0 ? room.down : room.right)[c.slot] = weight;
    room.flow[axis][c.slot] = far;
  }
  __syncthreads();
  if (c.is_there)
    room.slope[c.slot] = slope + room.flow[0][c.slot - side] + room.flow[1][c.slot - 1];
}

// The members of CutGrid that cut.h reads.
struct CutView {
  int32_t columns, levels;
  const int32_t *slope, *right, *down;
};

__device__ __forceinline__ void find_mask(const MsdaGpuPuzzleMasks& a, CutRoom& room, CutCell& c,
                                          int32_t cell, const MsdaPuzzleOutput& output) {
  const bool is_mixed = c.is_there && output.is_mixed;
  if (c.is_there) room.labels[c.slot] = is_mixed ? start_label(a.levels) : 0;
  fill_grid(a, room, c, cell, output);
  const CutView grid = {c.columns, a.levels, room.slope, room.right, room.down};
  minimise(a.levels, [&](int32_t step) {
    const int32_t gain =
        is_mixed ? gain_of(grid, output.prior, room.labels, c.slot, step) : kCannotMove;
    return move_cells(room, c, gain, step);
  });
}

// The mean own weight of each output, which the thread of its first cell writes.
__device__ __forceinline__ void put_weight(const MsdaGpuPuzzleMasks& a, CutRoom& room,
                                           const CutCell& c, int32_t cell, int32_t output) {
  const int32_t side = a.geometry.side, d = a.levels - 1;
  if (c.is_there && cell % side == 0) {
    int32_t sum = 0;
#pragma unroll 1
    for (int32_t x = 0; x < side; ++x) sum += d - room.labels[c.slot + x];
    room.flow[0][c.slot] = sum;
  }
  __syncthreads();
  if (!c.is_there || cell != 0) return;
  int32_t sum = 0;
#pragma unroll 1
  for (int32_t y = 0; y < side; ++y) sum += room.flow[0][c.slot + y * side];
  a.weights[output] = static_cast<float>(static_cast<double>(sum) / (d * side * side));
}

// The block that is shown at this thread's place, of an image with so many visible ones, by the
// rounds of move_blocks().
__device__ __forceinline__ int32_t source_of(const Transport& t, uint64_t* best, int32_t place,
                                             bool is_there) {
  const bool is_visible = is_there && t.visible[place];  // which this thread has written
  int32_t last = is_visible ? place : kNowhere;
  bool asks = is_there && !is_visible && t.shares[place] > t.step_cost;
  if (is_visible) best[place] = rank_at(t, place, place);
  bool goes_on = __syncthreads_or(asks);
  for (int32_t round = 0; round < t.side && goes_on; ++round) {
    if (asks) {
      last = next_place(t, place, last);
      if (last != kNowhere) raise_to(best + last, rank_at(t, last, place));
    }
    __syncthreads();
    asks = last != kNowhere && block_of_rank(best[last]) != place;
    goes_on = __syncthreads_or(asks);
  }
  return is_visible ? block_of_rank(best[place]) : place;
}

// Writes the cell of this thread's place.
__device__ __forceinline__ void put_cell(const MsdaGpuPuzzleMasks& a, MaskRoom& room,
                                         const MaskThread& me, const MsdaPuzzleOutput& output) {
  const PuzzleGeometry& g = a.geometry;
  const int32_t ratio = g.places / g.side, d = a.levels - 1;
  const int32_t row = me.place / g.places, column = me.place - row * g.places;
  const int32_t label = room.cut.labels[me.first_slot + row / ratio * g.side + column / ratio];
  int32_t sources[2] = {me.place, me.place};
  if (a.transport) {
    if (me.is_there) {
      room.visible[0][me.first + me.place] = label < d;
      room.visible[1][me.first + me.place] = label > 0;
    }
    const int64_t each = int64_t{g.places} * g.places;
#pragma unroll 1
    for (int32_t k = 0; k < 2; ++k) {
      const int32_t* shares = a.shares + (k ? output.partner : output.own) * each;
      const Transport t = {g.places, a.step_cost, shares, room.visible[k] + me.first};
      const int32_t source = source_of(t, room.best + me.first, me.place, me.is_there);
      k ? sources[1] = source : sources[0] = source;
    }
  }
  if (!me.is_there) return;
  uint8_t* cell = a.cells + 3 * (int64_t{me.output} * g.places * g.places + me.place);
  cell[0] = static_cast<uint8_t>(d - label);
  cell[1] = static_cast<uint8_t>(sources[0]), cell[2] = static_cast<uint8_t>(sources[1]);
}

__device__ __forceinline__ void find_masks(const MsdaGpuPuzzleMasks& a) {
  __shared__ MaskRoom room;
  const PuzzleGeometry& g = a.geometry;
  const int32_t thread = static_cast<int32_t>(threadIdx.x), threads = blockDim.x;
  for (int32_t s = thread; s < kSlots; s += threads) {  // what lies around the grids
    room.cut.right[s] = room.cut.down[s] = room.cut.labels[s] = 0;
    for (int32_t d = 0; d < 4; ++d) room.cut.flow[d][s] = 0;
    room.cut.height[0][s] = room.cut.height[1][s] = kFar;
  }
  __syncthreads();
  const int32_t places = g.places * g.places, cells = g.side * g.side;
  const int32_t number = thread / places, place = thread - number * places;
  const int32_t slots = cells + 2 * g.side;
  MaskThread me = {static_cast<int32_t>(blockIdx.x) * a.per_block + number, false, place,
                   number * places, g.side};
  me.is_there = number < a.per_block && me.output < a.batch;
  if (me.is_there)
    me.first_slot += number * slots;
  else
    me.output = me.first = me.place = 0;
  const MsdaPuzzleOutput output = a.outputs[me.output];
  CutCell c = {};
  c.columns = g.side, c.is_there = me.is_there && place < cells;
  c.slot = me.first_slot + (c.is_there ? place : 0);
  const int32_t cell = c.is_there ? place : 0;
  find_mask(a, room.cut, c, cell, output);
  put_weight(a, room.cut, c, cell, me.output);
  put_cell(a, room, me, output);
}

}  // namespace msda
