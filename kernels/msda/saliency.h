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

// What sums of contrasts are shares of: the greatest one, and what replaces the division by it.
struct Greatest {
  uint32_t sum;
  Divisor by_sum;
};

// What the threads of a block share.
struct SaliencyBlock {
  int32_t height, width, channels;
  Divisor by_width;
  uint32_t* integral;     // (H + 1, W + 1): sum of all pixels above and to the left
  uint32_t* sums;         // (H, W): brighter in the low half of each word, darker in the high one
  uint8_t *grey, *other;  // (H, W) each
  uint8_t* map;           // (H, W), flipped left to right if `mirrored`; null if it is not wanted
  bool mirrored;
  uint64_t* found;     // of each thread of the block: its greatest sums, or its peak
  Greatest* greatest;  // two: of the brighter ones and of the darker ones
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
  b->by_width = divisor_of(static_cast<uint32_t>(b->width));
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
  const uint32_t row = divide(pixel, b.by_width) * static_cast<uint32_t>(b.width);
  return row + (static_cast<uint32_t>(b.width) - 1u - (pixel - row));
}

// Calls take(y, x, rows) for strips of kRows rows of each column; the last one may have fewer.
template <int32_t kRows, typename Take>
MSDA_FN void each_strip(const SaliencyBlock& b, BlockThread me, Take take) {
  const uint32_t strips = (static_cast<uint32_t>(b.height) + kRows - 1u) / kRows;
  each_item(me, strips, b.width, b.by_width, [&](uint32_t strip, uint32_t x) {
    const int32_t y = static_cast<int32_t>(strip) * kRows;
    take(y, static_cast<int32_t>(x), least(kRows, b.height - y));
  });
}

template <typename In>
MSDA_FN void phase_grey(const SaliencyBlock& b, const In* image, BlockThread me) {
  const In* at = image + int64_t{me.thread} * b.channels;
  const int64_t step = int64_t{me.threads} * b.channels;
  for (uint32_t i = me.thread; i < pixels_of(b); i += me.threads, at += step)
    b.grey[i] = grey_at(at, 0, b.channels);
}

// Goes down the columns, so that each row is weighted once.
MSDA_FN void phase_smooth(const SaliencyBlock& b, uint8_t* to, const uint8_t* from,
                          BlockThread me) {
  constexpr int32_t kRows = 16;
  each_strip<kRows>(b, me, [&](int32_t y, int32_t x, int32_t rows) {
    const int64_t width = b.width, before = reflected(x - 1, b.width) - x;
    const int64_t after = reflected(x + 1, b.width) - x, last = b.height - 1;
    const auto row_at = [&](const uint8_t* at) { return weighted(at[before], *at, at[after]); };
    const uint8_t* at = from + y * width + x;
    uint8_t* out = to + y * width + x;
    int32_t above = row_at(y > 0 ? at - width : last > 0 ? at + width : at), middle = row_at(at);
#pragma unroll 4
    for (int32_t i = 0; i < rows; ++i, out += width) {
      at += y + i < last ? width : last > 0 ? -width : 0;
      const int32_t below = row_at(at);
      *out = smoothed(above, middle, below);
      above = middle, middle = below;
    }
  });
}

// Rows are added up in runs of so many pixels: first each run on its own, then from the sum of the
// runs before it.
constexpr uint32_t kRun = 16;
MSDA_FN uint32_t runs_of(const SaliencyBlock& b) {
  return (static_cast<uint32_t>(b.width) + kRun - 1u) / kRun;
}

// Calls take(y, run) for each run.
template <typename Take>
MSDA_FN void each_run(const SaliencyBlock& b, BlockThread me, Take take) {
  each_item(me, b.height, runs_of(b), divisor_of(runs_of(b)), take);
}

// Calls take(x, value) for the pixels of a run.
template <typename Take>
MSDA_FN void each_of_run(const SaliencyBlock& b, uint32_t y, uint32_t run, Take take) {
  const uint32_t first = run * kRun, left = static_cast<uint32_t>(b.width) - first;
  const uint8_t* grey = b.grey + (y * static_cast<uint32_t>(b.width) + first);
  if (left >= kRun) {
#pragma unroll
    for (uint32_t x = 0; x < kRun; ++x) take(x, uint32_t{grey[x]});
  } else {
    for (uint32_t x = 0; x < left; ++x) take(x, uint32_t{grey[x]});
  }
}

MSDA_FN void phase_runs(const SaliencyBlock& b, BlockThread me) {
  each_run(b, me, [&](uint32_t y, uint32_t run) {
    uint32_t sum = 0;
    each_of_run(b, y, run, [&](uint32_t, uint32_t value) { sum += value; });
    b.sums[y * runs_of(b) + run] = sum;
  });
}

// Sums along each row, below an empty first row and behind an empty first column.
MSDA_FN void phase_row_sums(const SaliencyBlock& b, BlockThread me) {
  each_run(b, me, [&](uint32_t y, uint32_t run) {
    const uint32_t* sums = b.sums + y * runs_of(b);
    uint32_t* row = b.integral + (row_of_corners(b, static_cast<int32_t>(y) + 1) + run * kRun);
    uint32_t sum = 0;
    for (uint32_t k = 0; k < run; ++k) sum += sums[k];
    if (run == 0) row[0] = 0;
    each_of_run(b, y, run, [&](uint32_t x, uint32_t value) { row[x + 1u] = sum += value; });
  });
  for (int32_t x = me.thread; x <= b.width; x += me.threads) b.integral[x] = 0;
}

// Sums down each column, kRows rows at a time, so that a GPU has that many loads under way.
MSDA_FN void phase_column_sums(const SaliencyBlock& b, BlockThread me) {
  constexpr int32_t kRows = 8;
  const uint32_t step = static_cast<uint32_t>(b.width) + 1u;
  for (uint32_t x = me.thread; x < step; x += me.threads) {
    uint32_t sum = 0, *at = b.integral + step + x;
    int32_t left = b.height;
    for (; left >= kRows; left -= kRows) {
      uint32_t row[kRows];
#pragma unroll
      for (int32_t k = 0; k < kRows; ++k) row[k] = at[k * int64_t{step}];
#pragma unroll
      for (int32_t k = 0; k < kRows; ++k, at += step) *at = sum += row[k];
    }
    for (; left > 0; --left, at += step) *at = sum += *at;
  }
}

MSDA_FN uint64_t both_greatest(uint64_t a, uint64_t b) {
  const uint32_t low_a = static_cast<uint32_t>(a), low_b = static_cast<uint32_t>(b);
  const uint32_t high_a = static_cast<uint32_t>(a >> 32), high_b = static_cast<uint32_t>(b >> 32);
  return uint64_t{high_a > high_b ? high_a : high_b} << 32 | (low_a > low_b ? low_a : low_b);
}

// Sums of the contrasts of kRows pixels below each other, in the two halves of each word.
template <int32_t kRows>
MSDA_FN void add_contrasts(const SaliencyBlock& b, int32_t y, int32_t x, uint32_t* sums) {
  float values[kRows];
#pragma unroll
  for (int32_t i = 0; i < kRows; ++i) {
    values[i] = b.grey[static_cast<uint32_t>(least(y + i, b.height - 1)) * b.width + x];
    sums[i] = 0;
  }
#pragma unroll 1
  for (int32_t k = 0; k < kSquares; ++k) {
    const int32_t reach = square_reach(k);
    const int32_t x0 = greatest(x - reach + 1, 0), x1 = least(x + reach + 1, b.width);
    const uint32_t left = x0, right = x1;
    const float across = static_cast<float>(x1 - x0);
#pragma unroll
    for (int32_t i = 0; i < kRows; ++i) {
      const int32_t row = least(y + i, b.height - 1);
      const int32_t y0 = greatest(row - reach + 1, 0), y1 = least(row + reach + 1, b.height);
      const uint32_t above = row_of_corners(b, y0), below = row_of_corners(b, y1);
      const uint32_t* corner = b.integral;
      const uint32_t sum = (corner[below + right] - corner[above + right]) -
                           (corner[below + left] - corner[above + left]);
      const int32_t found = contrast(values[i], static_cast<float>(static_cast<int32_t>(sum)),
                                     static_cast<float>(y1 - y0) * across);
      sums[i] += static_cast<uint32_t>(found > 0 ? found : found * -65536);
    }
  }
}

MSDA_FN void phase_contrasts(const SaliencyBlock& b, BlockThread me) {
  constexpr int32_t kRows = 4;
  uint32_t brighter = 0, darker = 0;
  each_strip<kRows>(b, me, [&](int32_t y, int32_t x, int32_t rows) {
    uint32_t sums[kRows];
    add_contrasts<kRows>(b, y, x, sums);
#pragma unroll
    for (int32_t i = 0; i < kRows; ++i) {
      if (i < rows) b.sums[static_cast<uint32_t>(y + i) * b.width + x] = sums[i];
      brighter = brighter > (sums[i] & 0xFFFFu) ? brighter : sums[i] & 0xFFFFu;
      darker = darker > sums[i] >> 16 ? darker : sums[i] >> 16;
    }
  });
  b.found[me.thread] = uint64_t{darker} << 32 | brighter;
}

// What the threads have found is folded into that of the first kFolds threads.
constexpr int32_t kFolds = 32;
template <typename Combine>
MSDA_FN void fold(const SaliencyBlock& b, Combine combine, BlockThread me) {
  for (int32_t i = me.thread + kFolds; me.thread < kFolds && i < me.threads; i += kFolds)
    b.found[me.thread] = combine(b.found[me.thread], b.found[i]);
}
template <typename Combine>
MSDA_FN uint64_t folded(const SaliencyBlock& b, Combine combine, BlockThread me) {
  uint64_t all = 0;
  for (int32_t i = 0; i < least(kFolds, me.threads); ++i) all = combine(all, b.found[i]);
  return all;
}

MSDA_FN void phase_fold_sums(const SaliencyBlock& b, BlockThread me) { fold(b, both_greatest, me); }

// One thread for each of the two.
MSDA_FN void phase_greatest(const SaliencyBlock& b, BlockThread me) {
  for (int32_t i = me.thread; i < 2; i += me.threads) {
    const uint32_t sum = static_cast<uint32_t>(folded(b, both_greatest, me) >> 32 * i);
    b.greatest[i] = {sum, divisor_of(sum == 0 ? 1 : sum)};
  }
}

// share_of() without a division.
MSDA_FN int32_t share_of(uint32_t sum, const Greatest& most) {
  return static_cast<int32_t>(divide(255 * sum, most.by_sum));  // 0 if all sums are
}

MSDA_FN uint64_t greater_order(uint64_t a, uint64_t b) { return a > b ? a : b; }

// The map is the sum of both shares; where that is more than a byte holds, 255.  The peak is that
// of the image as it lies in memory.
MSDA_FN void phase_map(const SaliencyBlock& b, BlockThread me) {
  const Greatest brighter = b.greatest[0], darker = b.greatest[1];
  int32_t most = -1;
  uint32_t first = 0;
  for (uint32_t i = me.thread; i < pixels_of(b); i += me.threads) {
    const uint32_t sums = b.sums[i];
    const int32_t salient =
        least(share_of(sums & 0xFFFFu, brighter) + share_of(sums >> 16, darker), 255);
    if (b.map) b.map[b.mirrored ? flipped(b, i) : i] = static_cast<uint8_t>(salient);
    if (salient > most) most = salient, first = i;
  }
  b.found[me.thread] = most < 0 ? 0 : peak_order(most, first);
}

MSDA_FN void phase_fold_peaks(const SaliencyBlock& b, BlockThread me) {
  fold(b, greater_order, me);
}

// Writes y and x of the peak; one thread does it.
MSDA_FN void phase_peak(const SaliencyBlock& b, int32_t* out, BlockThread me) {
  if (me.thread != 0) return;
  const uint32_t pixel = static_cast<uint32_t>(pixel_of_order(folded(b, greater_order, me)));
  const uint32_t at = b.mirrored ? flipped(b, pixel) : pixel, y = divide(at, b.by_width);
  out[0] = static_cast<int32_t>(y);
  out[1] = static_cast<int32_t>(at - y * static_cast<uint32_t>(b.width));
}

}  // namespace msda
