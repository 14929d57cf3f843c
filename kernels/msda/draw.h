// Fills plans from (seed, rank, step) and a policy.  CPU only, for every backend: lambda, boxes,
// partners and counts are then the same everywhere.  Exact arithmetic is float64 and integers.
#pragma once
#include "cpu.h"
#include "msda/maths.h"
#include "msda/philox.h"

namespace msda {

// Successive uniforms of one (seed, identity, step, purpose).
struct Stream {
  uint64_t seed, identity;
  uint32_t step, purpose, index;
  uint64_t word() { return word64(seed, identity, step, purpose, index++); }
  double uniform() { return msda::uniform(word()); }
};

// Uniform on {0, ..., n - 1}; the bias of the multiplication is below n / 2^64.
MSDA_FN int32_t bounded(uint64_t word, int32_t n) {
  return static_cast<int32_t>((static_cast<unsigned __int128>(word) * static_cast<uint64_t>(n)) >>
                              64);
}

// Standard normal: Marsaglia's polar method, one of its pair.
MSDA_FN double normal64(Stream& stream) {
  for (;;) {
    const double a = 2.0 * stream.uniform() - 1.0, b = 2.0 * stream.uniform() - 1.0;
    const double square = a * a + b * b;
    if (square < 1.0 && square > 0.0) return a * sqrt(-2.0 * log64(square) / square);
  }
}

// Logarithm of a Gamma(shape, 1) variate: exact rejection, Marsaglia & Tsang, "A simple method for
// generating gamma variables", ACM TOMS 2000.  Below 1 their boost U^(1/shape) stays a logarithm:
// at shape 0.01 the variate itself underflows.
MSDA_FN double log_gamma_variate(Stream& stream, double shape) {
  const double d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
  double log_value = 0.0;
  for (;;) {
    const double x = normal64(stream), root = 1.0 + c * x;
    if (root <= 0.0) continue;
    const double v = root * root * root, log_v = log64(v);
    if (log64(stream.uniform()) < 0.5 * x * x + d - d * v + d * log_v) {
      log_value = log64(d) + log_v;
      break;
    }
  }
  return shape < 1.0 ? log_value + log64(stream.uniform()) / shape : log_value;
}

// Dirichlet(alpha, ..., alpha); for n = 2 the first share is Beta(alpha, alpha).
MSDA_FN void dirichlet(double* shares, int32_t n, double alpha, Stream& stream) {
  double greatest = 0.0, sum = 0.0;
  for (int32_t k = 0; k < n; ++k) {
    shares[k] = log_gamma_variate(stream, alpha);
    if (k == 0 || shares[k] > greatest) greatest = shares[k];
  }
  for (int32_t k = 0; k < n; ++k) sum += shares[k] = exp64(shares[k] - greatest);
  for (int32_t k = 0; k < n; ++k) shares[k] /= sum;
}

// The draws of one unit (a sample, a pair or the batch).
struct Unit {
  const MsdaDraw* draw;
  uint64_t identity;
  Stream stream(uint32_t purpose) const {
    return {draw->seed, identity, draw->step, purpose, 0};
  }
};

MSDA_FN uint64_t identity_of(const MsdaDraw& draw, int32_t slot) {
  return draw.ids ? draw.ids[slot] : (uint64_t{draw.rank} << 32) | static_cast<uint32_t>(slot);
}

struct Interval {
  int32_t begin, end;
};

// Side of a box along an axis of n pixels.  The authors' code cuts floor(n sqrt(1 - lam)) and then
// takes an even number of pixels; the modes of our own take the nearest whole number.
MSDA_FN int32_t box_side(int32_t box, int32_t n, double lam) {
  const double side = n * sqrt(1.0 - lam);
  return box == kBoxClip ? static_cast<int32_t>(side) / 2 * 2 : static_cast<int32_t>(rint(side));
}

MSDA_FN Interval place(int32_t box, int32_t n, int32_t side, uint64_t word) {
  if (box == kBoxClip) {  // centre on any pixel, cut off at the border
    const int32_t centre = bounded(word, n), begin = centre - side / 2, end = centre + side / 2;
    return {begin < 0 ? 0 : begin, end > n ? n : end};
  }
  const int32_t begin = bounded(word, box == kBoxWrap ? n : n - side + 1);
  return {begin, begin + side};
}

MSDA_FN int32_t minmax_side(const MsdaLeaf& leaf, int32_t n, uint64_t word) {
  const int32_t low = static_cast<int32_t>(n * leaf.min_side);
  const int32_t high = static_cast<int32_t>(n * leaf.max_side);
  return low + bounded(word, high - low + 1);
}

MSDA_FN void set_weight(Plan& p, float own) {
  p.weight[0] = own;
  p.weight[1] = 1.0f - own;
}

// Yun et al., CutMix, ICCV 2019; box and label weight as in the authors' code.
MSDA_FN void draw_cutmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  int32_t side_y, side_x;
  if (leaf.box == kBoxMinMax) {
    Stream side = unit.stream(kDrawSide);
    side_y = minmax_side(leaf, p.height, side.word());
    side_x = minmax_side(leaf, p.width, side.word());
  } else {
    side_y = box_side(leaf.box, p.height, p.lam);
    side_x = box_side(leaf.box, p.width, p.lam);
  }
  const Interval y = place(leaf.box, p.height, side_y, position.word());
  const Interval x = place(leaf.box, p.width, side_x, position.word());
  p.y0 = y.begin, p.y1 = y.end, p.x0 = x.begin, p.x1 = x.end;
  const double area = static_cast<double>(y.end - y.begin) * (x.end - x.begin);
  p.inside = 0.0f, p.outside = 1.0f;
  set_weight(p, static_cast<float>(1.0 - area / (static_cast<double>(p.height) * p.width)));
  if (leaf.box == kBoxMinMax) p.lam = p.weight[0];
}

// Zhang et al., mixup, ICLR 2018; with more sources the weights are Dirichlet.  Where lambda is
// given the others share what it leaves, again Dirichlet among themselves.
MSDA_FN void draw_mixup(Plan& p, const MsdaLeaf& leaf, const double* shares) {
  set_weight(p, p.lam);
  p.inside = p.outside = p.lam;
  if (leaf.sources == 2) return;
  for (int32_t k = 1; k < leaf.sources; ++k) p.weight[k] = static_cast<float>(shares[k]);
}

MSDA_FN Plan unmixed(const MsdaDraw& draw, int32_t slot) {
  Plan p = {};
  p.version = kPlanVersion;
  p.sources = 1;
  for (int32_t k = 0; k < kMaxSources; ++k) p.source[k] = slot;
  p.weight[0] = p.lam = p.inside = p.outside = 1.0f;
  p.depth = draw.depth, p.height = draw.height, p.width = draw.width;
  return p;
}

// The record of one slot; `partners[k]` is the slot of source k + 1.
MSDA_FN Plan draw_slot(const MsdaDraw& draw, const MsdaLeaf& leaf, int32_t number, int32_t slot,
                       const int32_t* partners, uint64_t unit_identity) {
  const Unit unit = {&draw, unit_identity};
  Plan p = unmixed(draw, slot);
  p.leaf = number;
  if (!(unit.stream(kDrawProb).uniform() < leaf.prob)) return p;
  p.method = static_cast<uint8_t>(leaf.method);
  p.sources = static_cast<uint8_t>(leaf.sources);
  for (int32_t k = 1; k < leaf.sources; ++k) p.source[k] = partners[k - 1];
  double shares[kMaxSources] = {};
  const bool lam_given = draw.lam && draw.lam[slot] == draw.lam[slot];
  Stream stream = unit.stream(kDrawLam);
  if (!lam_given) {
    dirichlet(shares, leaf.sources, leaf.alpha, stream);
  } else if (leaf.sources > 2) {
    dirichlet(shares + 1, leaf.sources - 1, leaf.alpha, stream);
    for (int32_t k = 1; k < leaf.sources; ++k) shares[k] *= 1.0 - draw.lam[slot];
  }
  // Rounded here, once: all that follows is a function of the lambda that the record shows.
  p.lam = static_cast<float>(lam_given ? draw.lam[slot] : shares[0]);
  if (leaf.method == kCutMix)
    draw_cutmix(p, leaf, unit);
  else
    draw_mixup(p, leaf, shares);
  return p;
}

}  // namespace msda
