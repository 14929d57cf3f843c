// What to draw for a batch, as draw.h reads it: the leaves of a policy, and the batch.
//
// A policy is a tree whose leaves are methods with their settings.  The tree is stored in its
// leaves: stages take turns (`stage`, `count`), and each draws one of its leaves (`choice`,
// `share`).
#pragma once
#include "msda/portable.h"

extern "C" {

constexpr int32_t kPolicyVersion = 1;

// One leaf, 128 bytes.  dali_msda/policy/base.py holds the same record.
struct MsdaLeaf {
  uint16_t version;           // kPolicyVersion
  uint16_t method;            // msda::Method
  int32_t scope;              // MsdaScope: who shares a draw
  int32_t partner;            // MsdaPartner
  int32_t box;                // MsdaBox
  int32_t sources;            // samples mixed into one output, 2 to 4
  int32_t stage;              // which stage of an alternation the leaf belongs to, from 0
  int32_t count;              // batches in a row that its stage serves, at least 1
  int32_t choice;             // MsdaScope: who shares the choice among the leaves of a stage
  double share;               // probability of the leaf within its stage; a stage's shares sum to 1
  double alpha;               // Beta(alpha, alpha), or Dirichlet(alpha, ...) for 3 and 4 sources
  double prob;                // probability that the leaf mixes at all
  double min_side, max_side;  // kBoxMinMax, kResizeMix: sides of the box as shares of the image's
  double r;                   // kHMix: share of the partner's mass that the box holds;
                              // kPuzzleMixFixed: lambda of the masks
  double r_gamma;             // kHMix: r ~ Beta(r_gamma, r_gamma) instead; 0 for a fixed r
  double decay;               // kFMix: power of the spectrum
  double max_soft;            // kFMix: greatest share of the pixels that is ramped on either side
  int32_t mode;               // MsdaMode
  int32_t rounding;           // MsdaRounding: kFMix's count of pixels; kPuzzleMix: 1 if blocks move
  int32_t reformulate;  // kFMix: lambda ~ Beta(alpha + 1, alpha), and the label is the own one
  int32_t modes;        // kFMix: frequencies kept per axis, 0 for all; kPuzzleMix: block_counts()
  int32_t length;       // kCutout: side of the square, in pixels; kPuzzleMix: own weights of a cell
  int32_t traits;       // MsdaTrait of the method
};
static_assert(sizeof(MsdaLeaf) == 128, "the record's size is part of its format");

// What C++ has to know of a method besides its number.  TRAITS in dali_msda/policy/cards.py says
// what each of these means, and the cards there which methods have it.
enum MsdaTrait : int32_t { kAnyShape = 1, kErases = 2, kNeedsField = 4, kNeedsPeaks = 8 };

enum MsdaScope : int32_t { kScopeSample = 0, kScopePair = 1, kScopeBatch = 2 };
enum MsdaPartner : int32_t {
  kPartnerPermutation = 0,
  kPartnerDerangement = 1,
  kPartnerFlip = 2,
  kPartnerRoll = 3
};
enum MsdaBox : int32_t { kBoxClip = 0, kBoxInside = 1, kBoxWrap = 2, kBoxMinMax = 3 };

enum MsdaMode : int32_t {
  kMixupPlain = 0,
  kMixupAverage = 1,  // pixels half and half, whatever lambda; the label weights are lambda's
  kHMixExact = 0,     // the weight around the box makes the mean of the mask lambda
  kHMixNominal = 1,   // as printed: for a box that is not cut off
  kGMixCode = 0,      // the released code: area min(lam, 1 - lam), label weight = mean of the mask
  kGMixPaper = 1,     // as printed: twice that, label weight lambda
  kGMixExact = 2,     // the width that makes the mean of the mask lambda
  kFMixPaper = 0,
  kFMixLegacy = 1,
  kPuzzleMixDrawn = 0,
  kPuzzleMixFixed = 1,  // the masks follow `r` and the label weights the drawn lambda
};
enum MsdaRounding : int32_t { kRoundNearest = 0, kRoundStochastic = 1, kRoundCoin = 2 };

constexpr int32_t kMaxInterpolations = 64;

struct MsdaDraw {
  uint64_t seed;
  uint32_t step, rank;
  int32_t batch, depth, height, width;
  int32_t distinct;        // only the first `distinct` samples are mixed; the rest are padding
  int32_t leaves;          // number of leaves
  int32_t interpolations;  // records a sample, 1 to kMaxInterpolations: multi-mix
  int32_t shared;          // 1: all samples of the batch have the same lambdas
  const uint64_t* ids;     // dataset index of each sample, or null: (rank, slot) then
  const double* lam;       // nominal lambda of each record, or null: they are drawn
  const int32_t* peaks;    // y and x of each sample's most salient pixel; null without kSaliencyMix
};
}  // extern "C"
