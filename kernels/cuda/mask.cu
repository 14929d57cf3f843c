// The own weight of every pixel of a batch.
#include "cuda/arguments.h"
#include "cuda/grid_items.cuh"
#include "msda/mask.h"

extern "C" __global__ void __launch_bounds__(256)
    msda_mask_float32(const __grid_constant__ MsdaGpuMask m) {
  using namespace msda;
  each_grid_item(m.batch, m.height, m.width, [&m](int32_t i, int32_t y, int32_t x) {
    const Plan& p = m.plans[i];
    const int64_t row = m.fields.numbers ? m.fields.numbers[i] : i;
    m.weights[(int64_t{i} * m.height + y) * m.width + x] =
        own_weight(p, m.fields.first + row * m.fields.stride, y, x);
  });
}
