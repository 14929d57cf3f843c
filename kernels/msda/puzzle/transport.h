// Transport of Puzzle Mix: salient blocks that the mask hides move to visible places.
//
// Showing the block s at the visible place t costs move_cost |s - t|^2 / (side - 1)^2 - share[s].
// In each round every block without a place asks for the next one of least cost, as long as that is
// below 0, and each place keeps the cheapest block that asks.  The authors' iteration over tables
// of all pairs, as many rounds as a side has blocks, ends at the same visible blocks.  It is the
// deferred acceptance of Gale and Shapley, American Mathematical Monthly 69, 1962.
//
// A visible block's own place costs it least, so that all of them begin at home, and no visible
// place is ever empty.  What lies at hidden places is not seen; they keep their blocks.  Of equal
// costs the lower number goes first, of places and of blocks.
#pragma once
#include "msda/puzzle/costs.h"

namespace msda {

constexpr int32_t kNowhere = -1;

// The places of one image, and what the search for them needs.
struct Transport {
  int32_t side;
  int32_t step_cost;      // of a move by one block; it grows with the square of the distance
  const int32_t* shares;  // of the blocks' saliency, in units of 2^-24
  const uint8_t* visible;
};

// At least 1, so that near places come first even where moves cost nothing.
MSDA_FN int32_t step_cost(double move_cost, int32_t side) {
  const double cost = move_cost / ((side - 1) * (side - 1)) * kShareOne + 0.5;
  return cost < 1.0 ? 1 : static_cast<int32_t>(cost);
}

MSDA_FN int32_t squared_distance(int32_t from, int32_t to, int32_t side) {
  const int32_t y = to / side - from / side, x = to % side - from % side;
  return y * y + x * x;
}

// The place that a block asks for after `last`, or at first if that is kNowhere; kNowhere if
// staying out costs less.  Places are asked in the order of their distance.
MSDA_FN int32_t next_place(const Transport& t, int32_t block, int32_t last) {
  const int32_t side = t.side, y = block / side, x = block % side, share = t.shares[block];
  const int32_t done = last == kNowhere ? -1 : squared_distance(block, last, side);
  int32_t reach = 0;  // no place farther than that pays
  while (reach < side - 1 && int64_t{t.step_cost} * (reach + 1) * (reach + 1) < share) ++reach;
  int32_t best = kNowhere, nearest = 2 * kMaxCells;
  for (int32_t row = y > reach ? y - reach : 0; row <= y + reach && row < side; ++row)
    for (int32_t column = x > reach ? x - reach : 0; column <= x + reach && column < side;
         ++column) {
      const int32_t place = row * side + column;
      const int32_t distance = (row - y) * (row - y) + (column - x) * (column - x);
      const bool was_asked = distance < done || (distance == done && place <= last);
      if (!t.visible[place] || was_asked || distance >= nearest) continue;
      if (int64_t{t.step_cost} * distance < share) best = place, nearest = distance;
    }
  return best;
}

// How well a block that asks for a place suits it, or that has it: of several the greatest stays.
// The cost counts first, and then the block's number.
MSDA_FN uint64_t rank_at(const Transport& t, int32_t place, int32_t block) {
  const int64_t gain =
      t.shares[block] - int64_t{t.step_cost} * squared_distance(block, place, t.side);  // >= 0
  return static_cast<uint64_t>(gain) * kMaxCells + static_cast<uint64_t>(kMaxCells - 1 - block);
}
MSDA_FN int32_t block_of_rank(uint64_t rank) {
  return kMaxCells - 1 - static_cast<int32_t>(rank % kMaxCells);
}

// Fills in which block is shown at each place.
MSDA_FN void move_blocks(uint8_t* sources, const Transport& t) {
  const int32_t blocks = t.side * t.side;
  int16_t asking[kMaxCells], losers[kMaxCells], last[kMaxCells];
  int32_t count = 0;
  for (int32_t s = 0; s < blocks; ++s) {
    sources[s] = static_cast<uint8_t>(s);
    last[s] = static_cast<int16_t>(t.visible[s] ? s : kNowhere);
    if (!t.visible[s] && t.shares[s] > t.step_cost) asking[count++] = static_cast<int16_t>(s);
  }
  for (int32_t round = 0; round < t.side && count > 0; ++round) {
    int32_t lost = 0;
    for (int32_t k = 0; k < count; ++k) {
      const int32_t block = asking[k], place = next_place(t, block, last[block]);
      if (place == kNowhere) continue;
      last[block] = static_cast<int16_t>(place);
      int32_t loser = block;
      if (rank_at(t, place, block) > rank_at(t, place, sources[place])) {
        loser = sources[place];
        sources[place] = static_cast<uint8_t>(block);
      }
      losers[lost++] = static_cast<int16_t>(loser);
    }
    for (int32_t k = 0; k < lost; ++k) asking[k] = losers[k];
    count = lost;
  }
}

}  // namespace msda
