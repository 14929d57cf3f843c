// The mixed batch.
#include "cuda/host/batch.h"
#include "cuda/host/blend_records.h"

namespace msda::gpu {
namespace {

void launch(const Upload& upload, const MsdaBlend& b, MsdaGpuBlend job,
            const MsdaBlendCounts& counts) {
  if (b.height == 0 || b.width == 0 || b.channels == 0) return;
  const std::string in = name_of(b.in_dtype), types = in + "_" + name_of(b.out_dtype);
  if (counts.groups > 0) {
    uint32_t grid[2];
    const int32_t threads =
        msda_blend_launch(grid, &job, &counts, &b, upload.device.multiprocessors);
    Kernel& kernel = upload.device.kernel(b.pairs ? "msda_pairs_" + in : "msda_blend_" + types);
    kernel.launch(grid, threads, 0, upload.stream, &job);
  }
  if (counts.values > 0) {
    job.records += int64_t{counts.groups} * (b.pairs ? 2 : 1);
    job.count = counts.values;
    launch_items(upload, "msda_values_" + types, counts.values, b.height,
                 int64_t{b.width} * b.channels, &job);
  }
}

}  // namespace
}  // namespace msda::gpu

int32_t msda_gpu_blend(MsdaGpuCall* call, const MsdaBlend* blend, const uint8_t* mirror,
                       int32_t planes, int64_t in_step, int64_t out_step) {
  using namespace msda::gpu;
  return on_device(*call, [=](Upload& upload) {
    MsdaBlend b = *blend;
    if (b.batch == 0) return;
    const size_t batch = static_cast<size_t>(b.batch), each = batch * (b.pairs ? 2 : 1);
    MsdaGpuBlend job = {};
    upload.Add(b.plans, batch, &job.plans);
    Fields fields(upload, b.plans, b.fields ? 0 : b.batch);
    const char* given = b.fields ? static_cast<const char*>(b.fields[0]) : nullptr;
    const bool several = given && batch > 1;
    const int64_t apart = several ? static_cast<const char*>(b.fields[1]) - given : fields.stride();

    std::vector<void*> outs(b.outs, b.outs + b.batch);
    std::vector<const void*> ins(b.ins, b.ins + b.samples);
    b.outs = outs.data(), b.ins = ins.data();
    std::vector<MsdaBlendRecord> records(each * static_cast<size_t>(planes));
    MsdaBlendCounts counts = {};
    for (size_t plane = 0; plane < static_cast<size_t>(planes); ++plane) {
      msda_blend_records(&records[plane * each], &counts, &b, apart, fields.numbers());
      for (void*& out : outs) out = static_cast<char*>(out) + out_step;
      for (const void*& in : ins) in = static_cast<const char*>(in) + in_step;
    }
    upload.Add(records.data(), records.size(), &job.records);
    const size_t channels = counts.values ? static_cast<size_t>(b.channels * planes) : 0;
    upload.Add(b.scale, channels, &job.scale), upload.Add(b.shift, channels, &job.shift);
    upload.Send(fields.scratch());

    job.masks = given ? given : fields.Launch(job.plans).first;
    job.mirror = mirror;
    for (int32_t plane = 0; plane < planes; ++plane) {
      msda_blend_arguments(&job, &b);
      launch(upload, b, job, counts);
      job.records += each;
      if (job.scale) ++job.scale, ++job.shift;
      if (b.scale) ++b.scale, ++b.shift;
    }
  });
}
