// Mixes images by what Puzzle Mix found.  Each thread takes whole outputs: it moves the blocks of
// both images, and mixes them as any two images with a mask are mixed.
#include <algorithm>
#include <cstring>

#include "cpu/closed.h"
#include "cpu/puzzle/masked_pair.h"
#include "cpu/threads.h"

namespace msda {
namespace {

// Copies the blocks of an image to the places that show them.  `index` says which of the bytes of a
// cell to read.  Neighbours that stay together are copied together.
void arrange(char* to, const char* from, const uint8_t* cells, int32_t index, int32_t places,
             int32_t height, int64_t row_bytes) {
  const int32_t rows = height / places;
  const int64_t cell_bytes = row_bytes / places;
  for (int32_t row = 0; row < places; ++row)
    for (int32_t column = 0, run; column < places; column += run) {
      const uint8_t* cell = cells + 3 * (row * places + column) + index;
      const int32_t source = *cell;
      run = 1;
      while (column + run < places && source % places + run < places &&
             cell[3 * run] == source + run)
        ++run;
      char* out = to + int64_t{row} * rows * row_bytes + column * cell_bytes;
      const char* in =
          from + int64_t{source / places} * rows * row_bytes + source % places * cell_bytes;
      for (int32_t y = 0; y < rows; ++y, out += row_bytes, in += row_bytes)
        std::memcpy(out, in, run * cell_bytes);
    }
}

// The own weight of each pixel.
void spread_weights(float* weights, const uint8_t* cells, int32_t places, int32_t levels,
                    int32_t height, int32_t width) {
  const int32_t rows = height / places, columns = width / places;
  for (int32_t y = 0; y < height; ++y, weights += width)
    if (y % rows != 0) {
      std::memcpy(weights, weights - width, sizeof(float) * width);
    } else {
      for (int32_t place = 0; place < places; ++place)
        std::fill_n(weights + place * columns, columns,
                    static_cast<float>(cells[3 * (y / rows * places + place)]) / (levels - 1));
    }
}

struct BlendJob {
  const MsdaBlend& b;
  const uint8_t* cells;
  int32_t places, levels;
};

// Mixes one output as one of two images, whose blocks have moved, by a mask of floats.
void blend_output(const BlendJob& job, int64_t i) {
  static thread_local std::vector<char> moved;
  static thread_local std::vector<float> weights;
  const MsdaBlend& b = job.b;
  const Plan& p = b.plans[i];
  const uint8_t* cells = job.cells + i * 3 * job.places * job.places;
  const int64_t row_bytes =
      int64_t{b.width} * b.channels * (b.in_dtype == kUint8 ? 1 : sizeof(float));
  const int64_t bytes = (row_bytes * b.height + 63) / 64 * 64;
  char* images = kept(moved, 2 * bytes);
  for (int32_t k = 0; k < 2; ++k)
    arrange(images + k * bytes, static_cast<const char*>(b.ins[p.source[k < p.sources ? k : 0]]),
            cells, 1 + k, job.places, b.height, row_bytes);
  float* mask = kept(weights, int64_t{b.height} * b.width);
  spread_weights(mask, cells, job.places, job.levels, b.height, b.width);

  const void* ins[2] = {images, images + bytes};
  blend_masked_pair(b, i, ins, mask);
}

}  // namespace
}  // namespace msda

extern "C" int32_t msda_puzzle_blend(const MsdaBlend* blend, const uint8_t* cells, int32_t places,
                                     int32_t levels) {
  const msda::BlendJob job = {*blend, cells, places, levels};
  const auto task = [](const void* job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      msda::blend_output(*static_cast<const msda::BlendJob*>(job), i);
  };
  return msda::closed([&] { msda::parallel_for(blend->batch, 1, blend->threads, task, &job); });
}
