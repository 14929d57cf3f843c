// Softened edges (Harris et al., arXiv:2002.12047, appendix D.2) as a block of threads makes them.
// The weights of the 2 * soft pixels around the threshold fall from 1 to 0 in equal steps, both
// ends included, so that the mask's sum stays `count`.
//
// A weight follows from the rank of its pixel.  So the block selects twice, once for each end of
// this band, lists the pixels in between in any order, and sorts the list.  It needs no further
// memory.  The list lies in the output, which has a word for every pixel.  The weights replace the
// field's values until all are known; then they are copied to the output.
#pragma once
#include "msda/field/selection.h"

namespace msda {

// The band of ranks [count - soft, count + soft).
struct Band {
  uint64_t before, last;  // the last order before the band, or 0, which no pixel has; its own last
  uint32_t soft;
  uint32_t* row;    // pixels_of(f) words: first the list, in the end the weights
  uint32_t* taken;  // how many pixels are listed; 0 at the start
};

MSDA_FN float ramp(uint32_t rank, uint32_t soft) {
  return static_cast<float>(1.0 - static_cast<double>(rank) / static_cast<double>(2 * soft - 1));
}

// Lists the pixels of the band, and gives the others their weights.
MSDA_FN void phase_list(const FieldBlock& b, const Entries& data, const Band& band,
                        BlockThread me) {
  for (uint32_t i = me.thread; i < pixels_of(b.f); i += me.threads) {
    const uint64_t order = order_of(b, data, i);
    const bool before = order <= band.before;
    if (!before && order <= band.last)
      band.row[add_one(band.taken)] = i;
    else
      *value_at(b, data, i) = before ? 1.0f : 0.0f;
    read_memory_again();
  }
}

// One step of a bitonic sort of the list.  It compares entries that lie `gap` places from each
// other or, if `gap` is 0, at mirrored places of a run of `run` entries.  The smaller order always
// goes to the front, so a list of any length is sorted as if it were filled up with orders greater
// than all.
MSDA_FN void phase_sort(const FieldBlock& b, const Entries& data, const Band& band, uint32_t run,
                        uint32_t gap, BlockThread me) {
  const uint32_t listed = 2 * band.soft, half = gap ? gap : run / 2;
  for (uint32_t i = me.thread;; i += me.threads) {
    const uint32_t at = i & (half - 1u), start = 2 * (i - at);  // `half` is a power of two
    if (start >= listed) break;
    const uint32_t first = start + at, second = gap ? first + gap : start + run - 1 - at;
    if (second >= listed) continue;
    const uint32_t a = band.row[first], c = band.row[second];
    if (order_of(b, data, a) > order_of(b, data, c)) band.row[first] = c, band.row[second] = a;
    read_memory_again();
  }
}

// Gives the pixels of the band, whose list is sorted now, their weights.
MSDA_FN void phase_ramp(const FieldBlock& b, const Entries& data, const Band& band,
                        BlockThread me) {
  for (uint32_t rank = me.thread; rank < 2 * band.soft; rank += me.threads)
    *value_at(b, data, band.row[rank]) = ramp(rank, band.soft);
}

// Copies the weights to the output.
MSDA_FN void phase_weights(const FieldBlock& b, const Entries& data, const Band& band,
                           BlockThread me) {
  for (uint32_t i = me.thread; i < pixels_of(b.f); i += me.threads)
    band.row[i] = bits_of(*value_at(b, data, i));
}

}  // namespace msda
