// Mixes images by what Co-Mixup found.  Each thread takes whole outputs: it gathers the blocks of
// their first halves and of their second ones as two images, and mixes these by a mask of 1 and
// 1/2, as any two images are mixed.
#include <algorithm>
#include <cstring>

#include "cpu/closed.h"
#include "cpu/puzzle/masked_pair.h"
#include "cpu/threads.h"

namespace msda {
namespace {

struct BlendJob {
  const MsdaBlend& b;
  const int32_t* sources;  // (batch, blocks, blocks, 2)
  int32_t blocks;
};

// Gathers the first or the second halves of an output as an image.
void gather(char* to, const BlendJob& job, const int32_t* sources, int32_t half,
            int64_t row_bytes) {
  const int32_t rows = job.b.height / job.blocks;
  const int64_t bytes = row_bytes / job.blocks;
  for (int32_t row = 0; row < job.blocks; ++row)
    for (int32_t column = 0; column < job.blocks; ++column) {
      const int64_t at = row * rows * row_bytes + column * bytes;
      const int32_t source = sources[2 * (row * job.blocks + column) + half];
      const char* from = static_cast<const char*>(job.b.ins[source]) + at;
      for (int32_t y = 0; y < rows; ++y)
        std::memcpy(to + at + y * row_bytes, from + y * row_bytes, bytes);
    }
}

// The weight of the first half for each pixel: 1 where both are one sample.
void fill_weights(float* weights, const BlendJob& job, const int32_t* sources) {
  const int32_t width = job.b.width, rows = job.b.height / job.blocks, columns = width / job.blocks;
  for (int32_t y = 0; y < job.b.height; ++y, weights += width)
    if (y % rows != 0) {
      std::memcpy(weights, weights - width, sizeof(float) * width);
    } else {
      const int32_t* pair = sources + int64_t{2} * (y / rows) * job.blocks;
      for (int32_t column = 0; column < job.blocks; ++column, pair += 2)
        std::fill_n(weights + column * columns, columns, pair[0] == pair[1] ? 1.0f : 0.5f);
    }
}

void blend_output(const BlendJob& job, int64_t i) {
  static thread_local std::vector<char> gathered;
  static thread_local std::vector<float> weights;
  const MsdaBlend& b = job.b;
  const int32_t* sources = job.sources + i * 2 * job.blocks * job.blocks;
  const int64_t row_bytes =
      int64_t{b.width} * b.channels * (b.in_dtype == kUint8 ? 1 : sizeof(float));
  const int64_t bytes = (row_bytes * b.height + 63) / 64 * 64;
  char* images = kept(gathered, 2 * bytes);
  for (int32_t half = 0; half < 2; ++half)
    gather(images + half * bytes, job, sources, half, row_bytes);
  float* mask = kept(weights, int64_t{b.height} * b.width);
  fill_weights(mask, job, sources);
  const void* ins[2] = {images, images + bytes};
  blend_masked_pair(b, i, ins, mask);
}

}  // namespace
}  // namespace msda

extern "C" int32_t msda_comixup_blend(const MsdaBlend* blend, const int32_t* sources,
                                      int32_t blocks) {
  const msda::BlendJob job = {*blend, sources, blocks};
  const auto task = [](const void* job, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      msda::blend_output(*static_cast<const msda::BlendJob*>(job), i);
  };
  return msda::closed([&] { msda::parallel_for(blend->batch, 1, blend->threads, task, &job); });
}
