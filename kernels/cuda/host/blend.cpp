// The mixed batch.
#include "cuda/host/batch.h"

namespace msda::gpu {
namespace {

void launch(const Upload& upload, const MsdaBlend& b, const MsdaGpuBlend& job) {
  const bool gathers = msda_needs_gather(b.plans, b.batch, b.channels) != 0;
  const std::string types = std::string(name_of(b.in_dtype)) + "_" + name_of(b.out_dtype);
  launch_items(upload, (gathers ? "msda_gather_" : "msda_blend_") + types,
               b.batch / b.interpolations, b.height,
               msda_group_items(b.out_dtype, b.width, b.channels), &job);
}

}  // namespace
}  // namespace msda::gpu

int32_t msda_gpu_blend(MsdaGpuCall* call, const MsdaBlend* blend, const uint8_t* mirror,
                       int32_t planes, int64_t in_step, int64_t out_step) {
  using namespace msda::gpu;
  return on_device(*call, [=](Upload& upload) {
    const MsdaBlend& b = *blend;
    if (b.batch == 0) return;
    const size_t batch = static_cast<size_t>(b.batch);
    const size_t channels = static_cast<size_t>(b.channels * planes);
    const int plans = upload.Add(b.plans, batch);
    const int flags = upload.Add(b.mirror, static_cast<size_t>(b.samples));
    const int scale = upload.Add(b.scale, channels), shift = upload.Add(b.shift, channels);
    const int pairs = upload.Add(b.pairs, batch);
    const SampleParts outs(upload, b.outs, b.batch), ins(upload, b.ins, b.samples);
    const Fields fields(upload, b.plans, b.fields ? 0 : b.batch);
    upload.Send(fields.scratch());

    MsdaGpuBlend job = {};
    job.plans = upload.At<msda::Plan>(plans);
    job.fields = fields.Launch(job.plans);
    if (b.fields) {
      auto* const first = static_cast<char*>(const_cast<void*>(b.fields[0]));
      job.fields = {first, batch > 1 ? static_cast<const char*>(b.fields[1]) - first : 0, nullptr};
    }
    job.outs = outs.On(upload), job.ins = ins.On(upload);
    job.mirror = mirror ? mirror : upload.At<uint8_t>(flags);
    job.scale = upload.At<float>(scale), job.shift = upload.At<float>(shift);
    job.pairs = upload.At<int32_t>(pairs);
    job.batch = b.batch, job.interpolations = b.interpolations;
    job.height = b.height, job.width = b.width, job.channels = b.channels;
    job.chw = b.out_layout == kChw;
    for (int32_t plane = 0; plane < planes; ++plane) {
      launch(upload, b, job);
      job.ins.first += in_step, job.outs.first += out_step;
      if (job.scale) ++job.scale, ++job.shift;
    }
  });
}
