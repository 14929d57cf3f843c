// Fills plans from (seed, rank, step) and a policy, in float64 and integers.  Only CPUs do this,
// for every backend, so that lambdas, boxes, partners and counts are the same everywhere.
#pragma once
#include "msda/draw/boxes.h"
#include "msda/draw/bump.h"
#include "msda/draw/field.h"
#include "msda/draw/puzzle.h"

namespace msda {

// Zhang et al., mixup, ICLR 2018.  With more than two sources their weights are the `shares`.
MSDA_FN void draw_mixup(Plan& p, const MsdaLeaf& leaf, const double* shares) {
  set_weight(p, p.lam);
  p.inside = p.outside = leaf.mode == kMixupAverage ? 0.5f : p.lam;
  if (leaf.sources == 2) return;
  for (int32_t k = 1; k < leaf.sources; ++k) p.weight[k] = static_cast<float>(shares[k]);
}

// The record of a sample that is not mixed.
MSDA_FN Plan unmixed(const MsdaDraw& draw, int32_t slot) {
  Plan p = {};
  p.version = kPlanVersion;
  p.sources = 1;
  for (int32_t k = 0; k < kMaxSources; ++k) p.source[k] = slot;
  p.weight[0] = p.lam = p.inside = p.outside = 1.0f;
  p.depth = draw.depth, p.height = draw.height, p.width = draw.width;
  return p;
}

// What is drawn for each of a unit's interpolations.
enum class Amount {
  kLambda,  // the own share
  kSide,    // the side of what the partner gets, as a share of the image's; SmoothMix's sigma
  kNone,
};

MSDA_FN Amount amount_of(const MsdaLeaf& leaf) {
  switch (static_cast<Method>(leaf.method)) {
    case kNone:
    case kCutout:
      return Amount::kNone;
    case kMixup:  // with more sources than two draw_shares() draws
      return leaf.sources > 2 ? Amount::kNone : Amount::kLambda;
    case kCutMix:
    case kFMix:
    case kHMix:
    case kGMix:
    case kSaliencyMix:
    case kPuzzleMix:
      return Amount::kLambda;
    case kResizeMix:
    case kSmoothMix:
      return Amount::kSide;
  }
  return Amount::kNone;
}

// The amounts of a unit's interpolations: successive draws of one stream, sorted so that lambdas
// fall and sides rise.
MSDA_FN void draw_amounts(double* amounts, const MsdaDraw& draw, const MsdaLeaf& leaf,
                          const Unit& unit) {
  const bool is_tau = amount_of(leaf) == Amount::kSide;
  Stream stream = unit.stream(is_tau ? kDrawSide : kDrawLam);
  for (int32_t k = 0; k < draw.interpolations; ++k) {
    double amount, shares[2];
    if (is_tau) {
      amount = leaf.min_side + (leaf.max_side - leaf.min_side) * stream.uniform();
    } else {
      dirichlet(shares, 2, leaf.alpha, stream, leaf.reformulate ? leaf.alpha + 1.0 : 0.0);
      amount = shares[0];
    }
    int32_t at = k;
    for (; at > 0 && (is_tau ? amounts[at - 1] > amount : amounts[at - 1] < amount); --at)
      amounts[at] = amounts[at - 1];
    amounts[at] = amount;
  }
}

// The weights of three or four sources, which are Dirichlet.  If the own weight is given, the
// others share what it leaves, again by a Dirichlet draw; else `given` is null.
MSDA_FN void draw_shares(double* shares, const double* given, const MsdaLeaf& leaf,
                         const Unit& unit) {
  Stream stream = unit.stream(kDrawLam);
  if (!given) return dirichlet(shares, leaf.sources, leaf.alpha, stream);
  shares[0] = *given;
  dirichlet(shares + 1, leaf.sources - 1, leaf.alpha, stream);
  for (int32_t k = 1; k < leaf.sources; ++k) shares[k] *= 1.0 - *given;
}

// Fills one record of a slot.  `amount` is its drawn lambda or side, `given` its given lambda or
// null.
MSDA_FN void draw_record(Plan& p, const MsdaLeaf& leaf, const Unit& unit, double amount,
                         const double* given) {
  double shares[kMaxSources] = {};
  if (leaf.sources > 2) {
    draw_shares(shares, given, leaf, unit);
    amount = shares[0];
  }
  // Rounded here, once: all that follows is a function of the lambda that the record shows.
  p.lam = static_cast<float>(given ? *given : amount);
  switch (static_cast<Method>(leaf.method)) {
    case kCutMix:
      return draw_cutmix(p, leaf, unit);
    case kSaliencyMix:
      return draw_saliencymix(p, leaf, unit);
    case kFMix:
      return draw_fmix(p, leaf, unit);
    case kHMix:
      return draw_hmix(p, leaf, unit);
    case kGMix:
      return draw_gmix(p, leaf, unit);
    case kResizeMix:
      if (!given) p.lam = static_cast<float>(1.0 - amount * amount);
      return draw_resizemix(p, given ? sqrt(1.0 - p.lam) : amount, unit);
    case kCutout:
      return draw_cutout(p, leaf, unit);
    case kSmoothMix:
      return draw_smoothmix(p, amount, given != nullptr, unit);
    case kPuzzleMix:
      return draw_puzzlemix(p, leaf, unit);
    case kNone:
    case kMixup:
      return draw_mixup(p, leaf, shares);
  }
}

// Fills the records of one slot, one for each interpolation.  They share every draw but lambda, so
// boxes and masks are nested.  `partners[k]` is the slot of source k + 1, and `peak_slot` is the
// one whose peak a kSaliencyMix box is centred on.
MSDA_FN void draw_slot(Plan* plans, const MsdaDraw& draw, const MsdaLeaf& leaf, int32_t number,
                       int32_t slot, const int32_t* partners, int32_t peak_slot,
                       uint64_t unit_identity) {
  const int32_t* peak = draw.peaks ? draw.peaks + 2 * int64_t{peak_slot} : nullptr;
  const Unit unit = {&draw, unit_identity, peak};
  const Unit sharing = {&draw, draw.shared ? identity_of(draw, 0) : unit_identity, peak};
  const bool mixes = unit.stream(kDrawProb).uniform() < leaf.prob;
  const double* given = draw.lam ? draw.lam + int64_t{slot} * draw.interpolations : nullptr;
  double amounts[kMaxInterpolations] = {};
  if (mixes && amount_of(leaf) != Amount::kNone) draw_amounts(amounts, draw, leaf, sharing);
  for (int32_t k = 0; k < draw.interpolations; ++k) {
    Plan& p = plans[k] = unmixed(draw, slot);
    p.leaf = number;
    if (!mixes) continue;
    p.method = static_cast<uint8_t>(leaf.method);
    p.sources = static_cast<uint8_t>(leaf.sources);
    for (int32_t s = 1; s < leaf.sources; ++s) p.source[s] = partners[s - 1];
    draw_record(p, leaf, unit, amounts[k], given ? given + k : nullptr);
  }
}

}  // namespace msda
