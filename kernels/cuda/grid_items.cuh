// How the rows of a batch are divided among the threads of a grid: blockIdx.y takes samples;
// blockIdx.x and the threads of a block take the items of a sample, row by row.  The host keeps the
// number of threads along x below 2^31; sizes may be anything that an int32 holds.
#pragma once
#include "msda/portable.h"

namespace msda {

// Calls take(i, y, k) for the samples i < `samples`, rows y and items k that this thread takes.
template <typename Take>
__device__ __forceinline__ void each_grid_item(int32_t samples, int32_t rows, int32_t items,
                                               Take take) {
  if (rows == 0 || items == 0) return;
  const uint32_t begin = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
  const uint32_t per_row = static_cast<uint32_t>(items);
  const uint32_t down = step / per_row, along = step % per_row;
  for (uint32_t i = blockIdx.y; i < static_cast<uint32_t>(samples); i += gridDim.y) {
    uint32_t y = begin / per_row, k = begin % per_row;
    while (y < static_cast<uint32_t>(rows)) {
      take(static_cast<int32_t>(i), static_cast<int32_t>(y), static_cast<int32_t>(k));
      y += down, k += along;
      if (k >= per_row) k -= per_row, ++y;
    }
  }
}

}  // namespace msda
