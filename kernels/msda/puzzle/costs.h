// What a mask of Puzzle Mix costs, in fixed point, so that every backend finds the same mask.  Kim,
// Choo and Song, "Puzzle Mix: exploiting saliency and local statistics for optimal mixup", ICML
// 2020, as in the authors' code.
//
// An image is cut into side x side blocks.  Each block of the output gets a label t from 0 (all
// own) to d = levels - 1 (all partner); its own weight is z = 1 - t / d.  A mask costs
//
// * for each block the saliency that it hides, z S'[p] + (1 - z) S[p], with the shares S of the own
//   image and S' of the partner;
// * for each block the prior, eta / side^2 * -log(binomial(d, t) lam^(d - t) (1 - lam)^t);
// * for each border w (z_p - z_q)^2, where w is beta / (16 side) and what the contrast of pixels
//   there adds to it; the rest of the contrast goes to the two blocks.  For weights of 0 and 1 that
//   is the contrast itself; for those between it is what the authors' code makes of it.
//
// Every term is linear or convex in the labels, and so cut.h finds the least cost exactly.  The
// costs are integers: d^2 times the sum, in units of 2^-25.  The authors round to 1e-3 / side^2.
#pragma once
#include "msda/maths.h"
#include "msda/puzzle/settings.h"

namespace msda {

constexpr int32_t kMaxSide = 16, kMaxCells = kMaxSide * kMaxSide;

constexpr double kShareOne = 1 << 24;  // all saliency of an image
constexpr double kCostOne = 1 << 25;
constexpr int32_t kPixelOne = 65535;   // a pixel's value 1, of [0, 1]
constexpr float kLeastLam = 0x1p-13f;  // the prior takes lambda to be this far from 0 and 1

// A part of an image's saliency, in units of 2^-24 of the whole.
MSDA_FN int32_t saliency_share(int64_t part, int64_t whole) {
  const double share = static_cast<double>(part) / static_cast<double>(whole);
  return static_cast<int32_t>(share * kShareOne + 0.5);
}

// A pixel's value in [0, 1] as an integer; values beyond are cut off, NaN becomes 0.
MSDA_FN int32_t fixed_pixel(float value) {
  const float scaled = value * static_cast<float>(kPixelOne) + 0.5f;
  const float most = static_cast<float>(kPixelOne);
  return static_cast<int32_t>(scaled > 0.0f ? (scaled < most ? scaled : most) : 0.0f);
}

MSDA_FN int32_t fixed_pixel(uint8_t value) { return value * (kPixelOne / 255); }

// The contrast across the border of two blocks, by whose pixels they show: contrast[u][v] of the
// near block (left or upper) showing u and the far one v, 0 for own and 1 for the partner.
struct Border {
  int32_t contrast[2][2];  // in units of 2^-24
};

// The scale of contrasts: the greatest one, and what smoothness adds to it.
struct BorderScale {
  int32_t greatest, smoothness;
};

MSDA_FN BorderScale border_scale(const PuzzleSettings& s, int32_t side) {
  const double smoothness = s.beta / (16.0 * side) * kShareOne;
  return {static_cast<int32_t>(smoothness * s.gamma + 0.5), static_cast<int32_t>(smoothness + 0.5)};
}

// A contrast from a sum of absolute differences, which is at most `greatest_sum`.
MSDA_FN int32_t contrast_of(int64_t sum, int64_t greatest_sum, const BorderScale& scale) {
  const double share = static_cast<double>(sum) / static_cast<double>(greatest_sum);
  return static_cast<int32_t>(share * scale.greatest + 0.5);
}

// What it costs to give the near block one label more, and the far one.
MSDA_FN int32_t near_slope(const Border& b) {
  return b.contrast[1][0] + b.contrast[1][1] - b.contrast[0][0] - b.contrast[0][1];
}
MSDA_FN int32_t far_slope(const Border& b) {
  return b.contrast[0][1] + b.contrast[1][1] - b.contrast[0][0] - b.contrast[1][0];
}

// The weight w >= 0 of w (t_p - t_q)^2 between two blocks.
MSDA_FN int32_t border_weight(const Border& b, const BorderScale& scale) {
  return b.contrast[0][1] + b.contrast[1][0] - b.contrast[0][0] - b.contrast[1][1] +
         2 * scale.smoothness;
}

// The prior of a label t: slope * t, less `between` for labels other than 0 and d.  That is exact
// for d <= 3, where both binomial coefficients between are d.
struct Prior {
  int32_t slope, between;
};

// The slope falls with 1 - lambda without a step back, so that masks of one pair are nested.
MSDA_FN Prior prior_of(float lam, const PuzzleSettings& s, int32_t side) {
  const float most = 1.0f - kLeastLam;
  const double own = static_cast<double>(lam < kLeastLam ? kLeastLam : lam > most ? most : lam);
  const double d = s.levels - 1, scale = d * d * s.eta / (side * side) * kCostOne;
  return {static_cast<int32_t>(rint(scale * (log64(own) - log64(1.0 - own)))),
          static_cast<int32_t>(rint(scale * log64(d)))};
}

}  // namespace msda
