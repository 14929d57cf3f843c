// Checks the sizes and settings of Puzzle Mix.
#include "cpu/puzzle/pooling.h"
#include "cpu/report.h"

namespace msda {
namespace {

constexpr int64_t kMostPixels = INT32_MAX;
constexpr int32_t kMaxCell = 64;  // sums of a pooled cell fit an int32

bool check_number(const char* name, double value, double most, const Report& report) {
  if (value >= 0 && value <= most) return true;  // NaN fails, as it must
  return report.fault("%s: expected a number in [0, %g], got %g", name, most, value);
}

bool check_settings(const PuzzleSettings& s, const Report& report) {
  if (s.levels < 2 || s.levels > kMaxLevels)
    return report.fault("levels: expected 2 to %d, got %d", kMaxLevels, s.levels);
  return check_number("beta", s.beta, kMaxBeta, report) &&
         check_number("gamma", s.gamma, kMaxGamma, report) &&
         check_number("eta", s.eta, kMaxEta, report) &&
         check_number("move_cost", s.move_cost, kMaxMoveCost, report);
}

bool check_sizes(const MsdaPuzzle& z, const Report& report) {
  if (z.height < 1 || z.width < 1 || z.channels < 1 ||
      int64_t{z.height} * z.width > kMostPixels / z.channels)
    return report.fault(
        "images: expected at least one pixel and channel and fewer than 2^31 values each, got %d x "
        "%d x %d",
        z.height, z.width, z.channels);
  if (z.blocks < 2 || z.blocks > kMaxSide)
    return report.fault("blocks: expected 2 to %d along each side, got %d", kMaxSide, z.blocks);
  if (z.places < z.blocks || z.places > kMaxSide || z.places % z.blocks != 0)
    return report.fault("places: expected a multiple of the %d blocks, up to %d, got %d", z.blocks,
                        kMaxSide, z.places);
  if (z.height % z.places != 0 || z.width % z.places != 0)
    return report.fault(
        "images: expected sides that are multiples of %d, the parts of each, got %d x %d; crop or "
        "resize them, or use other blocks",
        z.places, z.height, z.width);
  if (z.cell < 1 || z.cell > kMaxCell)
    return report.fault("cell: expected 1 to %d pixels, got %d", kMaxCell, z.cell);
  const PuzzleGeometry g = geometry_of(z);
  if (g.block[0] % g.cell[0] != 0 || g.block[1] % g.cell[1] != 0)
    return report.fault(
        "cell: expected a size that divides the blocks' %d x %d pixels, got %d; use "
        "a smaller cell, or other blocks",
        g.block[0], g.block[1], z.cell);
  return true;
}

}  // namespace
}  // namespace msda

extern "C" int32_t msda_check_puzzle(const MsdaPuzzle* puzzle, char* text, int32_t room) {
  const msda::Report report = {text, room};
  return msda::check_settings(puzzle->settings, report) && msda::check_sizes(*puzzle, report);
}
