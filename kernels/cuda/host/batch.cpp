#include "cuda/host/batch.h"

#include <algorithm>
#include <cstring>

#include "cpu/closed.h"

namespace msda::gpu {
namespace {

constexpr size_t kAlignment = 256;  // of each part of an Upload, in bytes
// The driver proposes the largest block that fits, of which few share a multiprocessor, and of
// which small images leave most threads idle.
constexpr int32_t kMostThreads = 256;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void launch_items(const Upload& upload, const std::string& name, int64_t samples, int64_t rows,
                  int64_t items, const void* job) {
  if (samples == 0 || rows == 0 || items == 0) return;
  Kernel& kernel = upload.device.kernel(name);
  const Kernel::Block block = kernel.occupancy(kMostThreads);
  uint32_t grid[2];
  msda_grid(grid, samples, rows, items, block.threads, block.resident);
  kernel.launch(grid, block.threads, 0, upload.stream, job);
}

void Upload::AddBytes(const void* values, size_t bytes, void* there) {
  parts_.push_back({values, bytes, size_, there});
  size_ += aligned(bytes);
}

void Upload::AddSamples(const void* const* samples, int32_t count, MsdaSamples* there) {
  const auto at = [samples](int32_t i) { return static_cast<const char*>(samples[i]); };
  const int64_t stride = count > 1 ? at(1) - at(0) : 0;
  for (int32_t i = 1; i < count; ++i)
    if (at(i) != at(i - 1) + stride) return Add(samples, static_cast<size_t>(count), &there->each);
  there->first = count > 0 ? const_cast<char*>(at(0)) : nullptr;
  there->stride = stride;
}

void Upload::Send(size_t scratch) {
  if (size_ + scratch == 0) return;
  memory_.emplace(device.memory, size_ + aligned(scratch), stream);
  if (size_ == 0) return;
  const Lease pinned(device.pinned, size_, stream);
  for (const Part& part : parts_) {
    std::memcpy(pinned.address + part.offset, part.values, part.bytes);
    const char* const address = memory_->address + part.offset;
    std::memcpy(part.there, &address, sizeof(address));
  }
  driver().copy(memory_->address, pinned.address, size_, stream);
}

Fields::Fields(Upload& upload, const Plan* plans, int32_t batch) : upload_(upload), batch_(batch) {
  const Plan* end = plans + batch;
  if (std::none_of(plans, end, [](const Plan& p) { return p.method == kFMix; })) return;
  lists_.resize(3 * static_cast<size_t>(batch) + 1);
  how_.fields = msda_mask_lists(lists_.data(), plans, batch);
  if (how_.fields < 0) throw std::bad_alloc();
  how_.masks = lists_[2 * static_cast<size_t>(batch) + static_cast<size_t>(how_.fields)];
  upload.Add(lists_.data(), lists_.size(), &lists_there_);
  how_.depth = plans[0].depth, how_.height = plans[0].height, how_.width = plans[0].width;
  how_.soft = std::any_of(plans, end, [](const Plan& p) { return p.soft > 0; });
  how_.most_shared = upload.device.shared_bytes;
  msda_field_launch(&how_);
  kernel_ = &upload.device.kernel("msda_field_masks");
  const Kernel::Block block = kernel_->occupancy(how_.limit, how_.shared);
  how_.threads = block.threads, how_.resident = block.resident;
  msda_field_launch(&how_);
  job_.per_block = how_.per_block, job_.count = how_.fields;
  job_.in_shared = how_.in_shared, job_.radix = how_.radix;
  AddAxis(0, how_.depth), AddAxis(1, how_.height), AddAxis(2, how_.width);
  if (how_.in_shared) AddAmplitudes(plans);  // larger fields are bound by memory
}

void Fields::AddAxis(int32_t k, int32_t length) {
  const size_t n = static_cast<size_t>(length);
  const auto make = [=](float* first) {
    MsdaAxis axis = {first, first + n, reinterpret_cast<int32_t*>(first + 2 * n), {length, 0, {}}};
    expect_done(msda_axis(&axis));
  };
  job_.axes[k].passes = passes_of(length);
  job_.axes[k].cosine = upload_.device.table({0, 0, length, 0}, 3 * n, make);
  if (job_.axes[k].cosine) return;
  tables_[k].resize(3 * n);
  make(tables_[k].data());
  upload_.Add(tables_[k].data(), 3 * n, &job_.axes[k].cosine);
}

// The amplitudes of the first record with all modes of the paper's law.  Records with the same
// decay then need not compute them.
void Fields::AddAmplitudes(const Plan* plans) {
  const Plan* end = plans + batch_;
  const Plan* first = std::find_if(
      plans, end, [](const Plan& p) { return p.method == kFMix && p.modes == 0 && p.flags == 0; });
  if (first == end) return;
  const size_t lines = static_cast<size_t>(first->depth) * static_cast<size_t>(first->height);
  job_.decay = first->decay;
  job_.amplitudes = upload_.device.table(
      {first->depth, first->height, first->width, first->decay},
      lines * (static_cast<size_t>(first->width) / 2 + 1) + 1,
      [=](float* amplitudes) { expect_done(msda_amplitudes(amplitudes, first)); });
}

MsdaMasks Fields::Launch(const Plan* plans, const MsdaMasks& rows) const {
  if (how_.fields == 0) return {};
  MsdaGpuFields job = job_;
  job.fields = rows.first ? rows : MsdaMasks{upload_.Scratch(), how_.row, lists_there_};
  job.makers = lists_there_ + batch_, job.firsts = job.makers + batch_;
  job.workspace = upload_.Scratch() + how_.workspace;
  job.plans = plans;
  for (MsdaGpuAxis& axis : job.axes) {
    axis.sine = axis.cosine + axis.passes.length;
    axis.place = reinterpret_cast<const int32_t*>(axis.sine + axis.passes.length);
  }
  kernel_->launch({static_cast<uint32_t>(how_.blocks), 1}, how_.threads, how_.shared,
                  upload_.stream, &job);
  return job.fields;
}

}  // namespace msda::gpu
