// What Puzzle Mix needs of each sample before it is paired: the saliency of its blocks, and the
// pixels on both sides of their borders.  All sums are of integers, so that no order matters.
#pragma once
#include <cfloat>

#include "cpu/api.h"
#include "msda/puzzle/costs.h"

namespace msda {

// Sizes that follow from the arguments.  Axis 0 runs down, along the height; axis 1 to the right.
struct PuzzleGeometry {
  int32_t side, places;       // blocks and places along each axis
  int32_t block[2], cell[2];  // pixels of a block, and of a pooled cell, along each axis
  int32_t cells[2];           // pooled cells of a block along each axis
  int32_t strip[2];           // pooled cells along the strip beside a border across each axis
  int64_t pixel_step, channel_step;  // between values of an image
};

inline PuzzleGeometry geometry_of(const MsdaPuzzle& z) {
  const int32_t sizes[2] = {z.height, z.width};
  PuzzleGeometry g = {};
  g.side = z.blocks, g.places = z.places;
  for (int32_t axis = 0; axis < 2; ++axis) {
    g.block[axis] = sizes[axis] / z.blocks;
    g.cell[axis] = z.cell < g.block[axis] ? z.cell : g.block[axis];
    g.cells[axis] = g.block[axis] / g.cell[axis];
    g.strip[1 - axis] = sizes[axis] / g.cell[axis];
  }
  g.pixel_step = z.planar ? 1 : z.channels;
  g.channel_step = z.planar ? int64_t{z.height} * z.width : 1;
  return g;
}

// The pooled pixels of a sample beside its borders: of each axis, of each border across it, on the
// near side and on the far side, of each channel a strip.
inline int64_t strip_at(const PuzzleGeometry& g, int32_t channels, int32_t axis, int32_t border,
                        int32_t far) {
  const int64_t before = axis == 0 ? 0 : int64_t{g.side - 1} * 2 * channels * g.strip[0];
  return before + (int64_t{border} * 2 + far) * channels * g.strip[axis];
}

inline int64_t strip_values(const PuzzleGeometry& g, int32_t channels) {
  return strip_at(g, channels, 1, g.side - 1, 0);
}

// Fills in the strips of one sample.
template <typename In>
void pool_strips(int32_t* strips, const MsdaPuzzle& z, const PuzzleGeometry& g, const In* image) {
  const int64_t steps[2] = {z.width * g.pixel_step, g.pixel_step};
  for (int32_t axis = 0; axis < 2; ++axis) {
    const int32_t along = 1 - axis;
    for (int32_t border = 0; border + 1 < g.side; ++border)
      for (int32_t far = 0; far < 2; ++far) {
        const int64_t first = int64_t{border + 1} * g.block[axis] - (far ? 0 : g.cell[axis]);
        int32_t* strip = strips + strip_at(g, z.channels, axis, border, far);
        for (int32_t c = 0; c < z.channels; ++c, strip += g.strip[axis]) {
          const In* from = image + c * g.channel_step + first * steps[axis];
          const float scale = z.scale ? z.scale[c] : 1.0f, shift = z.shift ? z.shift[c] : 0.0f;
          for (int32_t i = 0; i < g.strip[axis]; ++i) {
            int32_t sum = 0;
            for (int32_t across = 0; across < g.cell[axis]; ++across)
              for (int32_t k = 0; k < g.cell[along]; ++k) {
                const In value =
                    from[across * steps[axis] + (int64_t{i} * g.cell[along] + k) * steps[along]];
                if constexpr (sizeof(In) == 1)
                  sum += fixed_pixel(value);
                else
                  sum += fixed_pixel(value * scale + shift);
              }
            strip[i] = sum;
          }
        }
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

// Fills in the shares of a sample's blocks, places x places of them, and returns true.  A map that
// has a value that is negative or not finite, or nothing above 0, is taken to be uniform: false.
// `columns` is room for a row.
inline bool pool_saliency(int32_t* shares, const MsdaPuzzle& z, const PuzzleGeometry& g,
                          const float* map, int64_t* columns) {
  const int32_t places = g.places, blocks = places * places;
  const int32_t greatest = greatest_bits(map, int64_t{z.height} * z.width);
  if (greatest < 0) {
    for (int32_t p = 0; p < blocks; ++p) shares[p] = saliency_share(1, blocks);
    return false;
  }
  // Values become integers below 2^31.  Two powers of two are multiplied, since the greatest value
  // may be as small as floats get.
  const int32_t exponent = 30 - ((greatest >> 23) - 127), half = exponent >> 1;
  const float first = power_of_two(half), second = power_of_two(exponent - half);
  int64_t sums[kMaxCells], whole = 0;
  for (int32_t row = 0; row < places; ++row) {
    for (int32_t x = 0; x < z.width; ++x) columns[x] = 0;
    const int32_t rows = z.height / places, width = z.width / places;
    const float* from = map + int64_t{row} * rows * z.width;
    for (int32_t y = 0; y < rows; ++y, from += z.width)
      for (int32_t x = 0; x < z.width; ++x)
        columns[x] += static_cast<int32_t>(from[x] * first * second);
    for (int32_t column = 0; column < places; ++column) {
      int64_t sum = 0;
      for (int32_t x = 0; x < width; ++x) sum += columns[int64_t{column} * width + x];
      sums[row * places + column] = sum;
      whole += sum;
    }
  }
  for (int32_t p = 0; p < blocks; ++p) shares[p] = saliency_share(sums[p], whole);
  return true;
}

}  // namespace msda
