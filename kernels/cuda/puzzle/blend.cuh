// Mixes images by the cells that Puzzle Mix found.  A block of threads first works out where each
// place of an output shows its images; then a thread makes four values of a row at a time.
#pragma once
#include "cuda/group.h"
#include "cuda/output.h"
#include "cuda/puzzle/arguments.h"

namespace msda {

// How a place is made: values lie so far from those that it shows, in both images.
struct PlaceSource {
  int32_t own, partner;
  float weight;  // of the own image
};

__device__ __forceinline__ PlaceSource place_source(const MsdaGpuPuzzleBlend& b,
                                                    const uint8_t* cell, int32_t place) {
  const int32_t rows = b.height / b.places, values = b.row_values / b.places;
  const auto start = [&](int32_t p) {
    return p / b.places * rows * b.row_values + p % b.places * values;
  };
  return {start(cell[1]) - start(place), start(cell[2]) - start(place),
          static_cast<float>(cell[0]) / static_cast<float>(b.levels - 1)};
}

// Mixes `count` values from number `at` of a sample on, of which the first is in column `value`.
template <typename In, typename Out>
__device__ __forceinline__ void blend_group(const MsdaGpuPuzzleBlend& b, const PlaceSource* places,
                                            const In* own, const In* partner, Out* out, int64_t at,
                                            int32_t value, int32_t plane, int32_t count) {
  float mixed[kPuzzleGroup] = {};
  int32_t place = divide(value, b.by_place_values);
  const int32_t width = b.row_values / b.places;
  int32_t left = (place + 1) * width - value;  // values of the place
  PlaceSource from = places[place];
#pragma unroll
  for (int32_t j = 0; j < kPuzzleGroup; ++j, --left) {
    if (j >= count) break;
    if (left == 0) from = places[++place], left = width;
    // An image that is not seen is not read: the other one is, and is in the cache.
    const In first = from.weight == 0.0f ? partner[at + j + from.partner] : own[at + j + from.own];
    const In second = from.weight == 1.0f ? first : partner[at + j + from.partner];
    mixed[j] = mix_two(static_cast<float>(first), static_cast<float>(second), from.weight, In{});
    if (b.scale) {
      const int32_t k = b.planes > 1 ? plane : (value + j) % b.channels;
      mixed[j] = normalise(mixed[j], b.scale[k], b.shift[k]);
    }
  }
  Words16 words = {};
#pragma unroll
  for (int32_t i = 0; i < kPuzzleGroup * static_cast<int32_t>(sizeof(Out)) / 4; ++i)
    words.word[i] = packed(mixed, i, static_cast<const Out*>(nullptr));
  store_run<kPuzzleGroup, false>(out + at, count, words);
}

template <typename In, typename Out>
__device__ __forceinline__ void blend_output(const MsdaGpuPuzzleBlend& b, PlaceSource* places,
                                             int32_t i) {
  const int32_t count = b.places * b.places;
  const uint8_t* cells = b.cells + int64_t{3} * i * count;
  for (int32_t p = threadIdx.x; p < count; p += blockDim.x)
    places[p] = place_source(b, cells + 3 * p, p);
  __syncthreads();
  const In* own = sample_at<const In>(b.ins, b.pairs[2 * int64_t{i}]);
  const In* partner = sample_at<const In>(b.ins, b.pairs[2 * int64_t{i} + 1]);
  Out* out = sample_at<Out>(b.outs, i);
  const uint32_t groups = (b.row_values + kPuzzleGroup - 1) / kPuzzleGroup;
  const uint32_t all = groups * b.height * b.planes, step = gridDim.x * blockDim.x;
#pragma unroll 1
  for (uint32_t g = blockIdx.x * blockDim.x + threadIdx.x; g < all; g += step) {
    const uint32_t row = divide(g, b.by_groups), plane = divide(row, b.by_height);
    const int32_t value = static_cast<int32_t>(g - row * groups) * kPuzzleGroup;
    const uint32_t place_row = divide(row - plane * b.height, b.by_place_rows);
    const int32_t left = b.row_values - value;
    blend_group(b, places + place_row * b.places, own, partner, out,
                int64_t{row} * b.row_values + value, value, static_cast<int32_t>(plane),
                left < kPuzzleGroup ? left : kPuzzleGroup);
  }
}

template <typename In, typename Out>
__device__ __forceinline__ void blend_places(const MsdaGpuPuzzleBlend& b) {
  __shared__ PlaceSource places[kMaxCells];
  for (int32_t i = blockIdx.y; i < b.batch; i += gridDim.y) {
    blend_output<In, Out>(b, places, i);
    __syncthreads();
  }
}

}  // namespace msda
