// The mask of least cost as a few minimum cuts.
//
// The cost is L-natural-convex: convex in each label and in each difference of neighbours.  So
// steepest descent ends at a global minimum, if each of its steps is the best move of any set of
// cells by one label up, or by one down (Murota, "Discrete convex analysis", 2003, chapter 10;
// first up, then down: Kolmogorov and Shioura, Discrete Optimization 6, 2009).  The best set is a
// minimum cut of the grid.  From the middle of three labels one step up and one down are enough.
//
// Of several best sets the least is taken: the cells that the source reaches in the residual graph.
// Every maximum flow leaves the same ones, so that backends may find it in their own ways.
#pragma once
#include "msda/puzzle/costs.h"

namespace msda {

// Cells are counted row by row.  In front of the first cell and behind the last there is room for a
// row, so that each cell has four neighbours; borders with cells that are not there weigh 0.
constexpr int32_t kFirstCell = kMaxSide, kCellRoom = kMaxCells + 2 * kMaxSide;

// The functions below take any grid with such members.
struct CutGrid {
  int32_t columns, cells, levels;
  int32_t slope[kCellRoom];                   // cost of one label more, without the prior
  int32_t right[kCellRoom], down[kCellRoom];  // weights of the borders
};

// What it costs to change a label by `step`, 1 or -1; both labels exist.
template <typename Grid>
MSDA_FN int32_t label_cost(const Grid& g, const Prior& prior, int32_t cell, int32_t label,
                           int32_t step) {
  const int32_t last = g.levels - 1, to = label + step;
  const int32_t leaves = label > 0 && label < last, enters = to > 0 && to < last;
  return step * (g.slope[cell] + prior.slope) + (leaves - enters) * prior.between;
}

constexpr int32_t kCannotMove = -(1 << 30);

// What is gained if one cell moves by `step` and no other: its capacity from the source, or to the
// sink if it is negative.  With D = t_p - t_q, and bits that say which of the two move,
// w (D +- (bit - bit'))^2 = w (D^2 +- 2 D (bit - bit') + |bit - bit'|): w is the capacity between
// them.
template <typename Grid>
MSDA_FN int32_t gain_of(const Grid& g, const Prior& prior, const int8_t* labels, int32_t cell,
                        int32_t step) {
  const int32_t label = labels[cell], to = label + step;
  if (to < 0 || to >= g.levels) return kCannotMove;
  const int32_t above = cell - g.columns, below = cell + g.columns;
  const int32_t pull =
      g.right[cell] * (label - labels[cell + 1]) + g.right[cell - 1] * (label - labels[cell - 1]) +
      g.down[cell] * (label - labels[below]) + g.down[above] * (label - labels[above]);
  return -label_cost(g, prior, cell, label, step) - 2 * step * pull;
}

// The label that all cells have at first: the middle one, or the lower of two.
MSDA_FN int8_t start_label(int32_t levels) { return static_cast<int8_t>((levels - 1) / 2); }

// Finds the labels of least cost.  `move(step)` moves the least best set of cells by `step`, and
// returns whether any moved.
template <typename Move>
MSDA_FN void minimise(int32_t levels, Move move) {
  for (int32_t k = start_label(levels); k < levels - 1; ++k)
    if (!move(1)) break;
  for (int32_t k = 0; k < (levels == 3 ? 1 : levels - 1) && levels > 2; ++k)
    if (!move(-1)) break;
}

}  // namespace msda
