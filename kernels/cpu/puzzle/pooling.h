// Sums of a sample on the CPU; msda/puzzle/pooling.h says of what.
#pragma once
#include "cpu/api.h"
#include "msda/puzzle/pooling.h"

namespace msda {

// Fills in those cells of a sample, (channels, cells[0], cells[1]), that lie beside a border.
template <typename In>
void pool_pixels(int32_t* sums, const MsdaPuzzle& z, const PuzzleGeometry& g, const In* image) {
  const int32_t row_step = z.width * g.pixel_step;
  for (int32_t c = 0; c < z.channels; ++c) {
    const float scale = z.scale ? z.scale[c] : 1.0f, shift = z.shift ? z.shift[c] : 0.0f;
    for (int32_t row = 0; row < g.cells[0]; ++row, sums += g.cells[1]) {
      const In* from = image + int64_t{c} * g.channel_step + int64_t{row} * g.cell[0] * row_step;
      const bool whole = is_beside_border(g, 0, row, row % g.per_block[0]);
      for (int32_t column = 0; column < g.cells[1]; ++column)
        if (whole || is_beside_border(g, 1, column, column % g.per_block[1]))
          sums[column] = pool_cell(from + int64_t{column} * g.cell[1] * g.pixel_step, g, row_step,
                                   scale, shift);
    }
  }
}

// Fills in the shares of a map's blocks, places x places of them, and returns true.  A map that has
// a value that is negative or not finite, or nothing above 0, is taken to be uniform: false.
// `columns` is room for a row.
inline bool pool_saliency(int32_t* shares, int32_t height, int32_t width, int32_t places,
                          const float* map, int64_t* columns) {
  const int32_t blocks = places * places;
  const int32_t greatest = greatest_bits(map, 0, int64_t{height} * width, 1);
  if (!is_usable(greatest)) {
    for (int32_t p = 0; p < blocks; ++p) shares[p] = saliency_share(1, blocks);
    return false;
  }
  const MapScale scale = map_scale(greatest);
  const int32_t rows = height / places, each = width / places;
  int64_t sums[kMaxCells], whole = 0;
  for (int32_t row = 0; row < places; ++row) {
    for (int32_t x = 0; x < width; ++x) columns[x] = 0;
    const float* from = map + int64_t{row} * rows * width;
    for (int32_t y = 0; y < rows; ++y, from += width)
      for (int32_t x = 0; x < width; ++x) columns[x] += fixed_saliency(from[x], scale);
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
