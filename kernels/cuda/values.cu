// The kernels that make a value a thread, straight from the plans:
// msda_values_<type of the inputs>_<type of the outputs>.  They serve what those of blend.cu leave
// out: other numbers of channels, images of 2^32 pixels and more, and records that no policy draws,
// such as a Cutout of two sources.
#include "cuda/grid_items.cuh"
#include "cuda/group.cuh"

namespace msda {
namespace {

template <typename In>
__device__ __forceinline__ float value_of(const MsdaGpuBlend& b, const MsdaBlendRecord& r,
                                          int32_t y, int32_t x, int32_t k) {
  const Plan& p = b.plans[r.plan];
  const char* samples[kMaxSources] = {r.own, r.partner, r.third, r.fourth};
  const In* sources[kMaxSources] = {};
  bool mirrored[kMaxSources] = {};
#pragma unroll
  for (int32_t j = 0; j < kMaxSources; ++j) {
    if (j >= p.sources) break;
    sources[j] = reinterpret_cast<const In*>(samples[j]);
    mirrored[j] = (r.mirrored >> j & 1) || (b.mirror && b.mirror[p.source[j]]);
  }
  const float v = blend_value(sources, mirrored, p, b.masks + r.mask, y, x, k, b.channels);
  if (erases(p) && in_box(p, y, x)) return 0.0f;
  return b.scale ? normalise(v, b.scale[k], b.shift[k]) : v;
}

template <typename In, typename Out>
__device__ __forceinline__ void values(const MsdaGpuBlend& b) {
  each_grid_item(b.count, b.height, b.width * b.channels, [&b](int32_t i, int32_t y, int32_t at) {
    const int32_t x = at / b.channels, k = at % b.channels;
    const int64_t pixel = int64_t{y} * b.width + x;
    const int64_t value = b.chw ? int64_t{k} * b.height * b.width + pixel : pixel * b.channels + k;
    const MsdaBlendRecord* r = b.records + (b.in_place ? 2 * int64_t{i} : i);
    // In place the second output reads what the first one overwrites, so both are made before.
    const bool both = b.in_place && r[1].mode != kNothing;
    const float first = value_of<In>(b, r[0], y, x, k);
    const float second = both ? value_of<In>(b, r[1], y, x, k) : 0.0f;
    store(reinterpret_cast<Out*>(r[0].out) + value, first);
    if (both) store(reinterpret_cast<Out*>(r[1].out) + value, second);
  });
}

}  // namespace
}  // namespace msda

#define MSDA_VALUES(types, In, Out)                                 \
  __global__ void __launch_bounds__(256, 4)                         \
      msda_values_##types(const __grid_constant__ MsdaGpuBlend b) { \
    values<In, Out>(b);                                             \
  }

extern "C" {
using namespace msda;
MSDA_EACH_TYPES(MSDA_VALUES)
}  // extern "C"
