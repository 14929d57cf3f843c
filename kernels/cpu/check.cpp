// Checks at the doors of plan records, of which a wrong one would read outside the batch, and of
// the policies that DALI's operators are given.  The rules stand once, for every door.
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "cpu/api.h"
#include "msda/mask.h"

namespace msda {
namespace {

// A fault in words, in the caller's memory.
struct Report {
  char* text;
  int32_t room;

  __attribute__((format(printf, 2, 3))) bool fault(const char* format, ...) const {
    va_list values;
    va_start(values, format);
    vsnprintf(text, static_cast<size_t>(room), format, values);
    va_end(values);
    return false;
  }
};

// NaN fails, as it must.
bool is_share(float value) { return value >= 0 && value <= 1; }

// Weights may sum to that much more or less than 1: they were rounded to float32 one by one, and
// records made by hand may hold weights with fewer digits.
constexpr double kWeightTolerance = 1e-4;

bool check_sources(const Plan& p, int32_t samples, const Report& report) {
  if (p.sources < 1 || p.sources > kMaxSources)
    return report.fault("sources: expected 1 to %d, got %d", kMaxSources, p.sources);
  const bool alone = p.method == kNone || p.method == kCutout;
  const int32_t most = alone ? 1 : p.method == kMixup ? kMaxSources : 2;
  if (p.sources > most)
    return report.fault("sources: expected at most %d for method %d, got %d", most, p.method,
                        p.sources);
  double sum = 0.0;
  for (int32_t k = 0; k < p.sources; ++k) {
    if (p.source[k] < 0 || p.source[k] >= samples)
      return report.fault(
          "sources: expected indices in [0, %d), got %d; a plan serves only a batch as large as "
          "the one it was drawn for",
          samples, p.source[k]);
    if (!is_share(p.weight[k]))
      return report.fault("weights: expected values in [0, 1], got %g", p.weight[k]);
    sum += double{p.weight[k]};
  }
  if (std::fabs(sum - 1.0) > kWeightTolerance)
    return report.fault("weights: expected values that sum to 1 over the sources, got a sum of %g",
                        sum);
  return true;
}

// Sizes of samples; their rows must be countable.
bool check_sizes(const Plan& p, const Report& report) {
  if (p.depth > 0 && p.height > 0 && p.width > 0 && p.depth <= INT32_MAX / p.height) return true;
  return report.fault(
      "depth, height, width: expected sizes of at least 1 and fewer than 2^31 rows, got %d x %d "
      "x %d",
      p.depth, p.height, p.width);
}

// A pixel of the sample; of methods without a point it is 0.
bool check_point(const Plan& p, const Report& report) {
  const int32_t sizes[] = {p.depth, p.height, p.width};
  for (int32_t k = 0; k < 3; ++k)
    if (p.point[k] < 0 || p.point[k] >= sizes[k])
      return report.fault("point: expected a pixel of %d x %d x %d, got %d, %d, %d", p.depth,
                          p.height, p.width, p.point[0], p.point[1], p.point[2]);
  return true;
}

// What no method uses yet, and numbers that only the caller uses.
bool check_rest(const Plan& p, const Report& report) {
  if (!is_share(p.lam)) return report.fault("lam: expected a value in [0, 1], got %g", p.lam);
  if (p.flags & ~uint32_t{kPlanLegacy})
    return report.fault("flags: expected 0 or %d, got %u", kPlanLegacy, p.flags);
  if (p.z0 != 0 || p.z1 != 0) return report.fault("z0, z1: expected 0, got %d, %d", p.z0, p.z1);
  for (const int32_t value : p.reserved)
    if (value != 0) return report.fault("reserved: expected 0, got %d", value);
  if (p.modes < 0 || p.layer < 0 || p.leaf < 0)
    return report.fault("modes, layer, leaf: expected numbers >= 0, got %d, %d, %d", p.modes,
                        p.layer, p.leaf);
  return true;
}

// One axis of the box.  It may wrap: it starts inside the image and is no longer than it.
bool check_side(const Plan& p, char axis, int32_t low, int32_t high, int32_t size,
                const Report& report) {
  const bool wraps = !shrinks(p) && !erases(p);
  if (low >= 0 && low <= size && high >= low && int64_t{high} - low <= size &&
      (wraps || high <= size))
    return true;
  return report.fault("%c0, %c1: expected a box in the image's %d pixels, got %d, %d", axis, axis,
                      size, low, high);
}

bool check_box(const Plan& p, const Report& report) {
  if (!is_share(p.inside) || !is_share(p.outside))
    return report.fault("inside, outside: expected values in [0, 1], got %g, %g", p.inside,
                        p.outside);
  return check_side(p, 'y', p.y0, p.y1, p.height, report) &&
         check_side(p, 'x', p.x0, p.x1, p.width, report);
}

bool check_field(const Plan& p, const Report& report) {
  // Real numbers: a product of three sizes of a broken record would overflow.
  const double pixels = double{1} * p.depth * p.height * p.width;
  if (p.method == kFMix && pixels >= 2147483648.0)
    return report.fault(
        "depth, height, width: expected fewer than 2^31 pixels for fmix, got %d x %d x %d", p.depth,
        p.height, p.width);
  if (p.soft < 0 || p.count < p.soft || double{1} * p.count + p.soft > pixels)
    return report.fault(
        "count, soft: expected numbers of pixels that fit the image's %.0f, got %d, %d", pixels,
        p.count, p.soft);
  const float values[] = {p.falloff[0], p.falloff[1], p.falloff[2], p.decay};
  for (const float value : values)
    if (!std::isfinite(value) || value < 0)
      return report.fault("falloff, decay: expected finite numbers >= 0, got %g", value);
  if (p.decay > 10) return report.fault("decay: expected a number in [0, 10], got %g", p.decay);
  return true;
}

constexpr int32_t kAxes = 3;
constexpr const char* kAxisNames[] = {"depth", "height", "width"};

// Whether the record was drawn for samples of this size; they have the last `axes` axes.
bool check_size(const Plan& p, const int32_t* size, int32_t axes, const Report& report) {
  const int32_t own[kAxes] = {p.depth, p.height, p.width};
  if (own[0] == size[0] && own[1] == size[1] && own[2] == size[2]) return true;
  for (int32_t k = 0; k < kAxes - axes; ++k)
    if (own[k] != 1)
      return report.fault("%s: expected 1, as %s have, got %d", kAxisNames[k],
                          axes == 2 ? "images" : "sequences", own[k]);
  char names[24] = "", wanted[40] = "", got[40] = "";
  int n = 0, w = 0, g = 0;
  for (int32_t k = kAxes - axes; k < kAxes; ++k) {
    const bool more = k + 1 < kAxes;
    n += snprintf(names + n, sizeof names - n, "%s%s", kAxisNames[k], more ? ", " : "");
    w += snprintf(wanted + w, sizeof wanted - w, "%d%s", size[k], more ? " x " : "");
    g += snprintf(got + g, sizeof got - g, "%d%s", own[k], more ? " x " : "");
  }
  return report.fault(
      "%s: expected the images' %s, got %s; draw the plan for the size of the images", names,
      wanted, got);
}

// Boxes and points of volumes are reserved.
bool serves_volumes(const Plan& p) {
  switch (weight_kind(p)) {
    case WeightKind::kOne:
    case WeightKind::kBits:
    case WeightKind::kFloats:
      return true;
    case WeightKind::kBox:
    case WeightKind::kBump:
      return false;
  }
  return false;
}

bool check(const Plan& p, int32_t samples, const Report& report) {
  if (p.version != kPlanVersion)
    return report.fault(
        "version: expected %d, got %d; make the plan with fn.msda.plan or dali_msda.draw of this "
        "version",
        kPlanVersion, p.version);
  if (p.method >= kMethods)
    return report.fault("method: expected a number in [0, %d), got %d", kMethods, p.method);
  if (p.depth != 1 && !serves_volumes(p))
    return report.fault("depth: expected 1 for methods other than mixup and fmix, got %d", p.depth);
  return check_sources(p, samples, report) && check_sizes(p, report) && check_box(p, report) &&
         check_point(p, report) && check_field(p, report) && check_rest(p, report);
}

constexpr const char* kMethodNames[] = {"none", "mixup",     "cutmix",      "fmix",  "hmix",
                                        "gmix", "resizemix", "saliencymix", "cutout"};
static_assert(sizeof kMethodNames / sizeof *kMethodNames == kMethods);

constexpr double kShareTolerance = 1e-9;
constexpr int32_t kMaxCount = 1 << 24;  // so that a cycle of many stages stays countable

bool check_number(const char* name, int32_t value, int32_t last, const Report& report) {
  if (value >= 0 && value <= last) return true;
  return report.fault("%s: expected a number in [0, %d], got %d", name, last, value);
}

bool check_real(const char* name, double value, double low, double high, const Report& report) {
  if (value >= low && value <= high) return true;  // NaN fails, as it must
  return report.fault("%s: expected a value in [%g, %g], got %g", name, low, high, value);
}

int32_t last_mode(int32_t method) {
  switch (method) {
    case kMixup:
      return kMixupAverage;
    case kHMix:
      return kHMixNominal;
    case kGMix:
      return kGMixExact;
    case kFMix:
      return kFMixLegacy;
    default:
      return 0;
  }
}

// The numbers that stand for words.
bool check_words(const MsdaLeaf& leaf, const Report& report) {
  if (leaf.method == kNone || leaf.method >= kMethods)
    return report.fault("method: expected a number in [1, %d), got %d", kMethods, leaf.method);
  const int32_t last_box = leaf.method == kCutMix ? kBoxMinMax : kBoxWrap;
  return check_number("scope", leaf.scope, kScopeBatch, report) &&
         check_number("partner", leaf.partner, kPartnerRoll, report) &&
         check_number("box", leaf.box, last_box, report) &&
         check_number("choice", leaf.choice, kScopeBatch, report) &&
         check_number("mode", leaf.mode, last_mode(leaf.method), report) &&
         check_number("rounding", leaf.rounding, kRoundCoin, report) &&
         check_number("reformulate", leaf.reformulate, 1, report) &&
         check_number("traits", leaf.traits, 2 * kNeedsPeaks - 1, report);
}

// The other numbers of a method's own settings.
bool check_settings(const MsdaLeaf& leaf, const Report& report) {
  const bool has_sides = leaf.box == kBoxMinMax || leaf.method == kResizeMix;
  if (has_sides && !(0 < leaf.min_side && leaf.min_side <= leaf.max_side && leaf.max_side <= 1))
    return report.fault("min_side, max_side: expected 0 < low <= high <= 1, got %g, %g",
                        leaf.min_side, leaf.max_side);
  if (leaf.modes < 0 || (leaf.modes > 0 && leaf.method == kFMix && leaf.mode == kFMixLegacy))
    return report.fault("modes: expected at least 0 (all), and 0 with the legacy law, got %d",
                        leaf.modes);
  if (leaf.length < (leaf.method == kCutout))
    return report.fault("length: expected at least 1 pixel, got %d", leaf.length);
  if (leaf.r_gamma != 0 && !check_real("r_gamma", leaf.r_gamma, 0.01, 100, report)) return false;
  return check_real("alpha", leaf.alpha, 0.01, 100, report) &&
         check_real("prob", leaf.prob, 0, 1, report) && check_real("r", leaf.r, 0, 1, report) &&
         check_real("decay", leaf.decay, 0, 10, report) &&
         check_real("max_soft", leaf.max_soft, 0, 0.5, report);
}

// How many samples are mixed, and with whom.
bool check_partners(const MsdaLeaf& leaf, int32_t interpolations, const Report& report) {
  if (leaf.sources < 2 || leaf.sources > (leaf.method == kMixup ? kMaxSources : 2))
    return report.fault("sources: expected 2, or 2 to %d for mixup, got %d", kMaxSources,
                        leaf.sources);
  const bool in_pairs = leaf.scope == kScopePair || leaf.partner == kPartnerFlip;
  if (leaf.sources > 2 && (in_pairs || leaf.mode != kMixupPlain))
    return report.fault(
        "sources: expected 2 with scope pair, partner flip or the average of two, got %d",
        leaf.sources);
  if (leaf.scope == kScopePair && leaf.partner != kPartnerPermutation &&
      leaf.partner != kPartnerFlip)
    return report.fault(
        "partner: expected permutation or flip with scope pair, since the two of a pair must name "
        "each other, got %d",
        leaf.partner);
  if (leaf.method == kSaliencyMix && !(leaf.traits & kNeedsPeaks))
    return report.fault("traits: expected that of needing peaks for saliencymix, got %d",
                        leaf.traits);
  if (interpolations > 1 && (leaf.sources > 2 || (leaf.traits & kErases) || leaf.box == kBoxMinMax))
    return report.fault(
        "interpolations: expected 1 for a method that does not mix two samples by a lambda, such "
        "as cutout, minmax and mixup of 3 or 4 samples, got %d",
        interpolations);
  return true;
}

// What a leaf has in common with the one before it.  Stages run from 0 without a gap, and the
// leaves of one agree on who shares a choice; a choice of pairs needs leaves that make the same
// pairs.
bool check_stage(const MsdaLeaf& leaf, const MsdaLeaf* before, const Report& report) {
  const int32_t last = before ? before->stage : -1;
  const bool begins = leaf.stage == last + 1;
  if (!begins && !before) return report.fault("stage: expected 0 at first, got %d", leaf.stage);
  if (!begins && leaf.stage != last)
    return report.fault("stage: expected %d or %d, got %d", last, last + 1, leaf.stage);
  if (leaf.count < 1 || leaf.count >= kMaxCount)
    return report.fault("count: expected at least 1 batch and fewer than 2^24, got %d", leaf.count);
  if (!(leaf.share > 0 && leaf.share <= 1))
    return report.fault("share: expected a value in (0, 1], got %g", leaf.share);
  if (leaf.choice == kScopePair && leaf.scope != kScopePair)
    return report.fault("choice: expected that of samples or of the batch, or scope pair, got %d",
                        leaf.choice);
  if (begins) return true;
  if (leaf.count != before->count || leaf.choice != before->choice)
    return report.fault("count, choice: expected %d, %d as in the rest of stage %d, got %d, %d",
                        before->count, before->choice, leaf.stage, leaf.count, leaf.choice);
  if (leaf.choice == kScopePair && leaf.partner != before->partner)
    return report.fault(
        "partner: expected %d as in the rest of stage %d, whose choices pairs "
        "share, got %d",
        before->partner, leaf.stage, leaf.partner);
  return true;
}

bool check_leaf(const MsdaLeaf& leaf, const MsdaLeaf* before, int32_t interpolations,
                const Report& report) {
  if (leaf.version != kPolicyVersion)
    return report.fault("version: expected %d, got %d", kPolicyVersion, leaf.version);
  return check_words(leaf, report) && check_settings(leaf, report) &&
         check_partners(leaf, interpolations, report) && check_stage(leaf, before, report);
}

}  // namespace
}  // namespace msda

extern "C" const char* msda_method_name(int32_t method) {
  return method >= 0 && method < msda::kMethods ? msda::kMethodNames[method] : nullptr;
}

extern "C" int64_t msda_check_policy(const MsdaLeaf* leaves, int64_t count, int32_t interpolations,
                                     char* text, int32_t room) {
  const msda::Report report = {text, room};
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const MsdaLeaf* before = i > 0 ? &leaves[i - 1] : nullptr;
    if (!msda::check_leaf(leaves[i], before, interpolations, report)) return i;
    sum += leaves[i].share;
    if (i + 1 < count && leaves[i + 1].stage == leaves[i].stage) continue;
    if (std::abs(sum - 1) > msda::kShareTolerance) {
      report.fault("share: expected a sum of 1 in stage %d, got %g", leaves[i].stage, sum);
      return i;
    }
    sum = 0;
  }
  return -1;
}

extern "C" int64_t msda_check(const msda::Plan* plans, int64_t batch, int32_t samples,
                              const int32_t* size, int32_t axes, char* text, int32_t room) {
  const msda::Report report = {text, room};
  for (int64_t i = 0; i < batch; ++i) {
    if (!msda::check(plans[i], samples, report)) return i;
    if (size && !msda::check_size(plans[i], size, axes, report)) return i;
  }
  return -1;
}
