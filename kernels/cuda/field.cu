// Makes the masks of FMix.  A block of threads makes those of one field, and writes nothing but
// their bits or, where their edges are softened, their weights.
//
// The values of a field lie in shared memory if they fit, else in the workspace.  For axes with a
// prime factor above 7 the workspace also has room for the butterflies of each thread.
#include "cuda/arguments.h"
#include "msda/field/soft.h"

namespace msda {
namespace {

extern __shared__ float dynamic_shared[];

// What is the same for every field.
__device__ __forceinline__ void prepare(FieldBlock* b, const Entries& data, const MsdaGpuFields& a,
                                        char* room, BlockThread me) {
  for (int32_t k = me.thread; k < 3; k += me.threads) {
    b->lengths[k] = a.axes[k].passes.length;
    b->turns[k] = {a.axes[k].cosine, a.axes[k].sine};
    b->place[k] = a.axes[k].place;
  }
  if (me.thread == 0)
    b->room = a.radix > kUnrolledRadix ? reinterpret_cast<Complex<float>*>(room) : nullptr;
  __syncthreads();
  for (int32_t k = me.thread; k < 3; k += me.threads) set_axis(b, k, a.axes[k].passes, a.in_shared);
  __syncthreads();
  phase_tables(*b, data, me);
}

template <bool kInShared>
__device__ __forceinline__ void make_values(FieldBlock* b, const Entries& data,
                                            const MsdaGpuFields& a, const Plan& p, BlockThread me) {
  phase_begin(b, p, a.amplitudes, a.decay, me);
  __syncthreads();
  phase_spectrum(*b, data, me);
  __syncthreads();
#pragma unroll 1
  for (int32_t k = 0; k < 3; ++k) {
    const int32_t axis = k < 2 ? 1 - k : 2;
    if (axis == 2) {
      phase_pair(*b, data, me);
      __syncthreads();
    }
#pragma unroll 1
    for (int32_t step = 0; step < b->steps[axis].count; ++step) {
      phase_step<kInShared>(*b, data, axis, step, me);
      __syncthreads();
    }
  }
  phase_blank(*b, data, me);
}

// The order of the `rank`-th pixel, or a number between it and the next order.
__device__ __forceinline__ uint64_t select(FieldBlock* b, const Entries& data, uint32_t* histogram,
                                           int32_t rank, BlockThread me) {
  if (me.thread == 0) b->found[0] = {0, static_cast<uint32_t>(rank)};
  __syncthreads();
  int32_t level = 0;
  for (; level < kLevels && b->found[level % 2].rank > 0; ++level) {
    phase_clear(histogram, me);
    __syncthreads();
    phase_count(*b, data, histogram, level, me);
    __syncthreads();
    phase_sum(histogram, level, me);
    __syncthreads();
    phase_choose(b, histogram, level, me);
    __syncthreads();
  }
  const uint64_t order = b->found[level % 2].prefix;
  __syncthreads();
  return order;
}

__device__ __forceinline__ void soften(const FieldBlock& b, const Entries& data, const Band& band,
                                       BlockThread me) {
  phase_list(b, data, band, me);
  __syncthreads();
  for (uint32_t run = 2; run / 2 < 2 * band.soft; run *= 2)
    for (uint32_t gap = run / 2; gap > 0; gap /= 2) {
      phase_sort(b, data, band, run, gap == run / 2 ? 0 : gap, me);
      __syncthreads();
    }
  phase_ramp(b, data, band, me);
  __syncthreads();
  phase_weights(b, data, band, me);
}

__device__ __forceinline__ void make_mask(FieldBlock* b, const Entries& data, uint32_t* histogram,
                                          const Plan& p, uint32_t* row, uint32_t* taken,
                                          BlockThread me) {
  if (me.thread == 0) *taken = 0;
  uint64_t before = 0, last = 0;  // of the band that is softened, if there is one
  for (int32_t end = p.soft > 0 ? 0 : 1; end < 2; ++end) {
    before = last;
    last = select(b, data, histogram, end ? p.count + p.soft : p.count - p.soft, me);
  }
  if (p.soft > 0)
    soften(*b, data, {before, last, static_cast<uint32_t>(p.soft), row, taken}, me);
  else
    phase_bits(*b, data, row, last, p.count > 0, me);
  __syncthreads();
}

template <bool kInShared>
__device__ __forceinline__ void make_masks(FieldBlock* b, const Entries& data, uint32_t* histogram,
                                           const MsdaGpuFields& a, char* room, uint32_t* taken,
                                           BlockThread me) {
  prepare(b, data, a, room, me);
  for (int32_t field = blockIdx.x; field < a.count; field += gridDim.x) {
    for (int32_t mask = a.firsts[field]; mask < a.firsts[field + 1]; ++mask) {
      const Plan& p = a.plans[a.makers[mask]];
      // Where the mask before was softened, weights have replaced the values.
      if (mask == a.firsts[field] || a.plans[a.makers[mask - 1]].soft > 0)
        make_values<kInShared>(b, data, a, p, me);
      auto* row = reinterpret_cast<uint32_t*>(
          a.fields.first + (a.fields.numbers ? mask : a.makers[mask]) * a.fields.stride);
      make_mask(b, data, histogram, p, row, taken, me);
    }
  }
}

}  // namespace
}  // namespace msda

// At most 64 registers a thread, so that 1024 threads share a multiprocessor.
extern "C" __global__ void __launch_bounds__(1024, 1)
    msda_field_masks(const __grid_constant__ MsdaGpuFields a) {
  using namespace msda;
  __shared__ FieldBlock b;
  alignas(16) __shared__ uint32_t histogram[kDigits + kDigitGroups];
  __shared__ uint32_t taken;
  const BlockThread me = {static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(blockDim.x)};
  char* mine = a.workspace + blockIdx.x * a.per_block;
  if (a.in_shared) {  // two calls, so that the compiler knows which kind of memory it is
    make_masks<true>(&b, {dynamic_shared}, histogram, a, mine, &taken, me);
  } else {
    const int64_t bytes =
        field_bytes(a.axes[0].passes.length, a.axes[1].passes.length, a.axes[2].passes.length);
    make_masks<false>(&b, {reinterpret_cast<float*>(mine)}, histogram, a, mine + bytes, &taken, me);
  }
}
