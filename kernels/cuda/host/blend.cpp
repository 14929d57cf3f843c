// The mixed batch.
#include "cuda/host/batch.h"
#include "cuda/host/blend_records.h"

namespace msda::gpu {
namespace {

// The addresses of the samples of one plane after another.
template <typename Address>
class Planes {
 public:
  Planes(Address const* samples, int32_t count) : samples_(samples, samples + count) {}

  Address* at() { return samples_.data(); }
  void Move(int64_t bytes) {
    for (Address& sample : samples_)
      sample = reinterpret_cast<Address>(reinterpret_cast<intptr_t>(sample) + bytes);
  }

 private:
  std::vector<Address> samples_;
};

void launch(const Upload& upload, const MsdaBlend& b, MsdaGpuBlend job,
            const MsdaBlendCounts& counts) {
  if (b.height == 0 || b.width == 0 || b.channels == 0) return;
  const std::string in = name_of(b.in_dtype), types = in + "_" + name_of(b.out_dtype);
  if (counts.groups > 0) {
    MsdaBlendLaunch how;
    msda_blend_launch(&how, counts.groups, &b, upload.device.multiprocessors);
    job.parts = how.parts, job.columns = how.columns, job.rows = how.rows;
    job.reciprocal = how.reciprocal, job.count = counts.groups;
    Kernel& kernel = upload.device.kernel(b.pairs ? "msda_pairs_" + in : "msda_blend_" + types);
    kernel.launch(how.grid, how.threads, 0, upload.stream, &job);
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
    const int plans = upload.Add(b.plans, batch);
    const Fields fields(upload, b.plans, b.fields ? 0 : b.batch);
    const char* given = b.fields ? static_cast<const char*>(b.fields[0]) : nullptr;
    const bool several = given && batch > 1;
    const int64_t apart = several ? static_cast<const char*>(b.fields[1]) - given : fields.stride();

    Planes<void*> outs(b.outs, b.batch);
    Planes<const void*> ins(b.ins, b.samples);
    b.outs = outs.at(), b.ins = ins.at();
    std::vector<MsdaBlendRecord> records(each * static_cast<size_t>(planes));
    MsdaBlendCounts counts = {};
    for (size_t plane = 0; plane < static_cast<size_t>(planes); ++plane) {
      msda_blend_records(&records[plane * each], &counts, &b, apart, fields.numbers());
      outs.Move(out_step), ins.Move(in_step);
    }
    const int part = upload.Add(records.data(), records.size());
    const size_t channels = counts.values ? static_cast<size_t>(b.channels * planes) : 0;
    const int scale = upload.Add(b.scale, channels), shift = upload.Add(b.shift, channels);
    upload.Send(fields.scratch());

    MsdaGpuBlend job = {};
    job.plans = upload.At<msda::Plan>(plans);
    job.masks = given ? given : fields.Launch(job.plans).first;
    job.records = upload.At<MsdaBlendRecord>(part);
    job.mirror = mirror;
    job.scale = upload.At<float>(scale), job.shift = upload.At<float>(shift);
    for (int32_t plane = 0; plane < planes; ++plane) {
      msda_blend_arguments(&job, &b);
      launch(upload, b, job, counts);
      job.records += each;
      if (job.scale) ++job.scale, ++job.shift;
      if (b.scale) ++b.scale, ++b.shift;
    }
  });
}
