// Checks plan records before they are used, because a wrong one would make a kernel read outside
// the batch.  The array functions and DALI's operators use the same checks.
#include <cmath>

#include "cpu/api.h"
#include "cpu/report.h"
#include "msda/mask.h"
#include "msda/puzzle/costs.h"

namespace msda {
namespace {

// NaN fails, as it must.
bool is_share(float value) { return value >= 0 && value <= 1; }

// How far the sum of the weights may be from 1.  Weights were rounded to float32 one by one, and
// records made by hand may have fewer digits.
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

// The size of the samples, whose rows an int32 must be able to count.
bool check_sizes(const Plan& p, const Report& report) {
  if (p.depth > 0 && p.height > 0 && p.width > 0 && p.depth <= INT32_MAX / p.height) return true;
  return report.fault(
      "depth, height, width: expected sizes of at least 1 and fewer than 2^31 rows, got %d x %d "
      "x %d",
      p.depth, p.height, p.width);
}

// The point must be a pixel of the sample.  Methods without a point have 0 here.
bool check_point(const Plan& p, const Report& report) {
  const int32_t sizes[] = {p.depth, p.height, p.width};
  for (int32_t k = 0; k < 3; ++k)
    if (p.point[k] < 0 || p.point[k] >= sizes[k])
      return report.fault("point: expected a pixel of %d x %d x %d, got %d, %d, %d", p.depth,
                          p.height, p.width, p.point[0], p.point[1], p.point[2]);
  return true;
}

// Members that no method uses yet, and numbers that only the caller uses.
bool check_rest(const Plan& p, const Report& report) {
  if (!is_share(p.lam)) return report.fault("lam: expected a value in [0, 1], got %g", p.lam);
  if (p.flags & ~kPlanFlags)
    return report.fault("flags: expected a sum of 1, 4, 8, 16 and 32, got %u", p.flags);
  if (p.z0 != 0 || p.z1 != 0) return report.fault("z0, z1: expected 0, got %d, %d", p.z0, p.z1);
  for (const int32_t value : p.reserved)
    if (value != 0) return report.fault("reserved: expected 0, got %d", value);
  if (p.modes < 0 || p.layer < 0 || p.leaf < 0)
    return report.fault("modes, layer, leaf: expected numbers >= 0, got %d, %d, %d", p.modes,
                        p.layer, p.leaf);
  return true;
}

// One axis of the box.  It may wrap round the border, but begins in the image and is no longer than
// it.
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
  // In real numbers, because the product of three sizes of a broken record could overflow.
  const double pixels = double{1} * p.depth * p.height * p.width;
  if (p.method == kFMix && pixels >= 2147483648.0)
    return report.fault(
        "depth, height, width: expected fewer than 2^31 pixels for fmix, got %d x %d x %d", p.depth,
        p.height, p.width);
  const bool counts = p.method != kPuzzleMix;
  if (counts && (p.soft < 0 || p.count < p.soft || double{1} * p.count + p.soft > pixels))
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

bool check_puzzle(const Plan& p, const Report& report) {
  if (p.method != kPuzzleMix) return true;
  if (p.count != 0 || p.soft < 1 || p.soft >= kMaxLevels)
    return report.fault("count, soft: expected 0 and 1 to %d for puzzlemix, got %d, %d",
                        kMaxLevels - 1, p.count, p.soft);
  if (p.modes >= 2 && p.modes <= kMaxSide) return true;
  return report.fault("modes: expected 2 to %d blocks along each side for puzzlemix, got %d",
                      kMaxSide, p.modes);
}

constexpr int32_t kAxes = 3;
constexpr const char* kAxisNames[] = {"depth", "height", "width"};

// Whether the record was drawn for samples of this size, which have the last `axes` of the axes.
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

// Boxes, points and blocks of volumes are reserved.
bool serves_volumes(const Plan& p) {
  if (p.method == kPuzzleMix) return false;
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
         check_point(p, report) && check_field(p, report) && check_rest(p, report) &&
         check_puzzle(p, report);
}

}  // namespace
}  // namespace msda

extern "C" int64_t msda_check(const msda::Plan* plans, int64_t batch, int32_t samples,
                              const int32_t* size, int32_t axes, char* text, int32_t room) {
  const msda::Report report = {text, room};
  for (int64_t i = 0; i < batch; ++i) {
    if (!msda::check(plans[i], samples, report)) return i;
    if (size && !msda::check_size(plans[i], size, axes, report)) return i;
  }
  return -1;
}
