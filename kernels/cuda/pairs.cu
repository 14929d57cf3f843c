// The kernels that mix a batch in place, pair by pair: msda_pairs_<type>, for one channel or three.
// Two records that follow one another are a pair: each of them reads what the other one overwrites,
// so that one thread loads a group of both and then stores both.
#include "cuda/blend.cuh"

namespace msda {
namespace {

// Stores the group of one output, from its own pixels and those of the other one.
template <typename G>
__device__ __forceinline__ void blend_held(const Column& c, int32_t y, uint32_t pixel,
                                           const uint32_t* own, const uint32_t* partner) {
  float weights[G::kPixels];
  if (c.r.mode == kMixFloats) {
    load_weights<G>(weights, c, pixel);
  } else if (c.r.mode == kMixBump) {
    float along_x[G::kPixels];
    bump_factors<G>(along_x, c);
    weights_of_bump<G>(weights, c, along_x, y);
  } else {
    weights_of_bits<G>(weights, c,
                       c.r.mode == kSelectBits ? group_bits<G>(c, pixel) : box_bits(c, y));
  }
  store_mixed<G>(c, pixel, own, partner, weights);
  if (c.r.mode == kErase) erase_pixels<G>(c, pixel, box_bits(c, y));
}

template <typename Type, int32_t channels>
__device__ __forceinline__ void blend_pairs(const MsdaGpuBlend& b) {
  using G = Group<Type, Type, channels, false>;
  struct Columns {
    Column first, second;
  };
  for (int32_t i = blockIdx.y; i < b.count; i += gridDim.y) {
    // Two records take too many registers: what is needed of them is read again.
    const MsdaBlendRecord* r = b.records + 2 * int64_t{i};
    const auto start = [&](int32_t x) {
      return Columns{column_at<G>(b, r[0], 0, x), column_at<G>(b, r[1], 0, x)};
    };
    each_group<G>(b, start, [](const Columns& c, int32_t y, uint32_t pixel) {
      const bool both = c.second.r.mode != kNothing;
      uint32_t one[G::kWords], other[G::kWords];
      load_group<G>(one, c.first, c.first.r.own, 0, pixel);
      // A sample without another one may be its own partner.
      load_group<G>(other, c.first, both ? c.second.r.own : c.first.r.own, 0, pixel);
      blend_held<G>(c.first, y, pixel, one, other);
      if (both) blend_held<G>(c.second, y, pixel, other, one);
    });
  }
}

template <typename Type>
__device__ __forceinline__ void pairs(const MsdaGpuBlend& b) {
  b.channels == 3 ? blend_pairs<Type, 3>(b) : blend_pairs<Type, 1>(b);
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

__global__ void __launch_bounds__(256, 4) msda_pairs_uint8(const __grid_constant__ MsdaGpuBlend b) {
  pairs<uint8_t>(b);
}
__global__ void __launch_bounds__(256, 4)
    msda_pairs_float32(const __grid_constant__ MsdaGpuBlend b) {
  pairs<float>(b);
}
}  // extern "C"
