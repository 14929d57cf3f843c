// Own weight of one pixel: the share of the output that comes from the own sample.
// Nothing here draws a random number, so every backend returns the same bits.
//
// Whatever goes through pixels asks weight_kind() once for a sample and switches over its answer
// without a default: a kind that is added is then an error of the compiler at each place that
// leaves it out.
#pragma once
#include "msda/maths.h"
#include "msda/plan.h"

namespace msda {

enum class WeightKind : uint8_t {
  kOne,     // one weight for the whole sample: one_weight()
  kBox,     // `inside` in a box, `outside` around it
  kBump,    // a Gaussian bump around a point, from `outside` to `inside`
  kBits,    // a mask of one bit a pixel, which is made before
  kFloats,  // a mask of one float a pixel, which is made before
};

// How a record weighs its pixels.  A number that is no method, which msda_check (cpu/check.cpp)
// refuses, weighs as kMixup; so does kPuzzleMix, whose cells are no part of the record, so that all
// but puzzle/ refuse it.
MSDA_FN WeightKind weight_kind(const Plan& p) {
  switch (static_cast<Method>(p.method)) {
    case kNone:
    case kMixup:
    case kPuzzleMix:
      return WeightKind::kOne;
    case kCutMix:
    case kHMix:
    case kResizeMix:
    case kSaliencyMix:
    case kCutout:
      return WeightKind::kBox;
    case kGMix:
    case kSmoothMix:
      return WeightKind::kBump;
    case kFMix:
      return p.soft > 0 ? WeightKind::kFloats : WeightKind::kBits;
  }
  return WeightKind::kOne;
}

// Whether the weights are a mask that is made before the pixels are mixed.
MSDA_FN bool has_mask(const Plan& p) {
  switch (weight_kind(p)) {
    case WeightKind::kOne:
    case WeightKind::kBox:
    case WeightKind::kBump:
      return false;
    case WeightKind::kBits:
    case WeightKind::kFloats:
      return true;
  }
  return false;
}

// Whether all of the partner is shrunk into the box.  Methods that shrink or erase weigh by a box.
MSDA_FN bool shrinks(const Plan& p) { return p.method == kResizeMix && p.sources == 2; }

// Whether the output is 0 in the box.
MSDA_FN bool erases(const Plan& p) { return p.method == kCutout; }

// Whether `at` lies in [begin, end) on an axis of `size` pixels.  An `end` above `size` wraps round
// the border.
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

// Weight of a pixel in a mask of bits.
MSDA_FN float weight_of_bit(const void* mask, int64_t pixel) {
  return static_cast<float>((static_cast<const uint32_t*>(mask)[pixel >> 5] >> (pixel & 31)) & 1u);
}

// The weight of a record of WeightKind::kOne.
MSDA_FN float one_weight(const Plan& p) {
  if (p.method == kNone) return 1.0f;
  return p.sources > 2 ? p.weight[0] : p.outside;
}

// `row` counts all rows of the sample: of a volume, depth by depth.  `mask` is read where the
// record has one.  All pixels of a sample take the same case, so that a warp never diverges on it.
MSDA_FN float own_weight(const Plan& p, const void* mask, int32_t row, int32_t x) {
  const int64_t pixel = static_cast<int64_t>(row) * p.width + x;
  switch (weight_kind(p)) {
    case WeightKind::kOne:
      return one_weight(p);
    case WeightKind::kBox:
      return in_box(p, row, x) ? p.inside : p.outside;
    case WeightKind::kBump:
      return gaussian_weight(p, bump(p.falloff[1], row - p.point[1]),
                             bump(p.falloff[2], x - p.point[2]));
    case WeightKind::kBits:
      return weight_of_bit(mask, pixel);
    case WeightKind::kFloats:
      return static_cast<const float*>(mask)[pixel];
  }
  return 1.0f;
}

// Where ResizeMix finds the partner's pixel for `at`, which lies in the box from `begin` on: the
// nearest, as interpolation with a scale factor does (floor of the distance times 1 / tau).
MSDA_FN int32_t shrunk_from(int32_t at, int32_t begin, float spacing, int32_t size) {
  const float source = floorf(static_cast<float>(at - begin) * spacing);
  return source < static_cast<float>(size) ? static_cast<int32_t>(source) : size - 1;
}

// Moves (y, x) to the place of the partner's pixel that ResizeMix shows there.  Only places in the
// box move.
MSDA_FN void find_shrunk(const Plan& p, int32_t* y, int32_t* x) {
  if (!in_box(p, *y, *x)) return;
  *y = shrunk_from(*y, p.y0, p.falloff[1], p.height);
  *x = shrunk_from(*x, p.x0, p.falloff[2], p.width);
}

}  // namespace msda
