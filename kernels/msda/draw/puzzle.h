// What Puzzle Mix draws.  Its masks follow from that and from a model's saliency: puzzle/.
#pragma once
#include "msda/draw/streams.h"

namespace msda {

constexpr int32_t kMaxBlockCounts = 7;

// Numbers of blocks along each side, 2 to 16, of which a batch draws one: what a leaf's `modes`
// holds, 4 bits for each, less one, from the lowest on.  Returns how many there are, 0 if it holds
// none or something else.
MSDA_FN int32_t block_counts(int32_t* counts, int32_t modes) {
  if (modes < 0 || modes >> 4 * kMaxBlockCounts != 0) return 0;
  int32_t n = 0;
  for (; modes > 0; modes >>= 4) {
    if ((modes & 15) == 0) return 0;
    counts[n++] = (modes & 15) + 1;
  }
  return n;
}

// Kim, Choo and Song, Puzzle Mix, ICML 2020: lambda, and a number of blocks that the batch shares.
// The label weights are lambda's until masks are found, or, with masks of a fixed lambda, for good.
MSDA_FN void draw_puzzlemix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  const MsdaDraw& draw = *unit.draw;
  const double u = uniform(word64(draw.seed, identity_of(draw, 0), draw.step, kDrawBlocks, 0));
  int32_t counts[kMaxBlockCounts];
  const int32_t n = block_counts(counts, leaf.modes);
  p.modes = counts[static_cast<int32_t>(u * n)];
  p.soft = leaf.length - 1;
  p.flags = leaf.rounding ? uint32_t{kPlanMoves} : 0;
  set_weight(p, p.lam);
  if (leaf.mode != kPuzzleMixFixed) return;
  p.lam = static_cast<float>(leaf.r);
  p.flags |= kPlanOwnLabel;
}

}  // namespace msda
