// The settings of Puzzle Mix.
#pragma once
#include "msda/portable.h"

namespace msda {

constexpr int32_t kMaxLevels = 4;

// The greatest settings: sums of costs then fit an int32.
constexpr double kMaxBeta = 8, kMaxGamma = 1, kMaxEta = 1, kMaxMoveCost = 16;

struct PuzzleSettings {
  double beta;       // cost of unlike neighbours
  double gamma;      // share of it that the contrast at the border decides, in [0, 1]
  double eta;        // weight of the prior that makes the labels follow lambda
  double move_cost;  // cost of moving a block along the whole side of the image (transport.h)
  int32_t levels;    // values that a label can take, 2 to kMaxLevels
};

}  // namespace msda
