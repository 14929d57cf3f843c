// Labels of a grid whose neighbours pay for being unlike, by expansion: in turn for each label, the
// best set of cells that takes it at once.  Boykov, Veksler and Zabih, "Fast approximate energy
// minimization via graph cuts", PAMI 2001.  Each set is a minimum cut of the grid.  Half-and-half
// labels are also swapped with those near to them, as in the same paper.
//
// With x saying which of two neighbours take the label, they pay e00 (1 - x) (1 - x') + e01 (1 - x)
// x' + e10 x (1 - x'), which is linear but for K / 2 |x - x'| with K = e01 + e10 - e00: K is the
// capacity between them, where all gains count twice.  Half-and-half labels are nearer to their two
// inputs than these are to each other, so that K may be negative.  e01 and e10 are then each taken
// to be -K / 2 more: no set costs more than the cut says, and the energy falls with every move.
#pragma once
#include "cpu/puzzle/grid_cut.h"

namespace msda {

struct Potts {
  int32_t columns, cells, labels;
  int32_t inputs;           // the first so many labels
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
  // Finds labels that no move makes better, from the cheapest label of each cell.
  void minimise(const Potts& potts, uint8_t* labels) {
    take_cheapest(potts, labels);
    do expand_all(potts, labels);
    while (swap_all(potts, labels));
  }

 private:
  GridCut cut_;
  CutGrid grid_;
  int32_t bound_[kMaxCells];  // twice what a cell pays now, and what its borders may give

  static void take_cheapest(const Potts& potts, uint8_t* labels) {
    for (int32_t p = 0; p < potts.cells; ++p) {
      int32_t best = 0;
      for (int32_t a = 1; a < potts.labels; ++a)
        if (potts.costs[a * potts.cells + p] < potts.costs[best * potts.cells + p]) best = a;
      labels[p] = static_cast<uint8_t>(best);
    }
  }

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

  void expand_all(const Potts& potts, uint8_t* labels) {
    bound_gains(potts, labels);
    for (int32_t label = 0, idle = 0; idle < potts.labels; label = (label + 1) % potts.labels) {
      const bool moved = may_gain(potts, label) && expand(potts, labels, label);
      if (moved) bound_gains(potts, labels);
      idle = moved ? 1 : idle + 1;
    }
  }

  // Swaps each half-and-half label with all labels that it is near to; returns whether the energy
  // fell.  Expansions do as much for labels that are equally far from each other.
  bool swap_all(const Potts& potts, uint8_t* labels) {
    bool any = false;
    for (int32_t a = potts.inputs; a < potts.labels; ++a)
      for (int32_t b = 0; b < a; ++b)
        if (potts.distance[a * potts.labels + b] < 4 || b >= potts.inputs)
          any |= swap(potts, labels, a, b);
    return any;
  }

  bool may_swap(const Potts& potts, const uint8_t* labels, int32_t a, int32_t b) const {
    const int32_t *cost_a = potts.costs + a * potts.cells, *cost_b = potts.costs + b * potts.cells;
    int32_t any = 0;
    for (int32_t p = 0; p < potts.cells; ++p)
      any |= ((labels[p] == a) & (2 * cost_b[p] < bound_[p])) |
             ((labels[p] == b) & (2 * cost_a[p] < bound_[p]));
    return any != 0;
  }

  // Gives all cells that have one of two labels the one or the other, as is best.
  bool swap(const Potts& potts, uint8_t* labels, int32_t a, int32_t b) {
    const int32_t n = potts.cells;
    const auto is_free = [&](int32_t p) { return labels[p] == a || labels[p] == b; };
    const auto more = [&](int32_t label) {  // b costs beside a cell that keeps its label
      return 2 * (potts.pair_cost(b, label) - potts.pair_cost(a, label));
    };
    if (!may_swap(potts, labels, a, b)) return false;
    grid_ = {potts.columns, n, 2, {}, {}, {}};
    int32_t* slope = grid_.slope + kFirstCell;
    for (int32_t p = 0; p < n; ++p)
      slope[p] = is_free(p) ? 2 * (potts.costs[b * n + p] - potts.costs[a * n + p]) : -kCannotMove;
    each_border(potts.columns, n, [&](int32_t p, int32_t q) {
      if (is_free(p) && is_free(q))
        (q == p + 1 ? grid_.right : grid_.down)[kFirstCell + p] = 2 * potts.pair_cost(a, b);
      if (is_free(p) && !is_free(q)) slope[p] += more(labels[q]);
      if (is_free(q) && !is_free(p)) slope[q] += more(labels[p]);
    });
    int8_t moved[kCellRoom] = {};
    cut_.move(grid_, {0, 0}, moved, 1);
    uint8_t swapped[kMaxCells];
    for (int32_t p = 0; p < n; ++p)
      swapped[p] = is_free(p) ? static_cast<uint8_t>(moved[kFirstCell + p] ? b : a) : labels[p];
    if (energy_of(potts, swapped) >= energy_of(potts, labels)) return false;
    std::memcpy(labels, swapped, n);
    bound_gains(potts, labels);
    return true;
  }

  // Gives a label to the least best set of cells, and returns whether there is one.
  bool expand(const Potts& potts, uint8_t* labels, int32_t label) {
    const int32_t n = potts.cells;
    grid_ = {potts.columns, n, 2, {}, {}, {}};
    int32_t* slope = grid_.slope + kFirstCell;
    for (int32_t p = 0; p < n; ++p)
      slope[p] = 2 * (potts.costs[label * n + p] - potts.costs[labels[p] * n + p]);
    each_border(potts.columns, n, [&](int32_t p, int32_t q) {
      const int32_t e00 = potts.pair_cost(labels[p], labels[q]);
      const int32_t e01 = potts.pair_cost(labels[p], label);
      const int32_t e10 = potts.pair_cost(label, labels[q]);
      slope[p] -= e00 + e01 - e10, slope[q] -= e00 + e10 - e01;
      (q == p + 1 ? grid_.right : grid_.down)[kFirstCell + p] = std::max(e01 + e10 - e00, 0);
    });
    int8_t moved[kCellRoom] = {};
    if (!cut_.move(grid_, {0, 0}, moved, 1)) return false;
    for (int32_t p = 0; p < n; ++p)
      if (moved[kFirstCell + p]) labels[p] = static_cast<uint8_t>(label);
    return true;
  }
};

}  // namespace msda
