// What Puzzle Mix needs of each sample before it is paired: the saliency of its blocks, and its
// pixels averaged over cells, beside the borders of blocks.  All sums are of integers, so that no
// order matters.
#pragma once
#include "msda/puzzle/costs.h"

namespace msda {

// Sizes that follow from the arguments.  Axis 0 runs down, along the height; axis 1 to the right.
struct PuzzleGeometry {
  int32_t side, places;              // blocks and places along each axis
  int32_t channels;                  // of a pixel
  int32_t block[2], cell[2];         // pixels of a block and of a cell along each axis
  int32_t per_block[2], cells[2];    // cells of a block and of the image along each axis
  int32_t pixel_step, channel_step;  // between values of an image
};

// `z` has the members of MsdaPuzzle (cpu/api.h).
template <typename Arguments>
MSDA_FN PuzzleGeometry geometry_of(const Arguments& z) {
  const int32_t sizes[2] = {z.height, z.width};
  PuzzleGeometry g = {};
  g.side = z.blocks, g.places = z.places, g.channels = z.channels;
  for (int32_t axis = 0; axis < 2; ++axis) {
    g.block[axis] = sizes[axis] / z.blocks;
    g.cell[axis] = z.cell < g.block[axis] ? z.cell : g.block[axis];
    g.per_block[axis] = g.block[axis] / g.cell[axis];
    g.cells[axis] = g.side * g.per_block[axis];
  }
  g.pixel_step = z.planar ? 1 : z.channels;
  g.channel_step = z.planar ? z.height * z.width : 1;
  return g;
}

// Cells of a channel.
MSDA_FN int64_t cells_of(const PuzzleGeometry& g) { return int64_t{g.cells[0]} * g.cells[1]; }

// ------------------------------------------------------------------------------------- pixels

// Whether a cell lies beside a border across an axis; it is number `in_block` of its block.
MSDA_FN bool is_beside_border(const PuzzleGeometry& g, int32_t axis, int32_t cell,
                              int32_t in_block) {
  return (in_block == 0 && cell > 0) ||
         (in_block == g.per_block[axis] - 1 && cell + 1 < g.cells[axis]);
}

MSDA_FN int32_t pixel_at(const uint8_t* value, float, float) { return fixed_pixel(*value); }
MSDA_FN int32_t pixel_at(const float* value, float scale, float shift) {
  return fixed_pixel(*value * scale + shift);
}

// The sum of a cell's pixels in one channel, whose first value is `from`.
template <typename In>
MSDA_FN int32_t pool_cell(const In* from, const PuzzleGeometry& g, int32_t row_step, float scale,
                          float shift) {
  int32_t sum = 0;
#pragma unroll 1
  for (int32_t y = 0; y < g.cell[0]; ++y, from += row_step)
#pragma unroll 2
    for (int32_t x = 0; x < g.cell[1]; ++x) sum += pixel_at(from + x * g.pixel_step, scale, shift);
  return sum;
}

// The sum of absolute differences of `count` cells on either side of a border, over all channels.
// From one to the next it is `along` values.
MSDA_FN int64_t contrast_sum(const int32_t* near, const int32_t* far, const PuzzleGeometry& g,
                             int32_t count, int64_t along) {
  int64_t sum = 0;
#pragma unroll 1
  for (int32_t c = 0; c < g.channels; ++c, near += cells_of(g), far += cells_of(g))
#pragma unroll 1
    for (int32_t i = 0; i < count; ++i) {
      const int32_t difference = near[i * along] - far[i * along];
      sum += difference < 0 ? -difference : difference;
    }
  return sum;
}

// The border number `border` across an axis, at the block number `at` along it, of an own sample
// and a partner with these sums of cells.
MSDA_FN Border border_of(const PuzzleGeometry& g, const BorderScale& scale,
                         const int32_t* const* pooled, int32_t axis, int32_t border, int32_t at) {
  const int32_t n = g.per_block[1 - axis], columns = g.cells[1];
  const int64_t across = axis == 0 ? columns : 1, along = axis == 0 ? 1 : columns;
  const int64_t near = ((border + 1) * g.per_block[axis] - 1) * across + at * n * along;
  const int64_t most = int64_t{g.channels} * n * g.cell[0] * g.cell[1] * kPixelOne;
  Border made;
  for (int32_t u = 0; u < 2; ++u)
    for (int32_t v = 0; v < 2; ++v) {
      const int64_t sum = contrast_sum(pooled[u] + near, pooled[v] + near + across, g, n, along);
      made.contrast[u][v] = contrast_of(sum, most, scale);
    }
  return made;
}

// ----------------------------------------------------------------------------------- saliency

constexpr int32_t kNotUsable = 0x7FFFFFFF;  // above the bits of all numbers

// The greatest of a map's values as bits, of every `step`-th from `first` on; kNotUsable if one is
// negative or not a number.
MSDA_FN int32_t greatest_bits(const float* map, int64_t first, int64_t pixels, int32_t step) {
  int32_t greatest = 0, wrong = 0;
  for (int64_t i = first; i < pixels; i += step) {
    const int32_t bits = static_cast<int32_t>(bits_of(map[i]));
    greatest = bits > greatest ? bits : greatest;
    wrong |= bits < 0 && (bits & kNotUsable) != 0;  // -0 is 0
  }
  return wrong ? kNotUsable : greatest;
}

// Whether shares can be told of a map with this greatest value: it is above 0 and finite.
MSDA_FN bool is_usable(int32_t greatest) { return greatest > 0 && greatest < 0x7F800000; }

// What makes integers below 2^31 of a map's values.  Two powers of two are multiplied, since the
// greatest value may be as small as floats get.
struct MapScale {
  float first, second;
};

MSDA_FN MapScale map_scale(int32_t greatest) {
  const int32_t exponent = 30 - ((greatest >> 23) - 127), half = exponent >> 1;
  return {power_of_two(half), power_of_two(exponent - half)};
}

MSDA_FN int32_t fixed_saliency(float value, const MapScale& scale) {
  return static_cast<int32_t>(value * scale.first * scale.second);
}

}  // namespace msda
