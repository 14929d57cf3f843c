// The plan: one fixed-size record per OUTPUT sample that says who is mixed with whom, how much and
// where.  Pixels and labels are both functions of it.  The same 160 bytes are a NumPy record
// (dali_msda/record.py), a DALI uint8[160] sample and this struct.
//
// `own` is the sample whose slot the output takes; every weight and every mask weighs the OWN
// sample unless its name says otherwise.  Boxes are half-open, in pixels.
//
// An image has depth 1, a sequence depth 1 and height 1; video has its frames for depth.  kMixup
// and kFMix serve them all.  Boxes of volumes are reserved: z0 and z1 are 0, and the methods with a
// box or a point take records of depth 1 only.
#pragma once
#include "msda/portable.h"

namespace msda {

constexpr int32_t kPlanVersion = 1;
constexpr int32_t kMaxSources = 4;

// What was drawn.  The numbers are part of the record's format; mask.h says how each method weighs
// its pixels.
enum Method : uint8_t {
  kNone = 0,         // own weight 1 everywhere
  kMixup = 1,        // `outside` everywhere; with 3 or 4 sources, `weight` everywhere
  kCutMix = 2,       // `inside` in the box, `outside` around it
  kFMix = 3,         // bits of a thresholded Fourier field, `count` of them set
  kHMix = 4,         // as kCutMix, with 0 < outside < 1
  kGMix = 5,         // outside + (inside - outside) exp(-falloff . d^2) around the point
  kResizeMix = 6,    // the whole partner, shrunk into the box; falloff is the step
  kSaliencyMix = 7,  // as kCutMix
  kCutout = 8,       // the output is 0 in the box; one source, whose label is kept
  kSmoothMix = 9,    // as kGMix
  kPuzzleMix = 10,   // cells that are found for these images (puzzle/), `modes` along each side;
                     // until then the label weights are lambda's
};
constexpr const char* kMethodNames[] = {"none",   "mixup",     "cutmix",    "fmix",
                                        "hmix",   "gmix",      "resizemix", "saliencymix",
                                        "cutout", "smoothmix", "puzzlemix"};
constexpr int32_t kMethods = sizeof kMethodNames / sizeof *kMethodNames;

enum PlanFlag : uint32_t {
  kPlanLegacy = 1,     // kFMix: the field of the released code, see field.h
  kPlanAlignsOwn = 4,  // kMixup at a layer: the own features are moved to fit the partner's
  kPlanMoves = 8,      // kPuzzleMix: salient blocks move to where they are seen
  kPlanOwnLabel = 16,  // kPuzzleMix: the label weights were drawn and stay; only masks follow `lam`
  kPlanSolved = 32,    // kPuzzleMix: the label weights are those of masks that were found
};
constexpr uint32_t kPlanFlags =
    kPlanLegacy | kPlanAlignsOwn | kPlanMoves | kPlanOwnLabel | kPlanSolved;

struct Plan {
  uint16_t version;  // kPlanVersion
  uint8_t method;    // a Method
  uint8_t sources;   // samples that take part: 1 (own only) to kMaxSources
  uint32_t flags;    // PlanFlag

  int32_t source[kMaxSources];  // indices into the batch: own, partner, third, fourth
  float weight[kMaxSources];    // label weights of the sources; they sum to 1
  float lam;                    // nominal lambda, before a box is clipped or a count rounded
  float inside, outside;        // own weight in the box and around it

  int32_t z0, y0, x0, z1, y1, x1;  // the box; y1 > height (x1 > width) wraps round the border
  int32_t point[3];                // centre z, y, x
  float falloff[3];                // Gaussian coefficients per squared pixel along z, y, x
  int32_t count;                   // pixels of a field mask that stay own
  int32_t soft;                    // pixels on either side of the threshold that are ramped;
                                   // kPuzzleMix: greatest own weight of a cell, in its own steps
  uint32_t field_seed[2];          // key of the field's own random numbers
  float decay;                     // power of the field's spectrum
  int32_t modes;                   // frequencies kept per axis, 0 for all; kPuzzleMix: blocks
  int32_t layer;                   // layer to mix at, by its place among those that are named
  int32_t leaf;                    // which leaf of the policy was drawn
  int32_t depth, height, width;    // size of the samples the plan was drawn for
  int32_t reserved[4];             // 0
};
static_assert(sizeof(Plan) == 160, "the record's size is part of its format");

}  // namespace msda
