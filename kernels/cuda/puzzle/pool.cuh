// What Puzzle Mix needs of a sample, by the threads of a block (msda/puzzle/pooling.h).
#pragma once
#include "cuda/group.cuh"
#include "cuda/puzzle/arguments.h"
#include "msda/shared.h"

namespace msda {

struct PoolRoom {
  int64_t sums[kMaxCells], rows[kMaxSide];  // of places, and of rows of places
  int32_t greatest;
};

template <typename In>
__device__ __forceinline__ void pool_pixels(const MsdaGpuPuzzlePool& a, int32_t* sums,
                                            const In* image, BlockThread me) {
  const PuzzleGeometry& g = a.geometry;
  const int32_t row_step = a.width * g.pixel_step;
  const auto is_beside = [&](int32_t axis, int32_t cell) {
    const auto block = static_cast<int32_t>(divide(cell, a.by_block[axis]));
    return is_beside_border(g, axis, cell, cell - block * g.per_block[axis]);
  };
  each_item(me, g.channels * g.cells[0], g.cells[1], a.by_columns, [&](uint32_t y, uint32_t x) {
    const auto c = static_cast<int32_t>(divide(y, a.by_rows));
    const int32_t row = static_cast<int32_t>(y) - c * g.cells[0];
    const auto column = static_cast<int32_t>(x);
    if (!is_beside(0, row) && !is_beside(1, column)) return;
    const In* from = image + (c * g.channel_step + row * g.cell[0] * row_step +
                              column * g.cell[1] * g.pixel_step);
    sums[y * g.cells[1] + x] =
        pool_cell(from, g, row_step, a.scale ? a.scale[c] : 1.0f, a.shift ? a.shift[c] : 0.0f);
  });
}

// Sums of the saliency of all places, into room.sums, and of their rows.
__device__ __forceinline__ void sum_places(const MsdaGpuPuzzlePool& a, PoolRoom& room,
                                           const float* map, BlockThread me) {
  const int32_t places = a.geometry.places, rows = a.height / places, width = a.width / places;
  const MapScale scale = map_scale(room.greatest);
  int64_t* columns = a.columns + int64_t{blockIdx.x} * places * a.width;
  each_item(me, places, a.width, a.by_width, [&](uint32_t row, uint32_t x) {
    const float* from = map + int64_t{row} * rows * a.width + x;
    int64_t sum = 0;
    for (int32_t y = 0; y < rows; ++y, from += a.width) sum += fixed_saliency(*from, scale);
    columns[int64_t{row} * a.width + x] = sum;
  });
  __syncthreads();
  for (int32_t p = me.thread; p < places * places; p += me.threads) {
    const int64_t* from = columns + int64_t{p / places} * a.width + p % places * width;
    int64_t sum = 0;
#pragma unroll 1
    for (int32_t x = 0; x < width; ++x) sum += from[x];
    room.sums[p] = sum;
  }
  __syncthreads();
  if (me.thread < places) {
    int64_t sum = 0;
#pragma unroll 1
    for (int32_t p = 0; p < places; ++p) sum += room.sums[me.thread * places + p];
    room.rows[me.thread] = sum;
  }
  __syncthreads();
}

template <typename In>
__device__ __forceinline__ void pool_sample(const MsdaGpuPuzzlePool& a, PoolRoom& room, int32_t i,
                                            BlockThread me) {
  const PuzzleGeometry& g = a.geometry;
  const int32_t places = g.places, blocks = places * places;
  const int64_t pixels = int64_t{a.height} * a.width;
  const float* map = a.saliency + i * pixels;
  if (me.thread == 0) room.greatest = 0;
  __syncthreads();
  raise_to(&room.greatest, greatest_bits(map, me.thread, pixels, me.threads));
  pool_pixels(a, a.pooled + i * (g.channels * cells_of(g)), sample_at<const In>(a.ins, i), me);
  __syncthreads();
  const bool usable = is_usable(room.greatest);
  int64_t whole = 0;
  if (usable) {
    sum_places(a, room, map, me);
#pragma unroll 1
    for (int32_t row = 0; row < places; ++row) whole += room.rows[row];
  }
  for (int32_t p = me.thread; p < blocks; p += me.threads)
    a.shares[i * int64_t{blocks} + p] =
        usable ? saliency_share(room.sums[p], whole) : saliency_share(1, blocks);
  if (me.thread == 0) a.uniform[i] = !usable;
  __syncthreads();
}

template <typename In>
__device__ __forceinline__ void pool(const MsdaGpuPuzzlePool& a) {
  __shared__ PoolRoom room;
  const BlockThread me = {static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(blockDim.x)};
  for (int32_t i = blockIdx.x; i < a.samples; i += gridDim.x) pool_sample<In>(a, room, i, me);
}

}  // namespace msda
