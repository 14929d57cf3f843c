// The masks of FMix, a block of threads for each; nothing but the bits leaves the block.
//
// The values of a field lie in shared memory where they fit, else in the workspace; then comes, for
// axes with a prime factor above 7, room for the butterflies of each thread.
#include "gpu.h"
#include "msda/field_phases.h"

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
  b->prefix = 0;
  b->rank = static_cast<uint32_t>(p.count);
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

__device__ __forceinline__ void select(FieldBlock* b, Share s) {
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
}

}  // namespace
}  // namespace msda

extern "C" __global__ void __launch_bounds__(1024, 1)
    msda_field_bits(const __grid_constant__ MsdaGpuFields a) {
  using namespace msda;
  __shared__ FieldBlock b;
  __shared__ uint32_t histogram[kDigits + kDigitGroups];
  const Share s = {static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(blockDim.x)};
  if (s.thread == 0) {  // these are the same for every mask
    copy_passes(&b.z, a.axes[0].passes);
    copy_passes(&b.y, a.axes[1].passes);
    copy_passes(&b.x, a.axes[2].passes);
  }
  for (int32_t i = blockIdx.x; i < a.batch; i += gridDim.x) {
    const Plan& p = a.plans[i];
    if (p.method != kFMix || p.soft > 0) continue;
    if (s.thread == 0) prepare(&b, a, p, histogram);
    __syncthreads();
    phase_spectrum(b, s);
    __syncthreads();
    transform(b, 1, s);
    transform(b, 0, s);
    phase_pair(b, s);
    __syncthreads();
    transform(b, 2, s);
    select(&b, s);
    phase_bits(b,
               reinterpret_cast<uint32_t*>(a.fields.each ? static_cast<char*>(a.fields.each[i])
                                                         : a.fields.first + i * a.fields.stride),
               p.count > 0, s);
    __syncthreads();
  }
}
