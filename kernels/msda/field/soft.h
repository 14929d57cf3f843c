// Softened edges (Harris et al., arXiv:2002.12047, appendix D.2) as a block of threads makes them:
// the 2 soft pixels around the threshold go from 1 to 0 in equal steps, both included, so that the
// mask's sum stays `count`.
//
// The steps ask for the rank of every pixel of that band.  The block selects twice, for the band's
// two ends, lists the pixels between them in any order, and sorts the list.  It takes no memory of
// its own: the list lies in the output, whose pixels are at least as many, and the weights replace
// the field's values where those are, until all are known.
#pragma once
#include "msda/field/phases.h"

namespace msda {

// The band of ranks [count - soft, count + soft).
struct Band {
  uint64_t before, last;  // the last order before the band (0, which no pixel has: there is none),
                          // and its own last
  uint32_t soft;
  uint32_t* row;    // pixels_of(f) words: first the list, in the end the weights
  uint32_t* taken;  // how many pixels are listed; 0 at the start
};

MSDA_FN float ramp(uint32_t rank, uint32_t soft) {
  return static_cast<float>(1.0 - static_cast<double>(rank) / static_cast<double>(2 * soft - 1));
}

// Lists the pixels of the band; the others have their weight.
MSDA_FN void phase_list(const FieldBlock& b, const Entries& data, const Band& band,
                        BlockThread me) {
  for (uint32_t i = me.thread; i < pixels_of(b.f); i += me.threads) {
    const uint64_t order = order_of(b, data, i);
    const bool before = order <= band.before;
    if (!before && order <= band.last)
      band.row[take_one(band.taken)] = i;
    else
      *value_at(b, data, i) = before ? 1.0f : 0.0f;
  }
}

// One step of a bitonic sort of the list: pairs that are `gap` apart, or, if `gap` is 0, at
// mirrored places of runs of `run`.  The smaller order goes to the front in all of them, so that a
// list of any length is sorted as if it were filled up with orders greater than all.
MSDA_FN void phase_sort(const FieldBlock& b, const Entries& data, const Band& band, uint32_t run,
                        uint32_t gap, BlockThread me) {
  const uint32_t listed = 2 * band.soft, half = gap ? gap : run / 2;
  for (uint32_t i = me.thread; i / half * 2 * half < listed; i += me.threads) {
    const uint32_t start = i / half * 2 * half, at = i % half;
    const uint32_t first = start + at, second = gap ? first + gap : start + run - 1 - at;
    if (second >= listed) continue;
    const uint32_t a = band.row[first], c = band.row[second];
    if (order_of(b, data, a) < order_of(b, data, c)) continue;
    band.row[first] = c;
    band.row[second] = a;
  }
}

// Weights of the band, now in its order.
MSDA_FN void phase_ramp(const FieldBlock& b, const Entries& data, const Band& band,
                        BlockThread me) {
  for (uint32_t rank = me.thread; rank < 2 * band.soft; rank += me.threads)
    *value_at(b, data, band.row[rank]) = ramp(rank, band.soft);
}

MSDA_FN void phase_weights(const FieldBlock& b, const Entries& data, const Band& band,
                           BlockThread me) {
  for (uint32_t i = me.thread; i < pixels_of(b.f); i += me.threads)
    band.row[i] = bits_of(*value_at(b, data, i));
}

}  // namespace msda
