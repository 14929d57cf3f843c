#include "cuda/host/puzzle/puzzle.h"

#include <algorithm>

#include "cuda/host/batch.h"
#include "cuda/puzzle/arguments.h"
#include "msda/puzzle/transport.h"

namespace msda::gpu {
namespace {

constexpr int32_t kThreads = 256;  // the most that a block of puzzle.cu has
constexpr int32_t kBlocks = 8;     // of masks that a multiprocessor should have before they grow
constexpr int64_t kGroups = 16;    // of values that a thread of a blend makes, if it is large

uint32_t parts(int64_t count, int64_t each) {
  return static_cast<uint32_t>((count + each - 1) / each);
}

Divisor by(int32_t number) { return divisor_of(static_cast<uint32_t>(number)); }

std::vector<MsdaPuzzleOutput> outputs_of(const MsdaPuzzle& z) {
  std::vector<MsdaPuzzleOutput> made(static_cast<size_t>(z.batch));
  for (size_t i = 0; i < made.size(); ++i) {
    const Plan& p = z.plans[i];
    const bool is_mixed = p.sources > 1;
    made[i] = {p.source[0], p.source[is_mixed ? 1 : 0], is_mixed,
               is_mixed ? prior_of(p.lam, z.settings, z.blocks) : Prior{}};
  }
  return made;
}

// What a batch needs on the way, and where it lies in the scratch memory.
struct Scratch {
  int64_t columns, shares, pooled;  // bytes

  Scratch(const MsdaPuzzle& z, const PuzzleGeometry& g, int32_t blocks)
      : columns(int64_t{blocks} * z.places * z.width * int64_t{sizeof(int64_t)}),
        shares(int64_t{z.samples} * z.places * z.places * int64_t{sizeof(int32_t)}),
        pooled(z.samples * g.channels * cells_of(g) * int64_t{sizeof(int32_t)}) {}
  size_t bytes() const { return static_cast<size_t>(columns + shares + pooled); }
};

void launch_masks(const Upload& upload, const MsdaPuzzle& z, MsdaGpuPuzzleMasks job) {
  if (z.batch == 0) return;
  job.batch = z.batch, job.levels = z.settings.levels, job.transport = z.transport;
  job.scale = border_scale(z.settings, z.blocks);
  job.step_cost = step_cost(z.settings.move_cost, z.places);
  // Few outputs go to a block where the device has room for all blocks: they wait for one another.
  const int32_t each = z.places * z.places, room = kBlocks * upload.device.multiprocessors;
  const auto spread = static_cast<int32_t>(parts(z.batch, room));
  job.per_block = std::clamp(spread, std::max(1, 32 / each), kThreads / each);
  const int32_t threads = (job.per_block * each + 31) / 32 * 32;
  Kernel& kernel = upload.device.kernel("msda_puzzle_masks");
  kernel.launch({parts(z.batch, job.per_block), 1}, threads, 0, upload.stream, &job);
}

void find(Upload& upload, const MsdaPuzzle& z) {
  if (z.samples == 0) return;
  Kernel& kernel = upload.device.kernel(std::string("msda_puzzle_pool_") + name_of(z.in_dtype));
  const Kernel::Block block = kernel.occupancy(kThreads);
  const int32_t blocks = std::min(z.samples, block.resident);
  const PuzzleGeometry g = geometry_of(z);
  const Scratch scratch(z, g, blocks);
  const std::vector<MsdaPuzzleOutput> outputs = outputs_of(z);
  MsdaGpuPuzzlePool job = {};
  MsdaGpuPuzzleMasks masks = {};
  upload.Add(outputs.data(), outputs.size(), &masks.outputs);
  upload.AddSamples(z.ins, z.samples, &job.ins);
  const auto channels = static_cast<size_t>(z.channels);
  upload.Add(z.scale, channels, &job.scale), upload.Add(z.shift, channels, &job.shift);
  upload.Send(scratch.bytes());

  char* const columns = upload.Scratch();
  job.columns = reinterpret_cast<int64_t*>(columns);
  job.shares = reinterpret_cast<int32_t*>(columns + scratch.columns);
  job.pooled = reinterpret_cast<int32_t*>(columns + scratch.columns + scratch.shares);
  job.saliency = z.saliency, job.uniform = z.uniform, job.geometry = g;
  job.samples = z.samples, job.height = z.height, job.width = z.width;
  job.by_width = by(z.width), job.by_columns = by(g.cells[1]), job.by_rows = by(g.cells[0]);
  job.by_block[0] = by(g.per_block[0]), job.by_block[1] = by(g.per_block[1]);
  kernel.launch({static_cast<uint32_t>(blocks), 1}, block.threads, 0, upload.stream, &job);
  masks.cells = z.cells, masks.weights = z.weights;
  masks.shares = job.shares, masks.pooled = job.pooled, masks.geometry = g;
  launch_masks(upload, z, masks);
}

MsdaGpuPuzzleBlend blend_job(const MsdaBlend& b, int32_t places, int32_t levels) {
  const bool planar = b.out_layout == kChw;
  MsdaGpuPuzzleBlend job = {};
  job.places = places, job.levels = levels, job.height = b.height;
  job.planes = planar ? b.channels : 1, job.channels = planar ? 1 : b.channels;
  job.row_values = b.width * job.channels;
  job.groups = static_cast<int32_t>(parts(job.row_values, kPuzzleGroup));
  job.place_rows = b.height / places, job.place_values = job.row_values / places;
  job.by_places = by(places);
  job.by_place_rows = by(job.place_rows), job.by_place_values = by(job.place_values);
  return job;
}

void blend(Upload& upload, const MsdaBlend& b, const uint8_t* cells, int32_t places,
           int32_t levels) {
  if (b.batch == 0) return;
  std::vector<int32_t> pairs;
  for (const Plan* p = b.plans; p < b.plans + b.batch; ++p) {
    pairs.push_back(p->source[0]);
    pairs.push_back(p->source[p->sources > 1 ? 1 : 0]);
  }
  MsdaGpuPuzzleBlend job = blend_job(b, places, levels);
  job.cells = cells;
  upload.Add(pairs.data(), pairs.size(), &job.pairs);
  upload.AddSamples(b.outs, b.batch, &job.outs), upload.AddSamples(b.ins, b.samples, &job.ins);
  const auto channels = static_cast<size_t>(b.channels);
  upload.Add(b.scale, channels, &job.scale), upload.Add(b.shift, channels, &job.shift);
  upload.Send(0);
  Kernel& kernel = upload.device.kernel(std::string("msda_puzzle_blend_") + name_of(b.in_dtype) +
                                        "_" + name_of(b.out_dtype));
  const Kernel::Block block = kernel.occupancy(kThreads);
  const int64_t groups = int64_t{job.groups} * b.height * job.planes;
  // As few blocks as keep the device busy, for each works out all places of its output; but at
  // least the threads of a row.
  const uint32_t along =
      std::max({std::min(parts(groups, block.threads), parts(2 * block.resident, b.batch)),
                parts(groups, kGroups * block.threads), parts(job.groups, block.threads)});
  job.along = static_cast<int32_t>(along);
  const uint32_t blocks = along * static_cast<uint32_t>(b.batch);
  kernel.launch({blocks, 1}, block.threads, 0, upload.stream, &job);
}

}  // namespace
}  // namespace msda::gpu

using namespace msda::gpu;

int32_t msda_gpu_puzzle(MsdaGpuCall* call, const MsdaPuzzle* puzzle) {
  return on_device(*call, [=](Upload& upload) { find(upload, *puzzle); });
}

int32_t msda_gpu_puzzle_blend(MsdaGpuCall* call, const MsdaBlend* b, const uint8_t* cells,
                              int32_t places, int32_t levels) {
  return on_device(*call, [=](Upload& upload) { blend(upload, *b, cells, places, levels); });
}
