// The minimum cuts of msda/puzzle/cut.h by push and relabel, with a thread for each cell: Goldberg
// and Tarjan, "A new approach to the maximum-flow problem", Journal of the ACM 35, 1988.  All
// threads push at once, and then all take new heights.
//
// The problem is solved from its other end: the flow starts at cells that had better stay, and the
// terminal takes it from those that gain.  Once no flow can reach the terminal any more, the cells
// that still do are the least best set, the same as of any other maximum flow.  Heights are made
// anew after as many rounds as a side has cells: fewer or more of them take more barriers.
#pragma once
#include "cuda/group.cuh"
#include "msda/puzzle/cut.h"

namespace msda {

// Slots of all grids of a block, of 256 cells at most: each has room for a row in front of its
// first cell and behind its last.  Grids of 2 x 2 need most.
constexpr int32_t kSlots = 2 * kMaxCells;
constexpr int32_t kFar = 1 << 20;  // the height of cells that do not reach the terminal

// What the threads of a block share; a slot for each cell.
struct CutRoom {
  int32_t slope[kSlots], right[kSlots], down[kSlots];  // as in CutGrid
  int32_t flow[4][kSlots];                             // that a cell sends to each neighbour
  int32_t height[2][kSlots];                           // before and after
  int8_t labels[kSlots];
};

// A cell and the thread that has it.  Directions are right, left, down and up; the opposite of d is
// d ^ 1.
struct CutCell {
  int32_t slot, columns;
  bool is_there;              // else the thread has none, and only waits for the others
  int32_t excess;             // flow that has come here and not gone on
  int32_t terminal, rest[4];  // what may still go to the terminal and to each neighbour
  int32_t height, at;         // and which of the room's heights are the present ones

  __device__ __forceinline__ int32_t neighbour(int32_t d) const {
    return d == 0 ? slot + 1 : d == 1 ? slot - 1 : d == 2 ? slot + columns : slot - columns;
  }
};

// Heights over the terminal, where a neighbour is one higher.
__device__ __forceinline__ int32_t lowest(const CutRoom& room, const CutCell& c) {
  int32_t height = c.terminal > 0 ? 1 : kFar;
#pragma unroll
  for (int32_t d = 0; d < 4; ++d) {
    if (c.rest[d] == 0) continue;
    const int32_t over = room.height[c.at][c.neighbour(d)] + 1;
    height = over < height ? over : height;
  }
  return height;
}

// Gives all cells the length of their shortest way to the terminal.
__device__ __forceinline__ void measure_heights(CutRoom& room, CutCell& c) {
  c.height = c.terminal > 0 ? 1 : kFar;
  if (c.is_there) room.height[c.at][c.slot] = c.height;
  __syncthreads();
  for (bool changes = true; changes; c.at ^= 1) {
    const int32_t height = lowest(room, c);
    if (c.is_there) room.height[c.at ^ 1][c.slot] = height;
    changes = __syncthreads_or(height != c.height);
    c.height = height;
  }
}

// Sends what a cell has to the terminal, and to neighbours that are lower.
__device__ __forceinline__ void push(CutRoom& room, CutCell& c) {
  const bool is_active = c.excess > 0 && c.height < kFar;
  if (is_active && c.height == 1) {
    const int32_t flow = c.excess < c.terminal ? c.excess : c.terminal;
    c.excess -= flow, c.terminal -= flow;
  }
#pragma unroll
  for (int32_t d = 0; d < 4; ++d) {
    const bool goes_down = is_active && room.height[c.at][c.neighbour(d)] + 1 == c.height;
    const int32_t most = goes_down ? c.rest[d] : 0, flow = c.excess < most ? c.excess : most;
    c.excess -= flow, c.rest[d] -= flow;
    if (c.is_there) room.flow[d][c.slot] = flow;
  }
  __syncthreads();
#pragma unroll
  for (int32_t d = 0; d < 4; ++d) {
    const int32_t flow = c.is_there ? room.flow[d ^ 1][c.neighbour(d)] : 0;
    c.excess += flow, c.rest[d] += flow;
  }
}

// Lifts a cell that has something left.
__device__ __forceinline__ void lift(CutRoom& room, CutCell& c) {
  const int32_t height = lowest(room, c);
  if (c.excess > 0 && height > c.height) c.height = height < kFar ? height : kFar;
  if (c.is_there) room.height[c.at ^ 1][c.slot] = c.height;
  __syncthreads();
  c.at ^= 1;
}

// Moves the least best set of cells of each grid by `step`; `gain` is that of this thread's cell.
// Returns whether any cell of the block moved.
__device__ __forceinline__ bool move_cells(CutRoom& room, CutCell& c, int32_t gain, int32_t step) {
  c.excess = gain < 0 ? -gain : 0, c.terminal = gain > 0 ? gain : 0;
#pragma unroll
  for (int32_t d = 0; d < 4; ++d)
    c.rest[d] = !c.is_there ? 0
                : d < 2     ? room.right[d == 0 ? c.slot : c.slot - 1]
                            : room.down[d == 2 ? c.slot : c.slot - c.columns];
  if (!__syncthreads_or(gain > 0)) return false;  // no set gains where no cell gains
  for (;;) {
    measure_heights(room, c);
    if (!__syncthreads_or(c.excess > 0 && c.height < kFar)) break;
#pragma unroll 1
    for (int32_t round = 0; round < c.columns; ++round) push(room, c), lift(room, c);
  }
  const bool moves = c.is_there && c.height < kFar;
  if (moves) room.labels[c.slot] = static_cast<int8_t>(room.labels[c.slot] + step);
  return __syncthreads_or(moves);
}

}  // namespace msda
