// What Puzzle Mix needs of each sample before it is paired: the saliency of its blocks, and its
// pixels averaged over cells, beside the borders of blocks.  All sums are of integers, so that no
// order matters.
#pragma once
#include "cpu/api.h"
#include "msda/puzzle/costs.h"

namespace msda {

// Sizes that follow from the arguments.  Axis 0 runs down, along the height; axis 1 to the right.
struct PuzzleGeometry {
  int32_t side, places;              // blocks and places along each axis
  int32_t block[2], cell[2];         // pixels of a block and of a cell along each axis
  int32_t per_block[2], cells[2];    // cells of a block and of the image along each axis
  int64_t pixel_step, channel_step;  // between values of an image
};

inline PuzzleGeometry geometry_of(const MsdaPuzzle& z) {
  const int32_t sizes[2] = {z.height, z.width};
  PuzzleGeometry g = {};
  g.side = z.blocks, g.places = z.places;
  for (int32_t axis = 0; axis < 2; ++axis) {
    g.block[axis] = sizes[axis] / z.blocks;
    g.cell[axis] = z.cell < g.block[axis] ? z.cell : g.block[axis];
    g.per_block[axis] = g.block[axis] / g.cell[axis];
    g.cells[axis] = g.side * g.per_block[axis];
  }
  g.pixel_step = z.planar ? 1 : z.channels;
  g.channel_step = z.planar ? int64_t{z.height} * z.width : 1;
  return g;
}

// Cells of a channel.
inline int64_t cells_of(const PuzzleGeometry& g) { return int64_t{g.cells[0]} * g.cells[1]; }

// Whether a cell lies beside a border across an axis.
inline bool is_beside_border(const PuzzleGeometry& g, int32_t axis, int32_t cell) {
  const int32_t n = g.per_block[axis], in_block = cell % n;
  return (in_block == 0 && cell > 0) || (in_block == n - 1 && cell + 1 < g.cells[axis]);
}

inline int32_t pixel_at(const uint8_t* value, float, float) { return fixed_pixel(*value); }
inline int32_t pixel_at(const float* value, float scale, float shift) {
  return fixed_pixel(*value * scale + shift);
}

// The sum of a cell's pixels in one channel, whose first value is `from`.
template <typename In>
int32_t pool_cell(const In* from, const PuzzleGeometry& g, int64_t row_step, float scale,
                  float shift) {
  int32_t sum = 0;
  for (int32_t y = 0; y < g.cell[0]; ++y, from += row_step)
    for (int32_t x = 0; x < g.cell[1]; ++x) sum += pixel_at(from + x * g.pixel_step, scale, shift);
  return sum;
}

// Fills in those cells of a sample, (channels, cells[0], cells[1]), that lie beside a border.
template <typename In>
void pool_pixels(int32_t* sums, const MsdaPuzzle& z, const PuzzleGeometry& g, const In* image) {
  const int64_t row_step = z.width * g.pixel_step;
  for (int32_t c = 0; c < z.channels; ++c) {
    const float scale = z.scale ? z.scale[c] : 1.0f, shift = z.shift ? z.shift[c] : 0.0f;
    for (int32_t row = 0; row < g.cells[0]; ++row, sums += g.cells[1]) {
      const In* from = image + c * g.channel_step + int64_t{row} * g.cell[0] * row_step;
      const bool whole = is_beside_border(g, 0, row);
      for (int32_t column = 0; column < g.cells[1]; ++column)
        if (whole || is_beside_border(g, 1, column))
          sums[column] =
              pool_cell(from + column * g.cell[1] * g.pixel_step, g, row_step, scale, shift);
    }
  }
}

// The greatest of a map's values as bits; -1 if one is negative or not finite, or if all are 0.
inline int32_t greatest_bits(const float* map, int64_t pixels) {
  int32_t greatest = 0, wrong = 0;
  for (int64_t i = 0; i < pixels; ++i) {
    const int32_t bits = static_cast<int32_t>(bits_of(map[i]));
    greatest = bits > greatest ? bits : greatest;
    wrong |= bits < 0 && bits != INT32_MIN;  // -0 is 0
  }
  return wrong || greatest == 0 || greatest >= 0x7F800000 ? -1 : greatest;
}

// Two powers of two, by whose product a map's values become integers below 2^31; two, since the
// greatest value may be as small as floats get.
struct MapScale {
  float first, second;
  int32_t operator()(float value) const { return static_cast<int32_t>(value * first * second); }
};

inline MapScale map_scale(int32_t greatest) {
  const int32_t exponent = 30 - ((greatest >> 23) - 127), half = exponent >> 1;
  return {power_of_two(half), power_of_two(exponent - half)};
}

// Fills in the shares of a map's blocks, places x places of them, and returns true.  A map that has
// a value that is negative or not finite, or nothing above 0, is taken to be uniform: false.
// `columns` is room for a row.
inline bool pool_saliency(int32_t* shares, int32_t height, int32_t width, int32_t places,
                          const float* map, int64_t* columns) {
  const int32_t blocks = places * places, greatest = greatest_bits(map, int64_t{height} * width);
  if (greatest < 0) {
    for (int32_t p = 0; p < blocks; ++p) shares[p] = saliency_share(1, blocks);
    return false;
  }
  const MapScale fixed = map_scale(greatest);
  const int32_t rows = height / places, each = width / places;
  int64_t sums[kMaxCells], whole = 0;
  for (int32_t row = 0; row < places; ++row) {
    for (int32_t x = 0; x < width; ++x) columns[x] = 0;
    const float* from = map + int64_t{row} * rows * width;
    for (int32_t y = 0; y < rows; ++y, from += width)
      for (int32_t x = 0; x < width; ++x) columns[x] += fixed(from[x]);
    for (int32_t column = 0; column < places; ++column) {
      int64_t sum = 0;
      for (int32_t x = 0; x < each; ++x) sum += columns[int64_t{column} * each + x];
      sums[row * places + column] = sum;
      whole += sum;
    }
  }
  for (int32_t p = 0; p < blocks; ++p) shares[p] = saliency_share(sums[p], whole);
  return true;
}

}  // namespace msda
