// The outputs of Co-Mixup for a batch.  Each thread takes whole samples, and then whole starts of
// parts; of the starts of a part the cheapest is kept, the first of several.
#include "cpu/closed.h"
#include "cpu/comixup/part.h"
#include "cpu/puzzle/kept.h"
#include "cpu/puzzle/pooling.h"
#include "cpu/threads.h"

namespace msda {
namespace {

// Finds where the mean of a window is greatest: the first of several, row by row.  The peak is
// counted in strides; that of a map that is not usable is 0, 0.
void find_peak(int32_t* peak, const MsdaCoMixupMaps& z, const float* map, int64_t* columns) {
  peak[0] = peak[1] = 0;
  const int32_t greatest = greatest_bits(map, 0, int64_t{z.height} * z.width, 1);
  if (!is_usable(greatest)) return;
  const MapScale scale = map_scale(greatest);
  const int32_t height = std::min(z.window, z.height), width = std::min(z.window, z.width);
  int64_t most = -1;
  for (int32_t x = 0; x < z.width; ++x) columns[x] = 0;
  for (int32_t y = 0; y < z.height; ++y) {  // the window's last row
    const float* row = map + int64_t{y} * z.width;
    for (int32_t x = 0; x < z.width; ++x) columns[x] += fixed_saliency(row[x], scale);
    const int32_t first = y - height + 1;
    if (first > 0)
      for (int32_t x = 0; x < z.width; ++x)
        columns[x] -= fixed_saliency((row - int64_t{height} * z.width)[x], scale);
    if (first < 0 || first % z.stride != 0) continue;
    int64_t sum = 0;
    for (int32_t x = 0; x < z.width; ++x) {  // its last column
      sum += columns[x] - (x < width ? 0 : columns[x - width]);
      const int32_t left = x - width + 1;
      if (left < 0 || left % z.stride != 0 || sum <= most) continue;
      most = sum, peak[0] = first / z.stride, peak[1] = left / z.stride;
    }
  }
}

void measure_map(const MsdaCoMixupMaps& z, int64_t i) {
  static thread_local std::vector<int64_t> room;
  const float* map = z.saliency + i * z.height * z.width;
  int64_t* row = kept(room, z.width);
  int32_t* shares = z.shares + i * z.blocks * z.blocks;
  z.uniform[i] = !pool_saliency(shares, z.height, z.width, z.blocks, map, row);
  find_peak(z.peaks + 2 * i, z, map, row);
}

// What the threads of a batch share: what each start of each part ended with.
struct StartsJob {
  const MsdaCoMixup& z;
  int32_t parts;
  Halves* shown;
  double* costs;
  int64_t each;  // blocks of a part
  int32_t inputs(int32_t part) const { return std::min(z.part, z.samples - part * z.part); }
};

void solve_start(const StartsJob& job, int64_t k) {
  static thread_local PartSolver solver;
  const int32_t part = static_cast<int32_t>(k / job.z.starts), start = k % job.z.starts;
  solver.load(job.z, part * job.z.part, job.inputs(part), part);
  job.costs[k] = solver.solve(job.shown + k * job.each, start);
}

void keep_best(const StartsJob& job, int32_t part) {
  const MsdaCoMixup& z = job.z;
  const double* costs = job.costs + int64_t{part} * z.starts;
  const int64_t best = std::min_element(costs, costs + z.starts) - costs;
  const Halves* shown = job.shown + (int64_t{part} * z.starts + best) * job.each;
  const int32_t first = part * z.part, cells = z.blocks * z.blocks;
  z.objectives[part] = costs[best];
  int32_t* out = z.sources + int64_t{2} * first * cells;
  for (int64_t k = 0; k < int64_t{job.inputs(part)} * cells; ++k, out += 2)
    out[0] = first + shown[k].a, out[1] = first + shown[k].b;
}

void solve(const MsdaCoMixup& z) {
  static thread_local std::vector<Halves> shown;
  static thread_local std::vector<double> costs;
  StartsJob job = {z, (z.samples + z.part - 1) / z.part, nullptr, nullptr, 0};
  job.each = int64_t{std::min(z.part, z.samples)} * z.blocks * z.blocks;
  const int64_t starts = int64_t{job.parts} * z.starts;
  job.shown = kept(shown, starts * job.each), job.costs = kept(costs, starts);
  const auto task = [](const void* job, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) solve_start(*static_cast<const StartsJob*>(job), k);
  };
  parallel_for(starts, 1, z.threads, task, &job);
  for (int32_t part = 0; part < job.parts; ++part) keep_best(job, part);
}

}  // namespace
}  // namespace msda

extern "C" int32_t msda_comixup_maps(const MsdaCoMixupMaps* maps) {
  const auto task = [](const void* maps, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      msda::measure_map(*static_cast<const MsdaCoMixupMaps*>(maps), i);
  };
  return msda::closed([=] { msda::parallel_for(maps->samples, 1, maps->threads, task, maps); });
}

extern "C" int32_t msda_comixup(const MsdaCoMixup* comixup) {
  return msda::closed([=] { msda::solve(*comixup); });
}
