// The masks of FMix, a block of threads for each; nothing but its bits, or, where it is softened,
// its weights, leaves the block.
//
// The values of a field lie in shared memory where they fit, else in the workspace; then comes, for
// axes with a prime factor above 7, room for the butterflies of each thread.
#include "gpu.h"
#include "msda/field_soft.h"

namespace msda {
namespace {

extern __shared__ float dynamic_shared[];

__device__ __forceinline__ void prepare(FieldBlock* b, const MsdaGpuFields& a, const Plan& p,
                                        uint32_t* histogram) {
  b->f.depth = p.depth, b->f.height = p.height, b->f.width = p.width, b->f.half = p.width / 2 + 1;
  b->f.law = p.flags & kPlanLegacy ? kLawLegacy : kLawPaper;
  b->f.modes = p.modes, b->f.decay = p.decay;
  b->f.seed[0] = p.field_seed[0], b->f.seed[1] = p.field_seed[1];
  b->turns_z = {a.axes[0].cosine, a.axes[0].sine}, b->place_z = a.axes[0].place;
  b->turns_y = {a.axes[1].cosine, a.axes[1].sine}, b->place_y = a.axes[1].place;
  b->turns_x = {a.axes[2].cosine, a.axes[2].sine}, b->place_x = a.axes[2].place;
  char* mine = a.workspace + blockIdx.x * a.per_block;
  float* values = a.in_shared ? dynamic_shared : reinterpret_cast<float*>(mine);
  const int64_t entries = entries_of(b->f);
  b->data = {values, values + entries};
  b->room = a.radix > 7 ? reinterpret_cast<Complex<float>*>(
                              mine + (a.in_shared ? 0 : 2 * entries * int64_t{sizeof(float)}))
                        : nullptr;
  b->histogram = histogram;
}

__device__ __forceinline__ void copy_passes(Passes* to, const Passes& from) {
  to->length = from.length, to->count = from.count;
  for (int32_t k = 0; k < kMaxPasses; ++k) to->radix[k] = from.radix[k];
}

__device__ __forceinline__ void transform(const FieldBlock& b, int32_t axis, Share s) {
  const int32_t passes = axis == 0 ? b.z.count : axis == 1 ? b.y.count : b.x.count;
  for (int32_t pass = 0; pass < passes; ++pass) {
    phase_pass(b, axis, pass, s);
    __syncthreads();
  }
}

// The order of the `rank`-th pixel, or one between it and the next.
__device__ __forceinline__ uint64_t select(FieldBlock* b, int32_t rank, Share s) {
  if (s.thread == 0) b->rank = static_cast<uint32_t>(rank), b->prefix = 0;
  __syncthreads();
  for (int32_t level = 0; level < kLevels && b->rank > 0; ++level) {
    phase_clear(*b, s);
    __syncthreads();
    phase_count(*b, level, s);
    __syncthreads();
    phase_sum(*b, s);
    __syncthreads();
    phase_choose(b, level, s);
    __syncthreads();
  }
  const uint64_t order = b->prefix;
  __syncthreads();
  return order;
}

__device__ __forceinline__ void soften(const FieldBlock& b, const Band& band, Share s) {
  phase_list(b, band, s);
  __syncthreads();
  for (uint32_t run = 2; run / 2 < 2 * band.soft; run *= 2)
    for (uint32_t gap = run / 2; gap > 0; gap /= 2) {
      phase_sort(b, band, run, gap == run / 2 ? 0 : gap, s);
      __syncthreads();
    }
  phase_ramp(b, band, s);
  __syncthreads();
  phase_weights(b, band, s);
}

}  // namespace
}  // namespace msda

extern "C" __global__ void __launch_bounds__(1024, 1)
    msda_field_masks(const __grid_constant__ MsdaGpuFields a) {
  using namespace msda;
  __shared__ FieldBlock b;
  __shared__ uint32_t histogram[kDigits + kDigitGroups], taken;
  const Share s = {static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(blockDim.x)};
  if (s.thread == 0) {  // these are the same for every mask
    copy_passes(&b.z, a.axes[0].passes);
    copy_passes(&b.y, a.axes[1].passes);
    copy_passes(&b.x, a.axes[2].passes);
  }
  for (int32_t i = blockIdx.x; i < a.batch; i += gridDim.x) {
    const Plan& p = a.plans[i];
    if (p.method != kFMix) continue;
    if (s.thread == 0) prepare(&b, a, p, histogram);
    __syncthreads();
    phase_spectrum(b, s);
    __syncthreads();
    transform(b, 1, s);
    transform(b, 0, s);
    phase_pair(b, s);
    __syncthreads();
    transform(b, 2, s);
    if (s.thread == 0) taken = 0;
    uint64_t before = 0, last = 0;  // of the band that is softened, if there is one
    for (int32_t end = p.soft > 0 ? 0 : 1; end < 2; ++end) {
      before = last;
      last = select(&b, end ? p.count + p.soft : p.count - p.soft, s);
    }
    uint32_t* row =
        reinterpret_cast<uint32_t*>(a.fields.each ? static_cast<char*>(a.fields.each[i])
                                                  : a.fields.first + i * a.fields.stride);
    if (p.soft > 0)
      soften(b, {before, last, static_cast<uint32_t>(p.soft), row, &taken}, s);
    else
      phase_bits(b, row, p.count > 0, s);
    __syncthreads();
  }
}
