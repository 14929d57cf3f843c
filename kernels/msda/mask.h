// Own weight of one pixel: the share of the output that comes from the own sample.
// Nothing here draws a random number, so every backend returns the same bits.
#pragma once
#include "msda/maths.h"
#include "msda/plan.h"

namespace msda {

// Whether `at` lies in [begin, end) on an axis of `size` pixels whose border may be wrapped.
MSDA_FN bool in_interval(int32_t at, int32_t begin, int32_t end, int32_t size) {
  return (at >= begin && at < end) || at + size < end;
}

MSDA_FN bool in_box(const Plan& p, int32_t y, int32_t x) {
  return in_interval(y, p.y0, p.y1, p.height) && in_interval(x, p.x0, p.x1, p.width);
}

// One axis of a Gaussian bump: exp(-falloff d^2).
MSDA_FN float bump(float falloff, int32_t distance) {
  const float d = static_cast<float>(distance);
  return exp32(-falloff * (d * d));
}

MSDA_FN float gaussian_weight(const Plan& p, float along_y, float along_x) {
  return fmaf(along_y * along_x, p.inside - p.outside, p.outside);
}

// Entry of a field mask: its bit, or its weight where it is softened.
MSDA_FN float field_weight(const Plan& p, const void* field, int64_t pixel) {
  if (p.soft > 0) return static_cast<const float*>(field)[pixel];
  return static_cast<float>((static_cast<const uint32_t*>(field)[pixel >> 5] >> (pixel & 31)) & 1u);
}

// Whether own_weight looks at a box.
MSDA_FN bool weighs_by_box(const Plan& p) {
  return p.method == kCutMix || p.method == kHMix || p.method == kSaliencyMix ||
         p.method == kResizeMix || p.method == kCutout;
}

// The switch is uniform over a sample, so a warp never diverges on it.  `row` counts all rows of
// the sample: of a volume, depth by depth.
MSDA_FN float own_weight(const Plan& p, const void* field, int32_t row, int32_t x) {
  switch (p.method) {
    case kMixup:
      return p.sources > 2 ? p.weight[0] : p.outside;
    case kCutMix:
    case kHMix:
    case kSaliencyMix:
    case kResizeMix:
    case kCutout:
      return in_box(p, row, x) ? p.inside : p.outside;
    case kGMix:
      return gaussian_weight(p, bump(p.falloff[1], row - p.point[1]),
                             bump(p.falloff[2], x - p.point[2]));
    case kFMix:
      return field_weight(p, field, static_cast<int64_t>(row) * p.width + x);
    default:  // kNone
      return 1.0f;
  }
}

// Where ResizeMix finds the partner's pixel for `at`, which lies in the box from `begin` on: the
// nearest, as interpolation with a scale factor does (floor of the distance times 1 / tau).
MSDA_FN int32_t shrunk_from(int32_t at, int32_t begin, float spacing, int32_t size) {
  const float source = floorf(static_cast<float>(at - begin) * spacing);
  return source < static_cast<float>(size) ? static_cast<int32_t>(source) : size - 1;
}

// The place of the partner's pixel that ResizeMix shows at (y, x): in the box that of shrunk_from.
MSDA_FN void find_shrunk(const Plan& p, int32_t* y, int32_t* x) {
  if (!in_box(p, *y, *x)) return;
  *y = shrunk_from(*y, p.y0, p.falloff[1], p.height);
  *x = shrunk_from(*x, p.x0, p.falloff[2], p.width);
}

}  // namespace msda
