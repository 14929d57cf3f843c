#include "cuda/host/api.h"

#include <algorithm>
#include <cstring>

#include "cuda/host/batch.h"

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
    const int part = upload.Add(plans, static_cast<size_t>(batch));
    const Fields fields(upload, plans, batch);
    upload.Send(fields.scratch());
    const auto* there = upload.At<msda::Plan>(part);
    const MsdaGpuMask job = {weights, fields.Launch(there), there, batch, height, width};
    launch_items(upload, "msda_mask_float32", batch, height, width, &job);
  });
}

int32_t msda_gpu_fields(MsdaGpuCall* call, const MsdaFields* f) {
  return on_device(*call, [=](Upload& upload) {
    const int plans = upload.Add(f->plans, static_cast<size_t>(f->batch));
    const SampleParts rows(upload, f->fields, f->batch);
    const Fields fields(upload, f->plans, f->batch);
    upload.Send(fields.scratch());
    const MsdaSamples even = rows.On(upload);
    fields.Launch(upload.At<msda::Plan>(plans), {even.first, even.stride, nullptr});
  });
}

int32_t msda_gpu_targets_dense(MsdaGpuCall* call, void* const* rows, int32_t samples,
                               const MsdaTargets* targets, const void* labels, const char* type) {
  return on_device(*call, [=](Upload& upload) {
    const MsdaTargets& t = *targets;
    if (t.batch == 0) return;
    const size_t n = static_cast<size_t>(samples), classes = static_cast<size_t>(t.classes);
    const size_t each = static_cast<size_t>(t.batch) / n;
    const int plans = upload.Add(t.plans, static_cast<size_t>(t.batch));
    const int sent = t.rows && !labels ? upload.Add(t.rows, n * classes)
                                       : upload.Add(labels ? nullptr : t.labels, n);
    upload.Send(0);
    MsdaGpuTargets job = {};
    job.source = labels ? labels : upload.At<void>(sent);
    job.classes = t.classes, job.smoothing = t.smoothing;
    const std::string name = std::string("msda_targets_dense_") + type;
    for_each_run(rows, n, each * classes * sizeof(float), [&](size_t first, size_t count) {
      job.rows = static_cast<float*>(rows[first]);
      job.plans = upload.At<msda::Plan>(plans) + first * each;
      job.batch = static_cast<int32_t>(count * each);
      launch_items(upload, name, 1, job.batch, t.classes, &job);
    });
  });
}

int32_t msda_gpu_targets_compact(MsdaGpuCall* call, int64_t* labels, float* weights,
                                 const MsdaTargets* t, const void* source, const char* type) {
  return on_device(*call, [=](Upload& upload) {
    const int plans = upload.Add(t->plans, static_cast<size_t>(t->batch));
    upload.Send(0);
    const MsdaGpuTargets job = {nullptr,  labels,     weights, source, upload.At<msda::Plan>(plans),
                                t->batch, t->classes, 0};
    launch_items(upload, std::string("msda_targets_compact_") + type, 1, t->batch, 4, &job);
  });
}

int32_t msda_gpu_saliency(MsdaGpuCall* call, const MsdaSaliency* groups, int32_t count,
                          const uint8_t* mirror) {
  return on_device(*call, [=](Upload& upload) {
    if (count == 0) return;
    Kernel& kernel =
        upload.device.kernel(std::string("msda_saliency_") + name_of(groups[0].in_dtype));
    const auto block_of = [&](const MsdaSaliency& g) {
      return kernel.occupancy(msda_saliency_threads(g.batch, g.height, g.width));
    };
    std::vector<SampleParts> ins, maps;
    std::vector<int> flags;
    int64_t workspace = 0;
    const uint8_t* there = mirror;
    for (const MsdaSaliency* g = groups; g < groups + count; ++g) {
      const int64_t blocks = std::min(g->batch, block_of(*g).resident);
      workspace = std::max(workspace, blocks * msda_saliency_block_bytes(g->height, g->width));
      ins.emplace_back(upload, g->ins, g->batch);
      maps.emplace_back(upload, g->maps, g->maps ? g->batch : 0);
      flags.push_back(upload.Add(g->mirror, static_cast<size_t>(g->batch)));
    }
    upload.Send(static_cast<size_t>(workspace));
    for (size_t k = 0; k < flags.size(); ++k) {
      const MsdaSaliency& g = groups[k];
      const MsdaGpuSaliency job = {ins[k].On(upload), maps[k].On(upload),
                                   g.peaks,           there ? there : upload.At<uint8_t>(flags[k]),
                                   upload.Scratch(),  msda_saliency_block_bytes(g.height, g.width),
                                   g.batch,           g.height,
                                   g.width,           g.channels};
      const Kernel::Block block = block_of(g);
      const auto blocks = static_cast<uint32_t>(std::min(g.batch, block.resident));
      if (blocks) kernel.launch({blocks, 1}, block.threads, 0, call->stream, &job);
      if (there) there += g.batch;
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
