// The masks of Puzzle Mix for a batch, and what moves.  Each thread takes whole samples, and then
// whole pairs.
#include "cpu/closed.h"
#include "cpu/puzzle/grid_cut.h"
#include "cpu/puzzle/kept.h"
#include "cpu/puzzle/pooling.h"
#include "cpu/threads.h"
#include "msda/puzzle/transport.h"

namespace msda {
namespace {

// What the threads of a batch share.
struct PuzzleJob {
  const MsdaPuzzle& z;
  PuzzleGeometry geometry;
  BorderScale scale;
  int32_t *shares, *pooled;
  int64_t each_share, each_pooled;  // values of a sample
};

void pool_sample(const PuzzleJob& job, int64_t i) {
  static thread_local std::vector<int64_t> row;
  const MsdaPuzzle& z = job.z;
  const float* map = z.saliency + i * z.height * z.width;
  z.uniform[i] = !pool_saliency(job.shares + i * job.each_share, z.height, z.width, z.places, map,
                                kept(row, z.width));
  int32_t* pooled = job.pooled + i * job.each_pooled;
  if (z.in_dtype == kUint8)
    pool_pixels(pooled, z, job.geometry, static_cast<const uint8_t*>(z.ins[i]));
  else
    pool_pixels(pooled, z, job.geometry, static_cast<const float*>(z.ins[i]));
}

// Adds to the slopes of the two cells what their border costs, and returns its weight.
int32_t add_border(CutGrid& grid, const PuzzleJob& job, const int32_t* const* pooled, int32_t axis,
                   int32_t border, int32_t at, int32_t near, int32_t far) {
  const Border made = border_of(job.geometry, job.scale, pooled, axis, border, at);
  grid.slope[near] += (grid.levels - 1) * near_slope(made);
  grid.slope[far] += (grid.levels - 1) * far_slope(made);
  return border_weight(made, job.scale);
}

// The costs of a pair, but for the prior.
void fill_grid(CutGrid& grid, const PuzzleJob& job, int32_t own, int32_t partner) {
  const PuzzleGeometry& g = job.geometry;
  const int32_t side = g.side, d = job.z.settings.levels - 1, ratio = g.places / side;
  grid = {side, side * side, d + 1, {}, {}, {}};
  const int32_t* shares[2] = {job.shares + own * job.each_share,
                              job.shares + partner * job.each_share};
  for (int32_t place = 0; place < g.places * g.places; ++place) {
    const int32_t block = place / g.places / ratio * side + place % g.places / ratio;
    grid.slope[kFirstCell + block] += 2 * d * (shares[0][place] - shares[1][place]);
  }
  const int32_t* pooled[2] = {job.pooled + own * job.each_pooled,
                              job.pooled + partner * job.each_pooled};
  for (int32_t border = 0; border + 1 < side; ++border)
    for (int32_t at = 0; at < side; ++at) {
      const int32_t left = kFirstCell + at * side + border;
      const int32_t upper = kFirstCell + border * side + at;
      grid.down[upper] = add_border(grid, job, pooled, 0, border, at, upper, upper + side);
      grid.right[left] = add_border(grid, job, pooled, 1, border, at, left, left + 1);
    }
}

// Moves the blocks of one image, own or partner's.
void transport(uint8_t* sources, const PuzzleJob& job, int32_t sample, const uint8_t* visible) {
  const int32_t places = job.geometry.places;
  if (!job.z.transport) {
    for (int32_t p = 0; p < places * places; ++p) sources[p] = static_cast<uint8_t>(p);
    return;
  }
  move_blocks(sources, {places, step_cost(job.z.settings.move_cost, places),
                        job.shares + sample * job.each_share, visible});
}

// Writes the cells of an output, and returns the mean own weight.
float put_cells(uint8_t* out, const PuzzleJob& job, const Plan& p, const int8_t* labels) {
  const PuzzleGeometry& g = job.geometry;
  const int32_t cells = g.places * g.places, ratio = g.places / g.side;
  const int32_t d = job.z.settings.levels - 1;
  uint8_t weights[kMaxCells], sources[2][kMaxCells], visible[2][kMaxCells];
  int32_t sum = 0;
  for (int32_t k = 0; k < cells; ++k) {
    const int32_t label = labels[kFirstCell + k / g.places / ratio * g.side + k % g.places / ratio];
    weights[k] = static_cast<uint8_t>(d - label);
    visible[0][k] = label < d, visible[1][k] = label > 0;
    sum += d - label;
  }
  for (int32_t k = 0; k < 2; ++k)
    transport(sources[k], job, p.source[k < p.sources ? k : 0], visible[k]);
  for (int32_t k = 0; k < cells; ++k, out += 3)
    out[0] = weights[k], out[1] = sources[0][k], out[2] = sources[1][k];
  return static_cast<float>(static_cast<double>(sum) / (d * cells));
}

// All outputs of a pair.  One that is not mixed is all own.
void solve_pair(const PuzzleJob& job, int64_t pair) {
  static thread_local GridCut cut;
  static thread_local CutGrid grid;
  const MsdaPuzzle& z = job.z;
  const int64_t first = pair * z.interpolations, cells = int64_t{3} * z.places * z.places;
  for (int64_t i = first; i < first + z.interpolations; ++i) {
    const Plan& p = z.plans[i];
    int8_t labels[kCellRoom] = {};
    if (p.sources > 1) {
      const bool is_same = i > first && z.plans[i - 1].sources > 1 &&
                           p.source[0] == z.plans[i - 1].source[0] &&
                           p.source[1] == z.plans[i - 1].source[1];
      if (!is_same) fill_grid(grid, job, p.source[0], p.source[1]);
      const Prior prior = prior_of(p.lam, z.settings, z.blocks);
      for (int8_t& label : labels) label = start_label(z.settings.levels);
      minimise(z.settings.levels,
               [&](int32_t step) { return cut.move(grid, prior, labels, step); });
    }
    z.weights[i] = put_cells(z.cells + i * cells, job, p, labels);
  }
}

void solve(const MsdaPuzzle& z) {
  static thread_local std::vector<int32_t> shares, pooled;
  PuzzleJob job = {z, geometry_of(z), border_scale(z.settings, z.blocks), nullptr, nullptr, 0, 0};
  job.each_share = int64_t{z.places} * z.places;
  job.each_pooled = z.channels * cells_of(job.geometry);
  job.shares = kept(shares, z.samples * job.each_share);
  job.pooled = kept(pooled, z.samples * job.each_pooled);
  const auto pool = [](const void* job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pool_sample(*static_cast<const PuzzleJob*>(job), i);
  };
  const auto pairs = [](const void* job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) solve_pair(*static_cast<const PuzzleJob*>(job), i);
  };
  parallel_for(z.samples, 1, z.threads, pool, &job);
  parallel_for(z.batch / z.interpolations, 1, z.threads, pairs, &job);
}

}  // namespace
}  // namespace msda

extern "C" int32_t msda_puzzle(const MsdaPuzzle* puzzle) {
  return msda::closed([=] { msda::solve(*puzzle); });
}
