// The axes of a sample, by its layout.  A sequence has a width, an image also a height, and a
// volume also a depth; the frames of video are its depth.  Channels come first or last.
#pragma once
#include <cstdint>

#include "arguments/check.h"

namespace msda::native {

struct SampleSize {
  int64_t depth = 1, height = 1, width = 1;
  bool is_image = false;  // neither a sequence nor a volume, even one of depth 1
};

// Throws unless there is a pixel and the kernels can count the rows.
inline SampleSize size_of(const TensorLayout& layout, const TensorShape<>& shape) {
  SampleSize size;
  for (int axis = 0; axis < layout.ndim(); ++axis) {
    const char name = layout[axis];
    if (name == 'D' || name == 'F') size.depth = shape[axis];
    if (name == 'H') size.height = shape[axis];
    if (name == 'W') size.width = shape[axis];
  }
  size.is_image = layout.contains('H') && !layout.contains('D') && !layout.contains('F');
  expect(size.depth > 0 && size.height > 0 && size.width > 0,
         "images: expected at least one pixel, got shape (", shape, ").");
  constexpr int64_t kMost = INT32_MAX;
  expect(size.depth <= kMost && size.height <= kMost / size.depth && size.width <= kMost,
         "images: expected fewer than 2^31 rows in a sample and pixels in a row, got shape (",
         shape, ").");
  return size;
}

// The layout of the output for an input whose layout ends in C.
inline TensorLayout output_layout(const TensorLayout& layout, bool channels_first) {
  return channels_first ? TensorLayout("C") + layout.first(layout.ndim() - 1) : layout;
}

}  // namespace msda::native
