// What the kernels of blend.cu and gather.cu have in common.
//
// A thread makes the neighbouring pixels of a row that fill 16 bytes in each plane of the output.
// (In HWC they fill as many bytes side by side.)  Along y the grid has groups of `interpolations`
// outputs, and along x their rows.
#pragma once
#include "cuda/gather.h"
#include "cuda/grid_items.cuh"

namespace msda {

template <typename In, typename Out, int32_t kChannels, bool kGathers>
__device__ __forceinline__ void blend_groups(const MsdaGpuBlend& b) {
  constexpr int32_t kPixels = 16 / static_cast<int32_t>(sizeof(Out));
  using H = Held<In, kChannels, kPixels>;
  each_grid_item(b.batch / b.interpolations, b.height, (b.width + kPixels - 1u) / kPixels,
                 [&b](int32_t i, int32_t y, int32_t k) {
                   blend_group<H, Out, kGathers>(b, i * b.interpolations, y, k * kPixels);
                 });
}

}  // namespace msda
