// FMix: how many pixels stay own, and the seed of the field that says which.
#pragma once
#include "msda/draw/streams.h"

namespace msda {

// Harris et al., FMix, arXiv:2002.12047.
MSDA_FN void draw_fmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  const double lam = p.lam, own = lam * pixels(p), whole = floor(own);
  const double u = unit.stream(kDrawRounding).uniform();
  const bool up = leaf.rounding == kRoundStochastic ? u < own - whole
                  : leaf.rounding == kRoundCoin     ? u > 0.5 && own > whole
                                                    : rint(own) > whole;
  p.count = static_cast<int32_t>(whole) + up;
  const double least = lam < 1.0 - lam ? lam : 1.0 - lam;
  p.soft = static_cast<int32_t>(pixels(p) * (leaf.max_soft > least ? least : leaf.max_soft));
  const int32_t others = static_cast<int32_t>(pixels(p)) - p.count;
  const int32_t room = p.count < others ? p.count : others;
  if (p.soft > room) p.soft = room;  // rounding may have made the smaller part smaller still
  Stream seed = unit.stream(kDrawField);
  const uint64_t word = seed.word();
  p.field_seed[0] = static_cast<uint32_t>(word);
  p.field_seed[1] = static_cast<uint32_t>(word >> 32);
  p.decay = static_cast<float>(leaf.decay);
  p.modes = leaf.modes;
  p.flags = leaf.mode == kFMixLegacy ? uint32_t{kPlanLegacy} : 0;
  p.inside = 0.0f, p.outside = 1.0f;
  set_weight(p, leaf.reformulate ? 1.0f : static_cast<float>(p.count / pixels(p)));
}

}  // namespace msda
