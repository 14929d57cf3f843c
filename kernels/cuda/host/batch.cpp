#include "cuda/host/batch.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "cpu/closed.h"

namespace msda::gpu {
namespace {

constexpr size_t kAlignment = 256;  // of each part of an Upload, in bytes
// The driver proposes the largest block that fits, of which few share a multiprocessor, and of
// which small images leave most threads idle.
constexpr int32_t kMostThreads = 256;

const char* name_of(int32_t dtype) {
  constexpr const char* kNames[] = {"uint8", "float32", "float16", "bfloat16"};
  return kNames[dtype];
}

// Launches a kernel that takes its items as each_grid_item() does.
void launch_items(Kernel& kernel, int64_t samples, int64_t rows, int64_t items, Handle stream,
                  const void* job) {
  if (samples == 0 || rows == 0 || items == 0) return;
  const Kernel::Block block = kernel.occupancy(kMostThreads);
  uint32_t grid[2];
  msda_grid(grid, samples, rows, items, block.threads, block.resident);
  kernel.launch(grid, block.threads, 0, stream, job);
}

// Calls take(first, count) for each run of addresses, of which each lies `bytes` bytes behind the
// last.
template <typename Take>
void for_each_run(const std::vector<void*>& addresses, size_t bytes, Take take) {
  const size_t n = addresses.size();
  for (size_t first = 0, end; first < n; first = end) {
    for (end = first + 1; end < n; ++end)
      if (static_cast<char*>(addresses[end - 1]) + bytes != addresses[end]) break;
    take(first, end - first);
  }
}

}  // namespace

int Upload::AddBytes(const void* values, size_t bytes) {
  parts_.push_back({values, values ? bytes : 0, size_});
  size_ += (parts_.back().bytes + kAlignment - 1) / kAlignment * kAlignment;
  return static_cast<int>(parts_.size()) - 1;
}

void Upload::Send(const Device& device, BatchMemory& memory, size_t scratch, Handle stream) {
  device_ = memory.OnDevice(size_ + scratch);
  if (size_ == 0) return;
  char* pinned = memory.Pinned(size_);
  for (const Part& part : parts_)
    if (part.bytes) std::memcpy(pinned + part.offset, part.values, part.bytes);
  device.copy(device_, pinned, size_, stream);
}

SampleParts::SampleParts(Upload& upload, const void* const* samples, int32_t count) {
  const auto at = [samples](int32_t i) { return static_cast<const char*>(samples[i]); };
  even_.stride = count > 1 ? at(1) - at(0) : 0;
  bool is_even = true;
  for (int32_t i = 1; is_even && i < count; ++i) is_even = at(i) == at(i - 1) + even_.stride;
  even_.first = count > 0 ? const_cast<char*>(at(0)) : nullptr;
  if (!is_even) list_ = upload.Add(samples, static_cast<size_t>(count));
}

MsdaSamples SampleParts::On(const Upload& upload) const {
  if (list_ < 0) return even_;
  return {nullptr, 0, upload.At<void* const>(list_)};
}

void Fields::Axis::Fit(int32_t length) {
  if (passes.length == length) return;
  const size_t n = static_cast<size_t>(length);
  tables.resize(3 * n);
  MsdaAxis made = {tables.data(),
                   tables.data() + n,
                   reinterpret_cast<int32_t*>(tables.data() + 2 * n),
                   {length, 0, {}}};
  expect_done(msda_axis(&made));
  passes = made.passes;
}

void Fields::AddAmplitudes(Upload& upload, const Plan* plans) {
  amplitudes_part_ = -1;
  if (!how_.in_shared) return;  // larger fields are bound by memory: reading more would not help
  const Plan* end = plans + how_.batch;
  const Plan* first = std::find_if(
      plans, end, [](const Plan& p) { return p.method == kFMix && p.modes == 0 && p.flags == 0; });
  if (first == end) return;
  const Plan& old = amplitudes_of_;
  const bool same = old.depth == first->depth && old.height == first->height &&
                    old.width == first->width && old.decay == first->decay;
  if (!same || amplitudes_.empty()) {
    amplitudes_of_ = *first;
    const int64_t lines = int64_t{first->depth} * first->height;
    amplitudes_.resize(static_cast<size_t>(lines * (first->width / 2 + 1) + 1));
    expect_done(msda_amplitudes(amplitudes_.data(), first));
  }
  amplitudes_part_ = upload.Add(amplitudes_.data(), amplitudes_.size());
}

size_t Fields::Prepare(Upload& upload, const Plan* plans, int32_t batch, int32_t interpolations) {
  how_ = {};
  interpolations_ = interpolations;
  bool any = false;
  for (int32_t i = 0; i < batch; ++i) {
    any = any || plans[i].method == kFMix;
    how_.soft = how_.soft || plans[i].soft > 0;
  }
  if (!any) return 0;
  how_.batch = batch;
  how_.depth = plans[0].depth, how_.height = plans[0].height, how_.width = plans[0].width;
  how_.most_shared = device_.shared_bytes();
  msda_field_launch(&how_);
  kernel_ = &device_.kernel("msda_field_masks");
  const Kernel::Block block = kernel_->occupancy(how_.limit, how_.shared);
  how_.threads = block.threads, how_.resident = block.resident;
  msda_field_launch(&how_);
  const int32_t lengths[3] = {how_.depth, how_.height, how_.width};
  for (int32_t k = 0; k < 3; ++k) {
    axes_[k].Fit(lengths[k]);
    axes_[k].part = upload.Add(axes_[k].tables.data(), axes_[k].tables.size());
  }
  AddAmplitudes(upload, plans);
  owners_.resize(static_cast<size_t>(batch));
  const int32_t shared = msda_mask_owners(owners_.data(), plans, batch);
  if (shared < 0) throw std::bad_alloc();
  shared_ = shared > 0;
  owners_part_ = upload.Add(shared_ ? owners_.data() : nullptr, owners_.size());
  return static_cast<size_t>(how_.scratch);
}

MsdaMasks Fields::Launch(const Upload& upload, const Plan* plans, Handle stream) {
  if (how_.batch == 0) return {};
  MsdaGpuFields job = {};
  job.fields = {upload.Scratch(), how_.row, upload.At<int32_t>(owners_part_)};
  job.plans = plans;
  for (int32_t k = 0; k < 3; ++k) {
    const auto* tables = upload.At<float>(axes_[k].part);
    const int32_t length = axes_[k].passes.length;
    job.axes[k] = {tables, tables + length, reinterpret_cast<const int32_t*>(tables + 2 * length),
                   axes_[k].passes};
  }
  job.workspace = upload.Scratch() + how_.workspace;
  job.per_block = how_.per_block;
  job.batch = how_.batch, job.in_shared = how_.in_shared, job.radix = how_.radix;
  job.interpolations = interpolations_;
  if (amplitudes_part_ >= 0) {
    job.amplitudes = upload.At<float>(amplitudes_part_);
    job.decay = amplitudes_of_.decay;
  }
  kernel_->launch({static_cast<uint32_t>(how_.blocks), 1}, how_.threads, how_.shared, stream, &job);
  return job.fields;
}

Blend::Blend(Device& device) : device_(device), fields_(device) {
  device.load("blend");
  device.load("pairs");
  device.load("values");
}

void Blend::Run(const MsdaBlend& b, BatchMemory& memory, Handle stream) {
  if (b.batch == 0) return;
  const Current current(device_);
  upload_.Clear();
  const int plans = upload_.Add(b.plans, static_cast<size_t>(b.batch));
  const size_t scratch = fields_.Prepare(upload_, b.plans, b.batch, b.interpolations);
  records_.resize(static_cast<size_t>(b.batch) * (b.pairs ? 2 : 1));
  MsdaBlendCounts counts;
  msda_blend_records(records_.data(), &counts, &b, fields_.Stride(), fields_.Owners());
  const int records = upload_.Add(records_.data(), records_.size());
  const size_t channels = counts.values ? static_cast<size_t>(b.channels) : 0;
  const int scale = upload_.Add(b.scale, channels), shift = upload_.Add(b.shift, channels);
  upload_.Send(device_, memory, scratch, stream);

  MsdaGpuBlend job = {};
  msda_blend_arguments(&job, &b);
  job.plans = upload_.At<Plan>(plans);
  job.masks = fields_.Launch(upload_, job.plans, stream).first;
  job.records = upload_.At<MsdaBlendRecord>(records);
  job.scale = upload_.At<float>(scale), job.shift = upload_.At<float>(shift);
  Launch(b, job, counts, stream);
}

void Blend::Launch(const MsdaBlend& b, MsdaGpuBlend job, const MsdaBlendCounts& counts,
                   Handle stream) {
  if (b.height == 0 || b.width == 0 || b.channels == 0) return;
  const std::string in = name_of(b.in_dtype), types = in + "_" + name_of(b.out_dtype);
  if (counts.groups > 0) {
    MsdaBlendLaunch how;
    msda_blend_launch(&how, counts.groups, &b, device_.multiprocessors());
    job.parts = how.parts, job.columns = how.columns, job.rows = how.rows,
    job.reciprocal = how.reciprocal;
    job.count = counts.groups;
    Kernel& kernel = device_.kernel(b.pairs ? "msda_pairs_" + in : "msda_blend_" + types);
    kernel.launch(how.grid, how.threads, 0, stream, &job);
  }
  if (counts.values > 0) {
    job.records += int64_t{counts.groups} * (b.pairs ? 2 : 1);
    job.count = counts.values;
    launch_items(device_.kernel("msda_values_" + types), counts.values, b.height,
                 int64_t{b.width} * b.channels, stream, &job);
  }
}

void Targets::Run(const std::vector<void*>& rows, const MsdaTargets& t, BatchMemory& memory,
                  Handle stream) {
  if (rows.empty()) return;
  const Current current(device_);
  const size_t classes = static_cast<size_t>(t.classes), each = t.batch / rows.size();
  upload_.Clear();
  const int plans = upload_.Add(t.plans, static_cast<size_t>(t.batch));
  const int source =
      t.rows ? upload_.Add(t.rows, rows.size() * classes) : upload_.Add(t.labels, rows.size());
  upload_.Send(device_, memory, 0, stream);

  MsdaGpuTargets job = {};
  job.source = upload_.At<void>(source);
  job.classes = t.classes, job.smoothing = t.smoothing;
  Kernel& kernel =
      device_.kernel(t.rows ? "msda_targets_dense_float32" : "msda_targets_dense_int64");
  for_each_run(rows, each * classes * sizeof(float), [&](size_t first, size_t count) {
    job.rows = static_cast<float*>(rows[first]);
    job.plans = upload_.At<Plan>(plans) + first * each;
    job.batch = static_cast<int32_t>(count * each);
    launch_items(kernel, 1, job.batch, t.classes, stream, &job);
  });
}

void Saliency::Run(const std::vector<MsdaSaliency>& groups, BatchMemory& memory, Handle stream) {
  if (groups.empty()) return;
  const Current current(device_);
  Kernel& kernel = device_.kernel(std::string("msda_saliency_") + name_of(groups[0].in_dtype));
  const Kernel::Block block = kernel.occupancy();
  std::vector<SampleParts> ins, maps;
  std::vector<int> mirrors;
  int64_t workspace = 0;
  upload_.Clear();
  for (const MsdaSaliency& group : groups) {
    const int64_t blocks = std::min(group.batch, block.resident);
    workspace = std::max(workspace, blocks * msda_saliency_block_bytes(group.height, group.width));
    ins.emplace_back(upload_, group.ins, group.batch);
    maps.emplace_back(upload_, group.maps, group.maps ? group.batch : 0);
    mirrors.push_back(upload_.Add(group.mirror, static_cast<size_t>(group.batch)));
  }
  upload_.Send(device_, memory, static_cast<size_t>(workspace), stream);
  for (size_t k = 0; k < groups.size(); ++k) {
    const MsdaSaliency& group = groups[k];
    MsdaGpuSaliency job = {};
    job.ins = ins[k].On(upload_), job.maps = maps[k].On(upload_);
    job.peaks = group.peaks;
    job.mirror = upload_.At<uint8_t>(mirrors[k]);
    job.workspace = upload_.Scratch();
    job.per_block = msda_saliency_block_bytes(group.height, group.width);
    job.batch = group.batch, job.channels = group.channels;
    job.height = group.height, job.width = group.width;
    const auto blocks = static_cast<uint32_t>(std::min(group.batch, block.resident));
    kernel.launch({blocks, 1}, block.threads, 0, stream, &job);
  }
}

void scatter(const Device& device, const std::vector<void*>& to, size_t bytes, const char* from,
             Handle stream) {
  const Current current(device);
  for_each_run(to, bytes, [&](size_t first, size_t count) {
    device.copy(to[first], from + first * bytes, count * bytes, stream);
  });
}

}  // namespace msda::gpu
