// Fine-grained saliency of an image, and where it is greatest: how much brighter or darker each
// pixel is than the means of six squares around it.  Montabone and Soto, "Human detection using a
// mobile platform and novel features derived from a visual saliency mechanism", Image and Vision
// Computing 2010, with the constants of OpenCV's StaticSaliencyFineGrained.
//
// All of it is integer arithmetic, or float arithmetic whose whole part is exact.  The phases at
// the end are how a block of threads makes it, with a barrier after each (as in field/phases.h).
#pragma once
#include "msda/blend.h"
#include "msda/block_thread.h"

namespace msda {

constexpr int32_t kSquares = 6;
constexpr int32_t kGreatestReach = 112;

// The square around (y, x) is [y - reach + 1, y + reach] x [x - reach + 1, x + reach], cut off at
// the border.  Reaches: 12, 24, 48, 28, 56, 112.
MSDA_FN int32_t square_reach(int32_t square) { return (square < 3 ? 12 : 28) << square % 3; }

MSDA_FN int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
MSDA_FN int32_t greatest(int32_t a, int32_t b) { return a > b ? a : b; }

// Luma of 8-bit RGB: 0.299 R + 0.587 G + 0.114 B in 15 bits.
MSDA_FN int32_t grey_of(int32_t red, int32_t green, int32_t blue) {
  return (9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15;
}
MSDA_FN int32_t as_byte(uint8_t value) { return value; }
MSDA_FN int32_t as_byte(float value) { return to_uint8(value); }

// Intensity of a pixel of an HWC image with 1 or 3 channels.
template <typename In>
MSDA_FN uint8_t grey_at(const In* image, int64_t pixel, int32_t channels) {
  const In* at = image + pixel * channels;
  const int32_t first = as_byte(at[0]);
  return static_cast<uint8_t>(channels == 1 ? first
                                            : grey_of(first, as_byte(at[1]), as_byte(at[2])));
}

// Index i, or for -1 and n its mirror image about the border pixel.
MSDA_FN int32_t reflected(int32_t i, int32_t n) {
  if (i >= 0 && i < n) return i;
  return n == 1 ? 0 : i < 0 ? 1 : n - 2;
}

// The binomial filter (1 2 1) / 4 along both axes; halves go up.
MSDA_FN int32_t weighted(int32_t before, int32_t at, int32_t after) {
  return before + 2 * at + after;
}
MSDA_FN uint8_t smoothed(int32_t before, int32_t at, int32_t after) {
  return static_cast<uint8_t>((weighted(before, at, after) + 8) >> 4);
}

// How much brighter (> 0) or darker (< 0) a pixel is than the mean of the others of its square, cut
// to a whole number: value - (sum - value) / (area - 1) = (value area - sum) / (area - 1), where
// `sum` and `area` are the whole square's.  Numerator and denominator are below 2^24 (224 x 224
// pixels of 255), so that the floats hold them.  The quotient is at least 1 / 50175 from any whole
// number that it does not equal, and below 256 floats are closer than that: it never rounds to one.
MSDA_FN int32_t contrast(float value, float sum, float area) {
  const float others = area - 1.0f;
  return static_cast<int32_t>((value * area - sum) / (others > 1.0f ? others : 1.0f));
}

// A sum of contrasts as a share of the greatest one, in 255ths, cut to a whole number.  For all
// sums there are (up to 6 x 255) OpenCV's quotient in floats, times 255 in doubles, gives the same.
MSDA_FN int32_t share_of(int32_t sum, int32_t most) { return most == 0 ? 0 : 255 * sum / most; }

// A number that is greatest for the peak: the greatest value and, of several pixels with it, the
// first.
MSDA_FN uint64_t peak_order(int32_t value, int64_t pixel) {
  return static_cast<uint64_t>(value) << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(pixel));
}
MSDA_FN int64_t pixel_of_order(uint64_t order) {
  return 0xFFFFFFFFu - static_cast<uint32_t>(order);
}

// What the threads of a block share.
struct SaliencyBlock {
  int32_t height, width, channels;
  uint32_t* integral;     // (H + 1, W + 1): sum of all pixels above and to the left
  uint32_t* sums;         // (H, W): brighter in the low half of each word, darker in the high one
  uint8_t *grey, *other;  // (H, W) each
  uint8_t* map;           // (H, W), flipped left to right if `mirrored`; null if it is not wanted
  bool mirrored;
  uint32_t *most_brighter, *most_darker;  // all three are 0 at first
  uint64_t* peak;
};

// Bytes of memory of a block for images of this size, a multiple of 256.
MSDA_FN int64_t saliency_block_bytes(int32_t height, int32_t width) {
  const int64_t pixels = int64_t{height} * width, corners = (height + 1) * (width + int64_t{1});
  return (4 * (corners + pixels) + 2 * pixels + 255) / 256 * 256;
}

MSDA_FN void place_in(SaliencyBlock* b, char* memory) {
  const int64_t pixels = int64_t{b->height} * b->width;
  b->integral = reinterpret_cast<uint32_t*>(memory);
  b->sums = b->integral + (b->height + 1) * (b->width + int64_t{1});
  b->grey = reinterpret_cast<uint8_t*>(b->sums + pixels);
  b->other = b->grey + pixels;
}

// Images have fewer than 2^31 pixels, so that pixels and corners are counted in 32 bits: a GPU
// divides and multiplies those much faster.
MSDA_FN uint32_t pixels_of(const SaliencyBlock& b) {
  return static_cast<uint32_t>(b.height) * static_cast<uint32_t>(b.width);
}
MSDA_FN uint32_t row_of_corners(const SaliencyBlock& b, int32_t y) {
  return static_cast<uint32_t>(y) * (static_cast<uint32_t>(b.width) + 1u);
}

// The place of a pixel in the image flipped left to right.
MSDA_FN uint32_t flipped(const SaliencyBlock& b, uint32_t pixel) {
  const uint32_t x = pixel % static_cast<uint32_t>(b.width);
  return pixel - x + (static_cast<uint32_t>(b.width) - 1u - x);
}

template <typename In>
MSDA_FN void phase_grey(const SaliencyBlock& b, const In* image, BlockThread me) {
  for (uint32_t i = me.thread; i < pixels_of(b); i += me.threads)
    b.grey[i] = grey_at(image, i, b.channels);
}

MSDA_FN void phase_smooth(const SaliencyBlock& b, uint8_t* to, const uint8_t* from,
                          BlockThread me) {
  const uint32_t width = b.width;
  for (uint32_t i = me.thread; i < pixels_of(b); i += me.threads) {
    const int32_t y = static_cast<int32_t>(i / width), x = static_cast<int32_t>(i % width);
    const int32_t before = reflected(x - 1, b.width), after = reflected(x + 1, b.width);
    int32_t rows[3];
#pragma unroll
    for (int32_t k = 0; k < 3; ++k) {
      const uint8_t* row = from + static_cast<uint32_t>(reflected(y + k - 1, b.height)) * width;
      rows[k] = weighted(row[before], row[x], row[after]);
    }
    to[i] = smoothed(rows[0], rows[1], rows[2]);
  }
}

// Sums along each row, below an empty first row and behind an empty first column.
MSDA_FN void phase_row_sums(const SaliencyBlock& b, BlockThread me) {
  const uint32_t width = b.width;
  for (uint32_t y = me.thread; y <= static_cast<uint32_t>(b.height); y += me.threads) {
    uint32_t* row = b.integral + y * (width + 1u);
    const uint8_t* grey = b.grey + (y == 0 ? 0 : y - 1u) * width;
    uint32_t sum = row[0] = 0;
    for (uint32_t x = 0; x < width; ++x) row[x + 1u] = y == 0 ? 0 : sum += grey[x];
  }
}

// Sums down each column, kRows rows at a time, so that a GPU has that many loads under way.
MSDA_FN void phase_column_sums(const SaliencyBlock& b, BlockThread me) {
  constexpr uint32_t kRows = 8;
  const uint32_t step = static_cast<uint32_t>(b.width) + 1u, height = b.height;
  for (uint32_t x = me.thread; x < step; x += me.threads) {
    uint32_t sum = 0;
    for (uint32_t y = 0; y <= height; y += kRows) {
      uint32_t row[kRows], *at = b.integral + y * step + x;
#pragma unroll
      for (uint32_t k = 0; k < kRows; ++k) row[k] = y + k <= height ? at[k * step] : 0;
#pragma unroll
      for (uint32_t k = 0; k < kRows; ++k)
        if (y + k <= height) at[k * step] = sum += row[k];
    }
  }
}

MSDA_FN void phase_contrasts(const SaliencyBlock& b, BlockThread me) {
  const uint32_t width = b.width;
  int32_t most_brighter = 0, most_darker = 0;
  for (uint32_t i = me.thread; i < pixels_of(b); i += me.threads) {
    const int32_t y = static_cast<int32_t>(i / width), x = static_cast<int32_t>(i % width);
    int32_t brighter = 0, darker = 0;
    for (int32_t k = 0; k < kSquares; ++k) {
      const int32_t reach = square_reach(k);
      const int32_t y0 = greatest(y - reach + 1, 0), y1 = least(y + reach + 1, b.height);
      const int32_t x0 = greatest(x - reach + 1, 0), x1 = least(x + reach + 1, b.width);
      const uint32_t* above = b.integral + row_of_corners(b, y0);
      const uint32_t* below = b.integral + row_of_corners(b, y1);
      const uint32_t sum = (below[x1] - above[x1]) - (below[x0] - above[x0]);
      const int32_t found = contrast(b.grey[i], static_cast<float>(static_cast<int32_t>(sum)),
                                     static_cast<float>((y1 - y0) * (x1 - x0)));
      brighter += greatest(found, 0);
      darker += greatest(-found, 0);
    }
    b.sums[i] = static_cast<uint32_t>(brighter) | static_cast<uint32_t>(darker) << 16;
    most_brighter = greatest(most_brighter, brighter);
    most_darker = greatest(most_darker, darker);
  }
  raise_to(b.most_brighter, static_cast<uint32_t>(most_brighter));
  raise_to(b.most_darker, static_cast<uint32_t>(most_darker));
}

// The map is the sum of both shares; where that is more than a byte holds, 255.  The peak is that
// of the image as it lies in memory.
MSDA_FN void phase_map(const SaliencyBlock& b, BlockThread me) {
  const int32_t brighter = static_cast<int32_t>(*b.most_brighter);
  const int32_t darker = static_cast<int32_t>(*b.most_darker);
  uint64_t peak = 0;
  for (uint32_t i = me.thread; i < pixels_of(b); i += me.threads) {
    const int32_t value = share_of(static_cast<int32_t>(b.sums[i] & 0xFFFFu), brighter) +
                          share_of(static_cast<int32_t>(b.sums[i] >> 16), darker);
    const int32_t salient = least(value, 255);
    if (b.map) b.map[b.mirrored ? flipped(b, i) : i] = static_cast<uint8_t>(salient);
    const uint64_t order = peak_order(salient, i);
    if (order > peak) peak = order;
  }
  raise_to(b.peak, peak);
}

// Writes y and x of the peak; one thread does it.
MSDA_FN void phase_peak(const SaliencyBlock& b, int32_t* out, BlockThread me) {
  if (me.thread != 0) return;
  const uint32_t pixel = static_cast<uint32_t>(pixel_of_order(*b.peak)), width = b.width;
  const uint32_t at = b.mirrored ? flipped(b, pixel) : pixel;
  out[0] = static_cast<int32_t>(at / width);
  out[1] = static_cast<int32_t>(at % width);
}

}  // namespace msda
