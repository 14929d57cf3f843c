// The minimum cuts of msda/puzzle/cut.h on a CPU.
//
// Cells whose gain outweighs their borders are decided first, one by one (most of them, on coarse
// grids).  The rest takes a maximum flow: Boykov and Kolmogorov, "An experimental comparison of
// min-cut/max-flow algorithms for energy minimization in vision", PAMI 2004, with the rules of
// section 3.2 for orphans.  All memory is in the object.
#pragma once
#include <algorithm>
#include <cstring>

#include "msda/puzzle/cut.h"

namespace msda {

class GridCut {
 public:
  // Moves the least best set of cells by `step`, and returns whether any moved.
  bool move(const CutGrid& grid, const Prior& prior, int8_t* labels, int32_t step) {
    const int32_t end = kFirstCell + grid.cells;
    bool any = false;
    for (int32_t p = kFirstCell; p < end; ++p) {
      excess_[p] = gain_of(grid, prior, labels, p, step);
      any |= excess_[p] > 0;
    }
    if (!any) return false;  // no set gains where no cell gains
    load(grid);
    if (decide_alone()) solve_rest();
    any = false;
    for (int32_t p = kFirstCell; p < end; ++p) {
      if (tree_[p] != kSource) continue;
      labels[p] = static_cast<int8_t>(labels[p] + step);
      any = true;
    }
    return any;
  }

 private:
  // Which tree a cell belongs to.  In the end those of the source's tree move.
  enum Tree : uint8_t { kFree, kSource, kSink };
  // A cell's parent in its tree is a neighbour, by its direction, or one of these.
  enum Parent : uint8_t { kTerminal = 4, kOrphan, kNoParent };
  static constexpr int32_t kQueue = 2 * kMaxCells;  // a power of two; each cell is in it once

  // Directions are right, left, down and up; the opposite of d is d ^ 1.
  int32_t capacity_[4][kCellRoom];  // that is left from a cell to its neighbour
  int32_t excess_[kCellRoom];       // that is left from the source, or to the sink if negative
  Tree tree_[kCellRoom];
  uint8_t parent_[kCellRoom];
  bool queued_[kCellRoom], decided_[kCellRoom];
  int32_t seen_[kCellRoom], distance_[kCellRoom];  // when the way to the root was last checked, and
                                                   // how long it was
  int16_t queue_[kQueue], orphans_[kQueue];
  uint32_t head_, tail_, orphans_head_, orphans_tail_;
  int32_t step_[4], first_, end_, time_;

  void load(const CutGrid& grid) {
    first_ = kFirstCell, end_ = kFirstCell + grid.cells;
    step_[0] = 1, step_[1] = -1, step_[2] = grid.columns, step_[3] = -grid.columns;
    const size_t bytes = sizeof(int32_t) * kCellRoom;
    std::memcpy(capacity_[0], grid.right, bytes);
    std::memcpy(capacity_[1] + 1, grid.right, bytes - sizeof(int32_t));
    std::memcpy(capacity_[2], grid.down, bytes);
    std::memcpy(capacity_[3] + grid.columns, grid.down, bytes - sizeof(int32_t) * grid.columns);
    std::memset(tree_, kFree, sizeof tree_);
    std::memset(decided_, 0, sizeof decided_);
  }

  // Decides cells whose gain outweighs what is left of their borders, and charges their neighbours.
  // A cell moves if it gains more than it costs, so that of equal cuts the least set is kept.
  // Returns whether any cell is left.
  bool decide_alone() {
    int16_t waiting[5 * kMaxCells];
    int32_t count = 0, left = end_ - first_;
    for (int32_t p = end_ - 1; p >= first_; --p) waiting[count++] = static_cast<int16_t>(p);
    while (count > 0) {
      const int32_t p = waiting[--count];
      if (decided_[p]) continue;
      int32_t borders = 0;
      for (int32_t d = 0; d < 4; ++d) borders += capacity_[d][p];
      const bool moves = excess_[p] > borders;
      if (!moves && -excess_[p] < borders) continue;
      decided_[p] = true, tree_[p] = moves ? kSource : kFree, --left;
      for (int32_t d = 0; d < 4; ++d) {
        const int32_t weight = capacity_[d][p], q = p + step_[d];
        if (weight == 0) continue;
        capacity_[d][p] = capacity_[d ^ 1][q] = 0;
        excess_[q] += moves ? weight : -weight;
        waiting[count++] = static_cast<int16_t>(q);
      }
    }
    return left > 0;
  }

  void solve_rest() {
    for (int32_t pass = 0; pass < 2; ++pass) push_to_neighbours();
    plant_trees();
    while (head_ != tail_) {
      const int32_t p = queue_[head_ % kQueue];
      if (tree_[p] != kFree && grow(p)) continue;
      queued_[p] = false, ++head_;
    }
  }

  // Most of the flow goes from a cell to the next one: it is pushed before the trees are made.
  void push_to_neighbours() {
    for (int32_t p = first_; p < end_; ++p)
      for (int32_t d = 0; d < 4 && excess_[p] > 0; ++d) {
        const int32_t q = p + step_[d];
        if (capacity_[d][p] == 0 || excess_[q] >= 0) continue;
        const int32_t flow = std::min({excess_[p], -excess_[q], capacity_[d][p]});
        excess_[p] -= flow, excess_[q] += flow;
        send(p, d, flow);
      }
  }

  void send(int32_t p, int32_t d, int32_t flow) {
    capacity_[d][p] -= flow;
    capacity_[d ^ 1][p + step_[d]] += flow;
  }

  void plant_trees() {
    head_ = tail_ = orphans_head_ = orphans_tail_ = 0, time_ = 0;
    for (int32_t p = first_; p < end_; ++p) {
      seen_[p] = 0, distance_[p] = 1, queued_[p] = false, parent_[p] = kNoParent;
      if (decided_[p] || excess_[p] == 0) continue;
      tree_[p] = excess_[p] > 0 ? kSource : kSink, parent_[p] = kTerminal;
      enqueue(p);
    }
  }

  void enqueue(int32_t p) {
    if (queued_[p]) return;
    queued_[p] = true;
    queue_[tail_++ % kQueue] = static_cast<int16_t>(p);
  }

  // What is left between p and its neighbour, away from the source or towards the sink.
  int32_t outward(int32_t p, int32_t d) const {
    return tree_[p] == kSource ? capacity_[d][p] : capacity_[d ^ 1][p + step_[d]];
  }
  int32_t inward(int32_t p, int32_t d) const {
    return tree_[p] == kSource ? capacity_[d ^ 1][p + step_[d]] : capacity_[d][p];
  }

  // Adds to p's tree the free neighbours that it reaches.  Where it meets the other tree, flow is
  // sent, and p has to be looked at again: true.
  bool grow(int32_t p) {
    for (int32_t d = 0; d < 4; ++d) {
      if (outward(p, d) == 0) continue;
      const int32_t q = p + step_[d];
      if (tree_[q] == kFree) {
        tree_[q] = tree_[p];
        adopt(q, d ^ 1, p);
        enqueue(q);
      } else if (tree_[q] != tree_[p]) {
        ++time_;
        tree_[p] == kSource ? augment(p, d) : augment(q, d ^ 1);
        settle_orphans();
        return true;
      } else if (seen_[q] <= seen_[p] && distance_[q] > distance_[p]) {
        adopt(q, d ^ 1, p);  // a shorter way to the root
      }
    }
    return false;
  }

  void adopt(int32_t child, int32_t direction, int32_t parent) {
    parent_[child] = static_cast<uint8_t>(direction);
    seen_[child] = seen_[parent], distance_[child] = distance_[parent] + 1;
  }

  // Sends as much as it can from the root of p's tree, the source's, to that of its neighbour's.
  void augment(int32_t p, int32_t d) {
    const int32_t q = p + step_[d];
    int32_t flow = std::min(capacity_[d][p], std::min(room_to_root(p), room_to_root(q)));
    send(p, d, flow);
    int32_t root = take_to_root(p, flow);
    if ((excess_[root] -= flow) == 0) make_orphan(root);
    root = take_to_root(q, flow);
    if ((excess_[root] += flow) == 0) make_orphan(root);
  }

  int32_t room_to_root(int32_t p) const {
    int32_t room = INT32_MAX;
    for (; parent_[p] != kTerminal; p += step_[parent_[p]])
      room = std::min(room, inward(p, parent_[p]));
    return std::min(room, std::abs(excess_[p]));
  }

  // Returns the root.  Cells whose way to it is used up become orphans.
  int32_t take_to_root(int32_t p, int32_t flow) {
    while (parent_[p] != kTerminal) {
      const int32_t d = parent_[p], q = p + step_[d];
      tree_[p] == kSource ? send(q, d ^ 1, flow) : send(p, d, flow);
      if (inward(p, d) == 0) make_orphan(p);
      p = q;
    }
    return p;
  }

  void make_orphan(int32_t p) {
    parent_[p] = kOrphan;
    orphans_[orphans_tail_++ % kQueue] = static_cast<int16_t>(p);
  }

  // Finds each orphan a new parent in its tree, or sets it free.
  void settle_orphans() {
    while (orphans_head_ != orphans_tail_) {
      const int32_t p = orphans_[orphans_head_++ % kQueue];
      int32_t best = kNoParent, nearest = INT32_MAX;
      for (int32_t d = 0; d < 4; ++d) {
        const int32_t q = p + step_[d];
        if (tree_[q] != tree_[p] || inward(p, d) == 0 || !reaches_root(q)) continue;
        if (distance_[q] < nearest) nearest = distance_[q], best = d;
      }
      if (best != kNoParent)
        adopt(p, best, p + step_[best]);
      else
        set_free(p);
    }
  }

  // Whether a cell's parents lead to a root; if so, marks them all as checked now.
  bool reaches_root(int32_t cell) {
    int32_t length = 0, p = cell;
    for (; seen_[p] != time_; p += step_[parent_[p]], ++length) {
      if (parent_[p] == kTerminal) {
        seen_[p] = time_, distance_[p] = 1;
        break;
      }
      if (parent_[p] >= kOrphan) return false;
    }
    length += distance_[p];
    for (p = cell; seen_[p] != time_; p += step_[parent_[p]])
      seen_[p] = time_, distance_[p] = length--;
    return true;
  }

  // Its children become orphans, and neighbours that reach it are to be looked at again.
  void set_free(int32_t p) {
    for (int32_t d = 0; d < 4; ++d) {
      const int32_t q = p + step_[d];
      if (tree_[q] != tree_[p]) continue;
      if (inward(p, d) > 0) enqueue(q);
      if (parent_[q] == (d ^ 1)) make_orphan(q);
    }
    tree_[p] = kFree, parent_[p] = kNoParent;
  }
};

}  // namespace msda
