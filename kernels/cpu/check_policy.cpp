// Checks the policies that DALI's operators are given, as records.
#include <cmath>

#include "cpu/api.h"
#include "cpu/report.h"
#include "msda/draw.h"
#include "msda/puzzle/settings.h"

namespace msda {
namespace {

constexpr double kShareTolerance = 1e-9;
constexpr int32_t kMaxCount = 1 << 24;  // so that a cycle of many stages can be counted

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
    case kPuzzleMix:
      return kPuzzleMixFixed;
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

bool check_puzzle(const MsdaLeaf& leaf, const Report& report) {
  int32_t counts[kMaxBlockCounts];
  if (leaf.method != kPuzzleMix) return true;
  if (block_counts(counts, leaf.modes) == 0)
    return report.fault("modes: expected up to %d numbers of blocks for puzzlemix, got %d",
                        kMaxBlockCounts, leaf.modes);
  if (leaf.length >= 2 && leaf.length <= kMaxLevels) return true;
  return report.fault("length: expected 2 to %d own weights for puzzlemix, got %d", kMaxLevels,
                      leaf.length);
}

// The other numbers of a method's own settings.
bool check_settings(const MsdaLeaf& leaf, const Report& report) {
  const bool has_sides = leaf.box == kBoxMinMax || amount_of(leaf) == Amount::kSide;
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

// Checks what a leaf must have in common with the one before it.  Stages run from 0 without a gap.
// The leaves of a stage agree on who shares a choice.  If pairs share it, they must make the same
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
  return check_words(leaf, report) && check_settings(leaf, report) && check_puzzle(leaf, report) &&
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
