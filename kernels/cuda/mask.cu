// The own weight of every pixel of a batch.
#include "cuda/grid_items.cuh"
#include "cuda/group.h"

extern "C" __global__ void msda_mask_float32(const __grid_constant__ MsdaGpuMask m) {
  using namespace msda;
  constexpr int32_t kPixels = 4;
  each_grid_item(m.batch, m.height, (m.width + kPixels - 1u) / kPixels,
                 [&m](int32_t i, int32_t y, int32_t k) {
                   const Plan& p = m.plans[i];
                   const int32_t x = k * kPixels, left = m.width - x;
                   float weights[kPixels];
                   own_weights<kPixels>(weights, p, mask_at(m.fields, p, i), y, x);
                   store_run<kPixels>(m.weights + ((int64_t{i} * m.height + y) * m.width + x), left,
                                      [&weights](int32_t j) { return weights[j]; });
                 });
}
