#include "arguments/leaves.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "arguments/names.h"

namespace msda::native {
namespace {

constexpr double kShareTolerance = 1e-5;  // shares come as float32
constexpr int32_t kMaxCount = 1 << 24;    // so that a cycle of many stages stays countable

// The lists of one operator call.  A list of one value stands for all leaves.
class Lists {
 public:
  explicit Lists(const OpSpec& spec) : spec_(spec) {
    for (const char* name : {"method", "scope", "partner", "box", "choice", "mode", "rounding"}) {
      count_ = std::max(count_, spec.GetRepeatedArgument<std::string>(name).size());
    }
    for (const char* name : {"sources", "stage", "count", "reformulate", "modes", "length"}) {
      count_ = std::max(count_, spec.GetRepeatedArgument<int>(name).size());
    }
    for (const char* name : {"alpha", "prob", "share", "r", "gamma", "decay", "max_soft"}) {
      count_ = std::max(count_, spec.GetRepeatedArgument<float>(name).size());
    }
    for (const char* name : {"minmax", "tau"}) {
      count_ = std::max(count_, spec.GetRepeatedArgument<float>(name).size() / 2);
    }
  }

  size_t count() const { return count_; }

  // `width` values for each leaf.
  template <typename T>
  std::vector<T> Get(const char* name, size_t width = 1) const {
    std::vector<T> values = spec_.GetRepeatedArgument<T>(name);
    expect(values.size() == width || values.size() == width * count_, name, ": expected ", width,
           " or ", width * count_, " values (", count_, " leaves), got ", values.size(),
           "; every list has one entry per leaf, or one for all.");
    for (size_t i = values.size(); i < width * count_; ++i) values.push_back(values[i - width]);
    return values;
  }

  template <size_t n>
  std::vector<int32_t> Get(const char* name, const Name (&names)[n]) const {
    std::vector<int32_t> numbers;
    for (const std::string& word : Get<std::string>(name)) {
      numbers.push_back(value_of(names, word, name));
    }
    return numbers;
  }

 private:
  const OpSpec& spec_;
  size_t count_ = 1;
};

// The limits of dali_msda/policy/, for those who call the operator without a policy object.
void check_leaf(const MsdaLeaf& leaf, size_t i) {
  expect(leaf.alpha >= 0.01f && leaf.alpha <= 100, "alpha[", i,
         "]: expected a value in [0.01, 100], got ", leaf.alpha,
         "; to leave samples unmixed, lower prob.");
  expect(leaf.prob >= 0 && leaf.prob <= 1, "prob[", i, "]: expected a value in [0, 1], got ",
         leaf.prob, ".");
  expect(leaf.sources >= 2 && leaf.sources <= kMaxSources, "sources[", i, "]: expected 2 to ",
         kMaxSources, ", got ", leaf.sources, ".");
  expect(leaf.sources == 2 || leaf.method == kMixup, "sources[", i, "]: expected 2, got ",
         leaf.sources, "; only \"mixup\" mixes more than two samples.");
  expect(leaf.sources == 2 || (leaf.scope != kScopePair && leaf.partner != kPartnerFlip),
         "sources[", i, "]: expected 2 with scope \"pair\" or partner \"flip\", which name one ",
         "partner, got ", leaf.sources, ".");
  expect(leaf.sources == 2 || leaf.mode == kMixupPlain, "mode[", i, "]: expected \"plain\" with ",
         leaf.sources, " sources, got \"average\".");
  expect(leaf.scope != kScopePair || leaf.partner == kPartnerPermutation ||
             leaf.partner == kPartnerFlip,
         "partner[", i, "]: expected \"permutation\" or \"flip\" with scope \"pair\", since the ",
         "two of a pair must name each other.");
  expect(leaf.box != kBoxMinMax ||
             (0 < leaf.min_side && leaf.min_side <= leaf.max_side && leaf.max_side <= 1),
         "minmax[", i, "]: expected 0 < low <= high <= 1, got (", leaf.min_side, ", ",
         leaf.max_side, "); it bounds the box's sides as shares of the image's.");
  expect(leaf.count >= 1 && leaf.count < kMaxCount, "count[", i,
         "]: expected at least 1 batch and fewer than 2^24, got ", leaf.count, ".");
}

void check_variant(const MsdaLeaf& leaf, size_t i) {
  expect(leaf.method != kResizeMix ||
             (0 < leaf.min_side && leaf.min_side <= leaf.max_side && leaf.max_side <= 1),
         "tau[", i, "]: expected 0 < low <= high <= 1, got (", leaf.min_side, ", ", leaf.max_side,
         "); it bounds the side of the shrunk partner as a share of the image's.");
  expect(leaf.r >= 0 && leaf.r <= 1, "r[", i, "]: expected a value in [0, 1], got ", leaf.r, ".");
  expect(leaf.r_gamma == 0 || (leaf.r_gamma >= 0.01f && leaf.r_gamma <= 100), "gamma[", i,
         "]: expected a value in [0.01, 100], or 0 for a fixed r, got ", leaf.r_gamma, ".");
  expect(leaf.decay >= 0 && leaf.decay <= 10, "decay[", i, "]: expected a value in [0, 10], got ",
         leaf.decay, ".");
  expect(leaf.max_soft >= 0 && leaf.max_soft <= 0.5, "max_soft[", i,
         "]: expected a value in [0, 0.5], got ", leaf.max_soft, ".");
  expect(leaf.reformulate == 0 || leaf.reformulate == 1, "reformulate[", i,
         "]: expected 0 or 1, got ", leaf.reformulate, ".");
  expect(leaf.modes >= 0, "modes[", i, "]: expected at least 0 (all), got ", leaf.modes, ".");
  expect(leaf.length >= 1 || leaf.method != kCutout, "length[", i,
         "]: expected at least 1 pixel, got ", leaf.length, ".");
}

// A choice shared by pairs needs leaves that make the same pairs.
void check_choice(const MsdaLeaf& leaf, const MsdaLeaf& first, size_t i) {
  expect(leaf.choice == first.choice, "choice[", i, "]: expected the same in all leaves of stage ",
         leaf.stage, ".");
  expect(leaf.choice != kScopePair || (leaf.scope == kScopePair && leaf.partner == first.partner),
         "choice[", i, "]: expected \"sample\" or \"batch\", or scope \"pair\" and one partner ",
         "rule in all leaves of stage ", leaf.stage, ", got \"pair\".");
}

// Stages run from 0 without a gap; within one, `count` and `choice` agree and the shares sum to 1.
void check_stages(const std::vector<MsdaLeaf>& leaves) {
  int32_t last = 0;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const int32_t expected = i == 0 ? 0 : last + 1;
    expect(leaves[i].stage == expected || (i > 0 && leaves[i].stage == last), "stage[", i,
           "]: expected ", i == 0 ? "0" : dali::make_string(last, " or ", expected), ", got ",
           leaves[i].stage, "; list the leaves stage by stage, from 0.");
    last = leaves[i].stage;
  }
  for (size_t begin = 0, end = 0; begin < leaves.size(); begin = end) {
    double sum = 0;
    for (end = begin; end < leaves.size() && leaves[end].stage == leaves[begin].stage; ++end) {
      const MsdaLeaf& leaf = leaves[end];
      expect(leaf.share > 0 && leaf.share <= 1, "share[", end, "]: expected a value in (0, 1], ",
             "got ", leaf.share, ".");
      expect(leaf.count == leaves[begin].count, "count[", end, "]: expected ", leaves[begin].count,
             " as in the rest of stage ", leaf.stage, ", got ", leaf.count, ".");
      check_choice(leaf, leaves[begin], end);
      sum += leaf.share;
    }
    expect(std::abs(sum - 1) <= kShareTolerance, "share: expected a sum of 1 in stage ",
           leaves[begin].stage, ", got ", sum, ".");
  }
}

void share_equally(std::vector<MsdaLeaf>& leaves) {
  for (MsdaLeaf& leaf : leaves) {
    const auto same = [&](const MsdaLeaf& other) { return other.stage == leaf.stage; };
    leaf.share = 1.0 / std::count_if(leaves.begin(), leaves.end(), same);
  }
}

// DALI carries reals as float32.  A policy object's are float64, and its leaves travel as they lie
// in memory, so that it draws the same here as anywhere else.
void set_exact(std::vector<MsdaLeaf>& leaves, const std::vector<int>& words) {
  constexpr size_t kWords = sizeof(MsdaLeaf) / sizeof(int);
  expect(words.size() == kWords * leaves.size(), "exact: expected ", kWords * leaves.size(),
         " numbers, got ", words.size(), ".");
  for (size_t i = 0; i < leaves.size(); ++i) {
    MsdaLeaf leaf;
    std::memcpy(&leaf, &words[kWords * i], sizeof leaf);
    const MsdaLeaf& named = leaves[i];
    const bool agrees = leaf.method == named.method && leaf.scope == named.scope &&
                        leaf.partner == named.partner && leaf.box == named.box &&
                        leaf.choice == named.choice;
    expect(agrees, "exact: expected the settings of leaf ", i,
           " as its other arguments name them.");
    leaves[i] = leaf;
  }
}

int32_t mode_of(int32_t method, const std::string& word) {
  switch (method) {
    case kMixup:
      return value_of(kMixupModes, word, "mode");
    case kHMix:
      return value_of(kHMixModes, word, "mode");
    case kGMix:
      return value_of(kGMixModes, word, "mode");
    case kFMix:
      return value_of(kFMixModes, word, "mode");
    default:
      return value_of(kNoModes, word, "mode");
  }
}

// The settings that belong to one method each.
void read_variants(std::vector<MsdaLeaf>& leaves, const Lists& lists) {
  const auto rounding = lists.Get("rounding", kRoundingNames);
  const auto mode = lists.Get<std::string>("mode");
  const auto reformulate = lists.Get<int>("reformulate");
  const auto modes = lists.Get<int>("modes");
  const auto length = lists.Get<int>("length");
  const auto r = lists.Get<float>("r");
  const auto gamma = lists.Get<float>("gamma");
  const auto decay = lists.Get<float>("decay");
  const auto max_soft = lists.Get<float>("max_soft");
  const auto tau = lists.Get<float>("tau", 2);
  for (size_t i = 0; i < leaves.size(); ++i) {
    MsdaLeaf& leaf = leaves[i];
    leaf.mode = mode_of(leaf.method, mode[i]);
    leaf.rounding = rounding[i];
    leaf.reformulate = reformulate[i];
    leaf.modes = modes[i];
    leaf.length = length[i];
    leaf.r = r[i];
    leaf.r_gamma = gamma[i];
    leaf.decay = decay[i];
    leaf.max_soft = max_soft[i];
    if (leaf.method != kResizeMix) continue;
    leaf.min_side = tau[2 * i];
    leaf.max_side = tau[2 * i + 1];
  }
}

}  // namespace

std::vector<MsdaLeaf> read_leaves(const OpSpec& spec) {
  const Lists lists(spec);
  const auto method = lists.Get("method", kMethodNames);
  const auto scope = lists.Get("scope", kScopeNames);
  const auto partner = lists.Get("partner", kPartnerNames);
  const auto box = lists.Get("box", kBoxNames);
  const auto choice = lists.Get("choice", kScopeNames);
  const auto sources = lists.Get<int>("sources");
  const auto stage = lists.Get<int>("stage");
  const auto count = lists.Get<int>("count");
  const auto alpha = lists.Get<float>("alpha");
  const auto prob = lists.Get<float>("prob");
  const auto minmax = lists.Get<float>("minmax", 2);
  const bool shared = !spec.GetRepeatedArgument<float>("share").empty();
  const auto share = shared ? lists.Get<float>("share") : std::vector<float>(lists.count());

  std::vector<MsdaLeaf> leaves(lists.count());
  for (size_t i = 0; i < leaves.size(); ++i) {
    MsdaLeaf& leaf = leaves[i];
    leaf.method = method[i];
    leaf.scope = scope[i];
    leaf.partner = partner[i];
    leaf.box = box[i];
    leaf.sources = sources[i];
    leaf.stage = stage[i];
    leaf.count = count[i];
    leaf.choice = choice[i];
    leaf.share = share[i];
    leaf.alpha = alpha[i];
    leaf.prob = prob[i];
    leaf.min_side = minmax[2 * i];
    leaf.max_side = minmax[2 * i + 1];
  }
  read_variants(leaves, lists);
  if (!shared) share_equally(leaves);
  const auto exact = spec.GetRepeatedArgument<int>("exact");
  if (!exact.empty()) set_exact(leaves, exact);
  for (size_t i = 0; i < leaves.size(); ++i) {
    check_leaf(leaves[i], i);
    check_variant(leaves[i], i);
  }
  check_stages(leaves);
  return leaves;
}

}  // namespace msda::native
