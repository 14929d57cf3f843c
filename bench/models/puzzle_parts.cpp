// Puzzle Mix in parts, for benchmarks: masks of costs that are there, and what moves by masks that
// are there.  It is compiled where it is used, with the kernels' own source.
#include "cpu/puzzle/solve.cpp"

namespace {

using namespace msda;

struct Parts {
  MsdaPuzzle puzzle;
  PuzzleJob job;
  GridCut cut;
  std::vector<int32_t> shares, pooled;
  std::vector<CutGrid> grids;
  std::vector<Prior> priors;
  std::vector<int8_t> labels;

  explicit Parts(const MsdaPuzzle& z)
      : puzzle(z),
        job{puzzle, geometry_of(z), border_scale(z.settings, z.blocks), nullptr, nullptr, 0, 0},
        grids(z.batch),
        priors(z.batch),
        labels(int64_t{z.batch} * kCellRoom) {
    job.each_share = int64_t{z.places} * z.places;
    job.each_pooled = z.channels * cells_of(job.geometry);
    shares.resize(z.samples * job.each_share), pooled.resize(z.samples * job.each_pooled);
    job.shares = shares.data(), job.pooled = pooled.data();
    for (int32_t i = 0; i < z.samples; ++i) pool_sample(job, i);
    for (int32_t i = 0; i < z.batch; ++i) {
      fill_grid(grids[i], job, z.plans[i].source[0], z.plans[i].source[1]);
      priors[i] = prior_of(z.plans[i].lam, z.settings, z.blocks);
    }
  }
};

}  // namespace

// Pools pixels and saliency and makes the costs; the arguments' memory must stay.
extern "C" void* parts_made(const MsdaPuzzle* puzzle) { return new Parts(*puzzle); }

extern "C" void parts_freed(void* parts) { delete static_cast<Parts*>(parts); }

extern "C" void parts_masks(void* given) {
  Parts& parts = *static_cast<Parts*>(given);
  const int32_t levels = parts.puzzle.settings.levels;
  std::fill(parts.labels.begin(), parts.labels.end(), start_label(levels));
  for (int32_t i = 0; i < parts.puzzle.batch; ++i) {
    int8_t* const labels = &parts.labels[i * kCellRoom];
    minimise(levels, [&](int32_t step) {
      return parts.cut.move(parts.grids[i], parts.priors[i], labels, step);
    });
  }
}

// Writes the cells by the masks that parts_masks() found.
extern "C" void parts_transport(void* given) {
  const Parts& parts = *static_cast<Parts*>(given);
  const MsdaPuzzle& z = parts.puzzle;
  for (int32_t i = 0; i < z.batch; ++i)
    put_cells(z.cells + int64_t{3} * i * z.places * z.places, parts.job, z.plans[i],
              &parts.labels[i * kCellRoom]);
}
