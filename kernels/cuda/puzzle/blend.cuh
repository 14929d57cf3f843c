// Mixes images by the cells that Puzzle Mix found.  A block of threads first works out where each
// place of an output shows its images; then a thread makes four values of a row at a time.
#pragma once
#include "cuda/group.cuh"
#include "cuda/output.h"
#include "cuda/puzzle/arguments.h"

namespace msda {

// How a place is made: values lie so far from those that it shows, in both images.
struct alignas(16) PlaceSource {
  int32_t own, partner;
  float weight;  // of the own image
};

__device__ __forceinline__ PlaceSource place_source(const MsdaGpuPuzzleBlend& b,
                                                    const uint8_t* cell, int32_t place) {
  const auto start = [&](int32_t p) {
    const auto row = static_cast<int32_t>(divide(p, b.by_places));
    return row * b.place_rows * b.row_values + (p - row * b.places) * b.place_values;
  };
  return {start(cell[1]) - start(place), start(cell[2]) - start(place),
          static_cast<float>(cell[0]) / static_cast<float>(b.levels - 1)};
}

// A value of an output, number `at` of the sample; an image that is not seen is not read.
template <typename In>
__device__ __forceinline__ float mixed_value(const In* own, const In* partner, int32_t at,
                                             const PlaceSource& from) {
  float first = 0.0f, second = 0.0f;
  if (from.weight != 0.0f) first = static_cast<float>(own[at + from.own]);
  if (from.weight != 1.0f) second = static_cast<float>(partner[at + from.partner]);
  return mix_two(first, second, from.weight, In{});
}

// A group of values, the same in all rows that a thread makes.
struct PlaceColumn {
  int32_t value, count;  // the first, and how many there are
  int32_t place, left;   // the place of the first, and how many are in it
};

// Mixes the values of a group, number `at` of a sample and those behind it.
template <typename In>
__device__ __forceinline__ void mix_group(float* mixed, const MsdaGpuPuzzleBlend& b,
                                          const PlaceSource* places, const PlaceColumn& c,
                                          const In* own, const In* partner, int32_t at) {
  if (b.place_values < kPuzzleGroup) {  // several places, each with few values
#pragma unroll
    for (int32_t j = 0; j < kPuzzleGroup; ++j)
      if (j < c.count)
        mixed[j] =
            mixed_value(own, partner, at + j, places[divide(c.value + j, b.by_place_values)]);
    return;
  }
  const PlaceSource first = places[c.place], second = places[c.place + (c.left < c.count)];
#pragma unroll
  for (int32_t j = 0; j < kPuzzleGroup; ++j) {
    const bool is_first = j < c.left;
    const PlaceSource from = {is_first ? first.own : second.own,
                              is_first ? first.partner : second.partner,
                              is_first ? first.weight : second.weight};
    if (j < c.count) mixed[j] = mixed_value(own, partner, at + j, from);
  }
}

template <typename Out>
__device__ __forceinline__ void put_group(const MsdaGpuPuzzleBlend& b, float* mixed,
                                          const PlaceColumn& c, int32_t plane, Out* out) {
  if (b.scale) {
#pragma unroll
    for (int32_t j = 0; j < kPuzzleGroup; ++j) {
      if (j >= c.count) continue;
      const int32_t k = b.planes > 1 ? plane : (c.value + j) % b.channels;
      mixed[j] = normalise(mixed[j], b.scale[k], b.shift[k]);
    }
  }
  Words16 words = {};
#pragma unroll
  for (int32_t i = 0; i < kPuzzleGroup * static_cast<int32_t>(sizeof(Out)) / 4; ++i)
    words.word[i] = packed(mixed, i, static_cast<const Out*>(nullptr));
  store_run<kPuzzleGroup, false>(out, c.count, words);
}

// Makes the groups that this thread has of an output: those of a column, `down` rows from one to
// the next, from number `row` on.
template <typename In, typename Out>
__device__ __forceinline__ void blend_column(const MsdaGpuPuzzleBlend& b, const PlaceSource* places,
                                             int32_t i, int32_t row, int32_t down,
                                             const PlaceColumn& c) {
  const In* own = sample_at<const In>(b.ins, b.pairs[2 * int64_t{i}]);
  const In* partner = sample_at<const In>(b.ins, b.pairs[2 * int64_t{i} + 1]);
  Out* out = sample_at<Out>(b.outs, i);
  const int32_t rows = b.planes * b.height;
  int32_t plane = 0, y = row;
#pragma unroll 1
  for (; row < rows; row += down, y += down) {
    for (; y >= b.height; ++plane) y -= b.height;
    const auto place_row = static_cast<int32_t>(divide(y, b.by_place_rows));
    const int32_t at = row * b.row_values + c.value;
    float mixed[kPuzzleGroup] = {};
    mix_group(mixed, b, places + place_row * b.places, c, own, partner, at);
    put_group(b, mixed, c, plane, out + at);
  }
}

// As many blocks as `along` make an output; together they have at least the threads of a row.
template <typename In, typename Out>
__device__ __forceinline__ void blend_places(const MsdaGpuPuzzleBlend& b) {
  __shared__ PlaceSource places[kMaxCells];
  const int32_t i = static_cast<int32_t>(blockIdx.x) / b.along, count = b.places * b.places;
  const uint8_t* cells = b.cells + int64_t{3} * i * count;
  for (int32_t p = threadIdx.x; p < count; p += blockDim.x)
    places[p] = place_source(b, cells + 3 * p, p);
  __syncthreads();
  const int32_t threads = blockDim.x, down = b.along * threads / b.groups;
  const int32_t thread = (static_cast<int32_t>(blockIdx.x) - i * b.along) * threads + threadIdx.x;
  const int32_t row = thread / b.groups, value = (thread - row * b.groups) * kPuzzleGroup;
  if (row >= down) return;
  const int32_t rest = b.row_values - value;
  const auto place = static_cast<int32_t>(divide(value, b.by_place_values));
  const PlaceColumn c = {value, rest < kPuzzleGroup ? rest : kPuzzleGroup, place,
                         (place + 1) * b.place_values - value};
  blend_column<In, Out>(b, places, i, row, down, c);
}

}  // namespace msda
