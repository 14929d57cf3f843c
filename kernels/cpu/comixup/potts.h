// Labels of a grid whose neighbours pay for being unlike, by expansion: in turn for each label, the
// best set of cells that takes it at once.  Boykov, Veksler and Zabih, "Fast approximate energy
// minimization via graph cuts", PAMI 2001.  Each set is a minimum cut of the grid.
//
// With x saying which of two neighbours take the label, they pay e00 (1 - x) (1 - x') + e01 (1 - x)
// x' + e10 x (1 - x'), which is linear but for K / 2 |x - x'| with K = e01 + e10 - e00: K is the
// capacity between them, where all gains count twice.  Half-and-half labels are nearer to their two
// inputs than these are to each other, so that K may be negative.  e00 is then taken to be lower:
// the energy falls by more than the cut says (Rother, Kumar, Kolmogorov and Blake, "Digital
// tapestry", CVPR 2005).
#pragma once
#include "cpu/puzzle/grid_cut.h"

namespace msda {

struct Potts {
  int32_t columns, cells, labels;
  const int32_t* costs;     // (labels, cells)
  const uint8_t* distance;  // (labels, labels), in quarters: 4 between two inputs
  int32_t quarter;          // what neighbours pay for each quarter

  int32_t pair_cost(int32_t a, int32_t b) const { return quarter * distance[a * labels + b]; }
};

// Calls `visit(p, q)` for all pairs of neighbours: the right one of each cell, then the lower one.
template <typename Visit>
void each_border(int32_t columns, int32_t cells, Visit visit) {
  for (int32_t p = 0; p < cells; ++p) {
    if ((p + 1) % columns != 0) visit(p, p + 1);
    if (p + columns < cells) visit(p, p + columns);
  }
}

inline int64_t energy_of(const Potts& potts, const uint8_t* labels) {
  int64_t sum = 0;
  for (int32_t p = 0; p < potts.cells; ++p) sum += potts.costs[labels[p] * potts.cells + p];
  each_border(potts.columns, potts.cells,
              [&](int32_t p, int32_t q) { sum += potts.pair_cost(labels[p], labels[q]); });
  return sum;
}

class Expansion {
 public:
  // Lowers the energy of the labels until no label pays.
  void minimise(const Potts& potts, uint8_t* labels) {
    bound_gains(potts, labels);
    for (int32_t label = 0, idle = 0; idle < potts.labels; label = (label + 1) % potts.labels) {
      const bool moved = may_gain(potts, label) && expand(potts, labels, label);
      if (moved) bound_gains(potts, labels);
      idle = moved ? 1 : idle + 1;
    }
  }

 private:
  GridCut cut_;
  CutGrid grid_;
  int32_t bound_[kMaxCells];  // twice what a cell pays now, and what its borders may give

  // Only borders of unlike cells can give: e00, and e01 - e10, which is at most 4 quarters.
  void bound_gains(const Potts& potts, const uint8_t* labels) {
    for (int32_t p = 0; p < potts.cells; ++p)
      bound_[p] = 2 * potts.costs[labels[p] * potts.cells + p];
    each_border(potts.columns, potts.cells, [&](int32_t p, int32_t q) {
      if (labels[p] == labels[q]) return;
      const int32_t most = potts.pair_cost(labels[p], labels[q]) + 4 * potts.quarter;
      bound_[p] += most, bound_[q] += most;
    });
  }

  bool may_gain(const Potts& potts, int32_t label) const {
    const int32_t* costs = potts.costs + label * potts.cells;
    int32_t any = 0;
    for (int32_t p = 0; p < potts.cells; ++p) any |= 2 * costs[p] < bound_[p];
    return any != 0;
  }

  // Gives a label to the least best set of cells, and returns whether there is one.
  bool expand(const Potts& potts, uint8_t* labels, int32_t label) {
    const int32_t n = potts.cells, columns = potts.columns;
    grid_ = {columns, n, 2, {}, {}, {}};
    int32_t* slope = grid_.slope + kFirstCell;
    for (int32_t p = 0; p < n; ++p)
      slope[p] = 2 * (potts.costs[label * n + p] - potts.costs[labels[p] * n + p]);
    each_border(columns, n, [&](int32_t p, int32_t q) {
      const int32_t e01 = potts.pair_cost(labels[p], label);
      const int32_t e10 = potts.pair_cost(label, labels[q]);
      const int32_t e00 = std::min(potts.pair_cost(labels[p], labels[q]), e01 + e10);
      slope[p] -= e00 + e01 - e10, slope[q] -= e00 + e10 - e01;
      (q == p + 1 ? grid_.right : grid_.down)[kFirstCell + p] = e01 + e10 - e00;
    });
    int8_t moved[kCellRoom] = {};
    if (!cut_.move(grid_, {0, 0}, moved, 1)) return false;
    for (int32_t p = 0; p < n; ++p)
      if (moved[kFirstCell + p]) labels[p] = static_cast<uint8_t>(label);
    return true;
  }
};

}  // namespace msda
