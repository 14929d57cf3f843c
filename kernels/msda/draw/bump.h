// GMix and SmoothMix: a Gaussian bump around a point.
#pragma once
#include "msda/draw/streams.h"

namespace msda {

// The mean over the pixels j = 0 .. n - 1 of exp(-falloff (j - point)^2).  The ratios of successive
// terms form a geometric series, so each term costs two products.
MSDA_FN double mean_of_bump(double falloff, int32_t n, int32_t point) {
  const double ratio = exp64(-2.0 * falloff);
  double sum = 1.0;
  for (int32_t side = 0; side < 2; ++side) {
    double term = 1.0, step = exp64(-falloff);
    for (int32_t left = side ? point : n - 1 - point; left > 0 && term > 1e-18; --left) {
      sum += term *= step;
      step *= ratio;
    }
  }
  return sum / n;
}

MSDA_FN double mean_of_gaussian(const Plan& p, double falloff) {
  return mean_of_bump(falloff, p.height, p.point[1]) * mean_of_bump(falloff, p.width, p.point[2]);
}

constexpr double kNarrowest = 64.0;  // a falloff whose bump is a single pixel

// The falloff whose bump has a given mean.  The mean falls from 1, at falloff 0, to one pixel's
// share.  The falloff is found on a logarithmic scale by the Illinois method, to 1e-10 of the mean
// or to its last bit.
MSDA_FN double falloff_of_mean(const Plan& p, double mean) {
  double low = log64(1e-12), high = log64(kNarrowest);  // the first is wider than any image
  double above = mean_of_gaussian(p, 1e-12) - mean;
  double below = mean_of_gaussian(p, kNarrowest) - mean;
  if (above <= 0.0) return 0.0;
  if (below >= 0.0) return kNarrowest;
  double middle = high;
  for (int32_t i = 0, kept = 0; i < 200 && high - low > 1e-13; ++i) {
    middle = (low * below - high * above) / (below - above);
    const double found = mean_of_gaussian(p, exp_any(middle)) - mean;
    if (found < 1e-10 * mean && found > -1e-10 * mean) break;
    if (found > 0.0) {
      low = middle, above = found;
      if (kept > 0) below *= 0.5;
      kept = 1;
    } else {
      high = middle, below = found;
      if (kept < 0) above *= 0.5;
      kept = -1;
    }
  }
  return exp_any(middle);
}

constexpr double kPi = 3.14159265358979323846;

MSDA_FN void draw_point(Plan& p, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  p.point[1] = bounded(position.word(), p.height);
  p.point[2] = bounded(position.word(), p.width);
}

MSDA_FN void set_falloff(Plan& p, double falloff) {
  if (falloff > 3e38) falloff = 3e38;  // lambda may be as small as floats get
  p.falloff[1] = p.falloff[2] = static_cast<float>(falloff);
}

// Park, Yun and Chun, GMix: a Gaussian bump of one image in the other.
MSDA_FN void draw_gmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  draw_point(p, unit);
  const double lam = p.lam;
  const bool own_bump = leaf.mode == kGMixCode && lam < 0.5;
  p.inside = own_bump ? 1.0f : 0.0f;
  p.outside = 1.0f - p.inside;
  const double area = own_bump ? lam : 1.0 - lam;
  if (area <= 0.0) {  // no bump at all
    p.inside = p.outside;
    return set_weight(p, p.outside);
  }
  double falloff = kPi / (area * pixels(p));
  if (leaf.mode == kGMixPaper) falloff *= 0.5;
  if (leaf.mode == kGMixExact) falloff = falloff_of_mean(p, area);
  set_falloff(p, falloff);
  // No bump has a mean below one pixel's share, or above 1: there the weight is the mask's mean.
  const bool is_at_limit = falloff == 0.0 || falloff == kNarrowest;
  if (leaf.mode == kGMixPaper || (leaf.mode == kGMixExact && !is_at_limit))
    return set_weight(p, p.lam);
  const double mean = mean_of_gaussian(p, static_cast<double>(p.falloff[1]));
  set_weight(p, static_cast<float>(own_bump ? mean : 1.0 - mean));
}

// Lee et al., SmoothMix: a Gaussian bump of the partner.  `sigma` is its standard deviation as a
// share of the side of a square with as many pixels; it follows from lambda where that is given.
//
// The nominal lambda is exp(-area), where the area is the bump's on an unbounded plane, as a share
// of the image's: 1 without a bump, 0 where it covers everything, falling with the width.
MSDA_FN void draw_smoothmix(Plan& p, double sigma, bool is_lam_given, const Unit& unit) {
  draw_point(p, unit);
  double area = 2.0 * kPi * sigma * sigma;
  if (is_lam_given)
    area = p.lam > 0.0f ? -log64(p.lam) : 1e300;
  else
    p.lam = static_cast<float>(exp64(-area));
  p.inside = area > 0.0 ? 0.0f : 1.0f;
  p.outside = 1.0f;
  if (!(area > 0.0)) return set_weight(p, 1.0f);
  set_falloff(p, kPi / (area * pixels(p)));
  const double mean = mean_of_gaussian(p, static_cast<double>(p.falloff[1]));
  set_weight(p, static_cast<float>(1.0 - mean));
}

}  // namespace msda
