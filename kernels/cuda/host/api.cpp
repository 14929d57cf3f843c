#include "cuda/host/api.h"

#include <algorithm>
#include <cstring>

#include "cuda/host/batch.h"
#include "cuda/puzzle/arguments.h"

namespace msda::gpu {
namespace {

enum { kDeviceOrdinal = 9 };  // CUpointer_attribute

// Calls take(first, count) for each run of addresses, of which each lies `bytes` bytes behind the
// last.
template <typename Take>
void for_each_run(void* const* addresses, size_t n, size_t bytes, Take take) {
  for (size_t first = 0, end; first < n; first = end) {
    for (end = first + 1; end < n; ++end)
      if (static_cast<char*>(addresses[end - 1]) + bytes != addresses[end]) break;
    take(first, end - first);
  }
}

void launch_targets(const Upload& upload, const std::string& type, const MsdaGpuTargets& job) {
  const std::string form = job.rows ? "dense_" : "compact_";
  launch_items(upload, "msda_targets_" + form + type, 1, job.batch, job.rows ? job.classes : 4,
               &job);
}

}  // namespace
}  // namespace msda::gpu

using namespace msda::gpu;

int32_t msda_gpu_of(MsdaGpuCall* call, const void* address) {
  return reported(*call,
                  [=] { driver().pointer_attribute(&call->device, kDeviceOrdinal, address); });
}

int32_t msda_gpu_load(MsdaGpuCall* call, const char* source) {
  return on_device(*call, [=](Upload& upload) { upload.device.load(source); });
}

int32_t msda_gpu_mask(MsdaGpuCall* call, float* weights, const msda::Plan* plans, int32_t batch,
                      int32_t height, int32_t width) {
  return on_device(*call, [=](Upload& upload) {
    MsdaGpuMask job = {weights, {}, nullptr, batch, height, width};
    upload.Add(plans, static_cast<size_t>(batch), &job.plans);
    Fields fields(upload, plans, batch);
    upload.Send(fields.scratch());
    job.fields = fields.Launch(job.plans);
    launch_items(upload, "msda_mask_float32", batch, height, width, &job);
  });
}

int32_t msda_gpu_fields(MsdaGpuCall* call, const MsdaFields* f) {
  return on_device(*call, [=](Upload& upload) {
    const msda::Plan* plans = nullptr;
    upload.Add(f->plans, static_cast<size_t>(f->batch), &plans);
    MsdaSamples rows = {};
    upload.AddSamples(f->fields, f->batch, &rows);
    Fields fields(upload, f->plans, f->batch);
    upload.Send(fields.scratch());
    fields.Launch(plans, {rows.first, rows.stride, nullptr});
  });
}

int32_t msda_gpu_targets_rows(MsdaGpuCall* call, void* const* rows, int32_t samples,
                              const MsdaTargets* targets) {
  return on_device(*call, [=](Upload& upload) {
    const MsdaTargets& t = *targets;
    if (t.batch == 0) return;
    const size_t n = static_cast<size_t>(samples), classes = static_cast<size_t>(t.classes);
    const size_t each = static_cast<size_t>(t.batch) / n;
    MsdaGpuTargets job = {};
    upload.Add(t.plans, static_cast<size_t>(t.batch), &job.plans);
    t.rows ? upload.Add(t.rows, n * classes, &job.source) : upload.Add(t.labels, n, &job.source);
    upload.Send(0);
    job.classes = t.classes, job.smoothing = t.smoothing;
    for_each_run(rows, n, each * classes * sizeof(float), [&](size_t first, size_t count) {
      job.rows = static_cast<float*>(rows[first]);
      job.batch = static_cast<int32_t>(count * each);
      launch_targets(upload, t.rows ? "float32" : "int64", job);
      job.plans += job.batch;
    });
  });
}

int32_t msda_gpu_targets(MsdaGpuCall* call, float* rows, int64_t* labels, float* weights,
                         const MsdaTargets* t, const void* source, const char* type,
                         const float* own) {
  return on_device(*call, [=](Upload& upload) {
    MsdaGpuTargets job = {rows,    labels,   weights,    source,
                          nullptr, t->batch, t->classes, t->smoothing};
    upload.Add(t->plans, static_cast<size_t>(t->batch), &job.plans);
    upload.Send(0);
    auto* plans = const_cast<msda::Plan*>(job.plans);  // this batch's copy
    const MsdaGpuPuzzleWeights put = {plans, own, t->batch};
    if (own) launch_items(upload, "msda_puzzle_weights", 1, 1, t->batch, &put);
    launch_targets(upload, type, job);
  });
}

int32_t msda_gpu_saliency(MsdaGpuCall* call, const MsdaSaliency* groups, int32_t count,
                          const uint8_t* mirror) {
  return on_device(*call, [=](Upload& upload) {
    if (count == 0) return;
    Kernel& kernel =
        upload.device.kernel(std::string("msda_saliency_") + name_of(groups[0].in_dtype));
    const auto block_of = [&](const MsdaGpuSaliency& job) {
      return kernel.occupancy(msda_saliency_threads(job.batch, job.height, job.width));
    };
    std::vector<MsdaGpuSaliency> jobs(static_cast<size_t>(count));
    int64_t workspace = 0;
    for (size_t k = 0; k < jobs.size(); ++k) {
      const MsdaSaliency& g = groups[k];
      MsdaGpuSaliency& job = jobs[k];
      job.batch = g.batch, job.height = g.height, job.width = g.width, job.channels = g.channels;
      job.peaks = g.peaks;
      job.per_block = msda_saliency_block_bytes(g.height, g.width);
      upload.AddSamples(g.ins, g.batch, &job.ins);
      if (g.maps) upload.AddSamples(g.maps, g.batch, &job.maps);
      upload.Add(g.mirror, static_cast<size_t>(g.batch), &job.mirror);
      workspace = std::max(workspace, std::min(g.batch, block_of(job).resident) * job.per_block);
    }
    upload.Send(static_cast<size_t>(workspace));
    const uint8_t* there = mirror;
    for (MsdaGpuSaliency& job : jobs) {
      job.workspace = upload.Scratch();
      if (there) job.mirror = there, there += job.batch;
      const Kernel::Block block = block_of(job);
      const auto blocks = static_cast<uint32_t>(std::min(job.batch, block.resident));
      if (blocks) kernel.launch({blocks, 1}, block.threads, 0, call->stream, &job);
    }
  });
}

int32_t msda_gpu_scatter(MsdaGpuCall* call, void* const* to, int32_t count, int64_t bytes,
                         const void* from) {
  return on_device(*call, [=](Upload& upload) {
    const size_t n = static_cast<size_t>(count), each = static_cast<size_t>(bytes);
    if (n * each == 0) return;
    const Lease pinned(upload.device.pinned, n * each, call->stream);
    std::memcpy(pinned.address, from, n * each);
    for_each_run(to, n, each, [&](size_t first, size_t run) {
      driver().copy(to[first], pinned.address + first * each, run * each, call->stream);
    });
  });
}
