// Own weight of one pixel: the share of the output that comes from the own sample.
// Nothing here draws a random number, so every backend returns the same bits.
#pragma once
#include "msda/plan.h"

namespace msda {

// Whether `at` lies in [begin, end) on an axis of `size` pixels whose border may be wrapped.
MSDA_FN bool in_interval(int32_t at, int32_t begin, int32_t end, int32_t size) {
  return (at >= begin && at < end) || at + size < end;
}

MSDA_FN bool in_box(const Plan& p, int32_t y, int32_t x) {
  return in_interval(y, p.y0, p.y1, p.height) && in_interval(x, p.x0, p.x1, p.width);
}

// The switch is uniform over a sample, so a warp never diverges on it.
MSDA_FN float own_weight(const Plan& p, int32_t y, int32_t x) {
  switch (p.method) {
    case kMixup:
      return p.sources > 2 ? p.weight[0] : p.outside;
    case kCutMix:
      return in_box(p, y, x) ? p.inside : p.outside;
    default:  // kNone
      return 1.0f;
  }
}

}  // namespace msda
