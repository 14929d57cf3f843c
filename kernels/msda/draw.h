// Fills plans from (seed, rank, step) and a policy.  CPU only, for every backend: lambda, boxes,
// partners and counts are then the same everywhere.  Exact arithmetic is float64 and integers.
#pragma once
#include "msda/maths.h"
#include "msda/philox.h"
#include "msda/plan.h"
#include "msda/policy.h"

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

// Dirichlet(first, alpha, ..., alpha); for n = 2 the first share is Beta(first, alpha).
MSDA_FN void dirichlet(double* shares, int32_t n, double alpha, Stream& stream,
                       double first = 0.0) {
  double greatest = 0.0, sum = 0.0;
  for (int32_t k = 0; k < n; ++k) {
    shares[k] = log_gamma_variate(stream, k == 0 && first > 0.0 ? first : alpha);
    if (k == 0 || shares[k] > greatest) greatest = shares[k];
  }
  for (int32_t k = 0; k < n; ++k) sum += shares[k] = exp64(shares[k] - greatest);
  for (int32_t k = 0; k < n; ++k) shares[k] /= sum;
}

// The draws of one unit (a sample, a pair or the batch).
struct Unit {
  const MsdaDraw* draw;
  uint64_t identity;
  const int32_t* peak;  // y and x of the pixel that a kSaliencyMix box is centred on
  Stream stream(uint32_t purpose) const { return {draw->seed, identity, draw->step, purpose, 0}; }
};

MSDA_FN uint64_t identity_of(const MsdaDraw& draw, int32_t slot) {
  return draw.ids ? draw.ids[slot] : (uint64_t{draw.rank} << 32) | static_cast<uint32_t>(slot);
}

struct Interval {
  int32_t begin, end;
};

// Side of a box of share^2 of the area along an axis of n pixels.  The authors' code cuts
// floor(n sqrt(1 - lam)) and then takes an even number of pixels; the modes of our own take the
// nearest whole number.
MSDA_FN int32_t box_side(int32_t box, int32_t n, double share) {
  const double side = n * share;
  return box == kBoxClip ? static_cast<int32_t>(side) / 2 * 2 : static_cast<int32_t>(rint(side));
}

// A box around a pixel: cut off at the border, shifted inside or wrapped round.
MSDA_FN Interval place_around(int32_t box, int32_t n, int32_t side, int32_t centre) {
  int32_t begin = centre - side / 2;
  if (box == kBoxClip) {
    const int32_t end = centre + side / 2;
    return {begin < 0 ? 0 : begin, end > n ? n : end};
  }
  if (begin < 0) begin = box == kBoxWrap ? begin + n : 0;
  if (box == kBoxInside && begin > n - side) begin = n - side;
  return {begin, begin + side};
}

MSDA_FN Interval place(int32_t box, int32_t n, int32_t side, uint64_t word) {
  if (box == kBoxClip) return place_around(box, n, side, bounded(word, n));
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

MSDA_FN double pixels(const Plan& p) { return static_cast<double>(p.depth) * p.height * p.width; }

// Sets the box and returns its share of the pixels.
MSDA_FN double set_box(Plan& p, Interval y, Interval x) {
  p.y0 = y.begin, p.y1 = y.end, p.x0 = x.begin, p.x1 = x.end;
  return static_cast<double>(y.end - y.begin) * (x.end - x.begin) / pixels(p);
}

// Places a box and returns its share of the pixels.
MSDA_FN double draw_box(Plan& p, int32_t box, int32_t side_y, int32_t side_x, Stream& position) {
  const Interval y = place(box, p.height, side_y, position.word());
  return set_box(p, y, place(box, p.width, side_x, position.word()));
}

// Yun et al., CutMix, ICCV 2019; box and label weight as in the authors' code.
MSDA_FN void draw_cutmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  const double share = sqrt(1.0 - p.lam);
  int32_t side_y = box_side(leaf.box, p.height, share), side_x = box_side(leaf.box, p.width, share);
  if (leaf.box == kBoxMinMax) {
    Stream side = unit.stream(kDrawSide);
    side_y = minmax_side(leaf, p.height, side.word());
    side_x = minmax_side(leaf, p.width, side.word());
  }
  p.inside = 0.0f, p.outside = 1.0f;
  set_weight(p, static_cast<float>(1.0 - draw_box(p, leaf.box, side_y, side_x, position)));
  if (leaf.box == kBoxMinMax) p.lam = p.weight[0];
}

// Uddin et al., SaliencyMix, ICLR 2021: CutMix's box around the partner's most salient pixel.
MSDA_FN void draw_saliencymix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  const double share = sqrt(1.0 - p.lam);
  p.point[1] = unit.peak[0], p.point[2] = unit.peak[1];
  const Interval y =
      place_around(leaf.box, p.height, box_side(leaf.box, p.height, share), p.point[1]);
  const Interval x =
      place_around(leaf.box, p.width, box_side(leaf.box, p.width, share), p.point[2]);
  p.inside = 0.0f, p.outside = 1.0f;
  set_weight(p, static_cast<float>(1.0 - set_box(p, y, x)));
}

// Park, Yun and Chun, arXiv:2208.09913, HMix: a box of the partner, and Mixup around it.
MSDA_FN void draw_hmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  double ratio[2] = {leaf.r, 0.0};
  if (leaf.r_gamma > 0.0) {
    Stream stream = unit.stream(kDrawRatio);
    dirichlet(ratio, 2, leaf.r_gamma, stream);
  }
  Stream position = unit.stream(kDrawPosition);
  const double lam = p.lam, share = sqrt(1.0 - lam) * sqrt(ratio[0]);
  const int32_t side_y = box_side(leaf.box, p.height, share);
  const int32_t side_x = box_side(leaf.box, p.width, share);
  const double area = draw_box(p, leaf.box, side_y, side_x, position);
  const double rest = 1.0 - (leaf.mode == kHMixExact ? area : (1.0 - lam) * ratio[0]);
  p.inside = 0.0f;
  p.outside = rest > lam ? static_cast<float>(lam / rest) : rest > 0.0 ? 1.0f : 0.0f;
  // A side rounded up may cover more than 1 - lam: the label is then what the box leaves.
  set_weight(p, leaf.mode == kHMixExact && rest < lam ? static_cast<float>(rest) : p.lam);
}

// Mean over the pixels 0 .. n - 1 of exp(-falloff (j - point)^2): the terms' ratios form a
// geometric series, so each costs two products.
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

// The falloff whose bump has a given mean: the mean falls from 1 at 0 to one pixel's share; found
// on a logarithmic scale by the Illinois method, to 1e-10 of the mean or the last bit.
MSDA_FN double falloff_of_mean(const Plan& p, double mean) {
  double low = log64(1e-12), high = log64(64.0);  // wider than any image; narrower than a pixel
  double above = mean_of_gaussian(p, 1e-12) - mean, below = mean_of_gaussian(p, 64.0) - mean;
  if (above <= 0.0) return 0.0;
  if (below >= 0.0) return 64.0;
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

// Park, Yun and Chun, GMix: a Gaussian bump of one image in the other.
MSDA_FN void draw_gmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  p.point[1] = bounded(position.word(), p.height);
  p.point[2] = bounded(position.word(), p.width);
  const double lam = p.lam, pi = 3.14159265358979323846;
  const bool own_bump = leaf.mode == kGMixCode && lam < 0.5;
  p.inside = own_bump ? 1.0f : 0.0f;
  p.outside = 1.0f - p.inside;
  const double area = own_bump ? lam : 1.0 - lam;
  if (area <= 0.0) {  // no bump at all
    p.inside = p.outside;
    return set_weight(p, p.outside);
  }
  double falloff = pi / (area * pixels(p));
  if (leaf.mode == kGMixPaper) falloff *= 0.5;
  if (leaf.mode == kGMixExact) falloff = falloff_of_mean(p, area);
  if (falloff > 3e38) falloff = 3e38;  // lambda may be as small as floats get: one pixel
  p.falloff[1] = p.falloff[2] = static_cast<float>(falloff);
  if (leaf.mode != kGMixCode) return set_weight(p, p.lam);
  const double mean = mean_of_gaussian(p, static_cast<double>(p.falloff[1]));
  set_weight(p, static_cast<float>(own_bump ? mean : 1.0 - mean));
}

// Harris et al., FMix, arXiv:2002.12047: how many pixels stay own, and the seed of the field.
MSDA_FN void draw_fmix(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  const double lam = p.lam, own = lam * pixels(p), whole = floor(own);
  const double u = unit.stream(kDrawRounding).uniform();
  const bool up = leaf.rounding == kRoundStochastic ? u < own - whole
                  : leaf.rounding == kRoundCoin     ? u > 0.5 && own > whole
                                                    : rint(own) > whole;
  p.count = static_cast<int32_t>(whole) + up;
  const double least = lam < 1.0 - lam ? lam : 1.0 - lam;
  p.soft = static_cast<int32_t>(pixels(p) * (leaf.max_soft > least ? least : leaf.max_soft));
  const int32_t room = p.count < static_cast<int32_t>(pixels(p)) - p.count
                           ? p.count
                           : static_cast<int32_t>(pixels(p)) - p.count;
  if (p.soft > room) p.soft = room;  // the count may have been rounded towards the border
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

// Qin et al., ResizeMix, arXiv:2012.11101, as in the authors' code: the box is shifted inside.
MSDA_FN void draw_resizemix(Plan& p, double tau, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  const int32_t sizes[2] = {p.height, p.width};
  Interval box[2];
  for (int32_t axis = 0; axis < 2; ++axis) {
    const int32_t n = sizes[axis], length = static_cast<int32_t>(n * tau);
    const int32_t centre = bounded(position.word(), n);
    int32_t begin = centre - length / 2;
    if (begin < 0) begin = 0;
    if (begin > n - length) begin = n - length;
    box[axis] = {begin, begin + length};
    p.falloff[1 + axis] = length > 0 ? static_cast<float>(1.0 / tau) : 1.0f;
  }
  p.y0 = box[0].begin, p.y1 = box[0].end, p.x0 = box[1].begin, p.x1 = box[1].end;
  p.inside = 0.0f, p.outside = 1.0f;
  const double area = static_cast<double>(p.y1 - p.y0) * (p.x1 - p.x0);
  set_weight(p, static_cast<float>(1.0 - area / pixels(p)));
}

// DeVries and Taylor, Cutout, arXiv:1708.04552: a square of nothing; the label is kept.
MSDA_FN void draw_cutout(Plan& p, const MsdaLeaf& leaf, const Unit& unit) {
  Stream position = unit.stream(kDrawPosition);
  const int32_t side = leaf.length / 2 * 2;
  draw_box(p, kBoxClip, side, side, position);
  p.sources = 1;
  p.lam = p.weight[0] = 1.0f;
  p.inside = 0.0f, p.outside = 1.0f;
}

// Zhang et al., mixup, ICLR 2018; with more sources the weights are Dirichlet.  Where lambda is
// given the others share what it leaves, again Dirichlet among themselves.
MSDA_FN void draw_mixup(Plan& p, const MsdaLeaf& leaf, const double* shares) {
  set_weight(p, p.lam);
  p.inside = p.outside = leaf.mode == kMixupAverage ? 0.5f : p.lam;
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

// What is drawn for each of a unit's interpolations.
enum class Amount {
  kLambda,  // the own share
  kSide,    // the side of what the partner gets, as a share of the image's
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
      return Amount::kLambda;
    case kResizeMix:
      return Amount::kSide;
  }
  return Amount::kNone;
}

// The amounts of a unit's interpolations: lambdas in falling order, sides in rising order.  They
// are successive draws of one stream, sorted.
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

// Weights of three or four sources; `given` is the own one, or null.
MSDA_FN void draw_shares(double* shares, const double* given, const MsdaLeaf& leaf,
                         const Unit& unit) {
  Stream stream = unit.stream(kDrawLam);
  if (!given) return dirichlet(shares, leaf.sources, leaf.alpha, stream);
  shares[0] = *given;
  dirichlet(shares + 1, leaf.sources - 1, leaf.alpha, stream);
  for (int32_t k = 1; k < leaf.sources; ++k) shares[k] *= 1.0 - *given;
}

// One record of a slot: `amount` is its drawn lambda or tau, `given` its given lambda or null.
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
    case kNone:
    case kMixup:
      return draw_mixup(p, leaf, shares);
  }
}

// The records of one slot, one for each interpolation; `partners[k]` is the slot of source k + 1,
// and `salient` the slot whose peak a kSaliencyMix box is centred on.
// They share every draw but lambda, so boxes and masks are nested.
MSDA_FN void draw_slot(Plan* plans, const MsdaDraw& draw, const MsdaLeaf& leaf, int32_t number,
                       int32_t slot, const int32_t* partners, int32_t salient,
                       uint64_t unit_identity) {
  const int32_t* peak = draw.peaks ? draw.peaks + 2 * int64_t{salient} : nullptr;
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
