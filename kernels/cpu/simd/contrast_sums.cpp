// Intensity, integral image and contrasts of the saliency filter, for one instruction set
// (kernels.h).  Every value is computed by the expressions of msda/saliency.h.
#include "cpu/simd/kernels.h"

namespace msda {
namespace {

template <typename In>
void fill_grey(uint8_t* __restrict grey, const In* image, int64_t pixels, int32_t channels) {
  if (channels == 1) {
    for (int64_t i = 0; i < pixels; ++i) grey[i] = grey_at(image, i, 1);
  } else {
    for (int64_t i = 0; i < pixels; ++i) grey[i] = grey_at(image, i, 3);
  }
}

void smooth_row(uint8_t* __restrict out, const uint8_t* above, const uint8_t* at,
                const uint8_t* below, int32_t* __restrict sums, int32_t width) {
  for (int32_t x = 0; x < width; ++x) sums[x] = weighted(above[x], at[x], below[x]);
  for (int32_t x = 1; x + 1 < width; ++x) out[x] = smoothed(sums[x - 1], sums[x], sums[x + 1]);
  for (int32_t x = 0; x < width; x += greatest(width - 1, 1))
    out[x] = smoothed(sums[reflected(x - 1, width)], sums[x], sums[reflected(x + 1, width)]);
}

void smooth(ContrastScratch s, uint8_t* to, const uint8_t* from) {
  const auto row = [&](int32_t y) { return from + int64_t{reflected(y, s.height)} * s.width; };
  for (int32_t y = 0; y < s.height; ++y)
    smooth_row(to + int64_t{y} * s.width, row(y - 1), row(y), row(y + 1), s.row_brighter, s.width);
}

void integrate(ContrastScratch s) {
  for (int32_t x = 0; x <= s.width; ++x) s.integral[x] = 0;
  for (int32_t y = 0; y < s.height; ++y) {
    const uint8_t* grey = s.grey + int64_t{y} * s.width;
    const uint32_t* above = s.integral + int64_t{y} * (s.width + 1);
    uint32_t* row = s.integral + int64_t{y + 1} * (s.width + 1);
    uint32_t sum = row[0] = 0;
    for (int32_t x = 0; x < s.width; ++x) row[x + 1] = above[x + 1] + (sum += grey[x]);
  }
}

void measure_columns(ContrastScratch s) {
  for (int32_t k = 0; k < kSquares; ++k)
    for (int32_t x = 0; x < s.width; ++x)
      s.columns[int64_t{k} * s.width + x] = static_cast<float>(
          least(x + square_reach(k) + 1, s.width) - greatest(x - square_reach(k) + 1, 0));
}

// Adds up the columns over the rows [y0, y1), from the left.  Entry reach + x is the sum of the
// columns before x; beyond either border, the border's value is repeated.
void fill_band(ContrastScratch s, int32_t reach, int32_t y0, int32_t y1) {
  const uint32_t* above = s.integral + int64_t{y0} * (s.width + 1);
  const uint32_t* below = s.integral + int64_t{y1} * (s.width + 1);
  uint32_t* middle = s.band + reach;
  for (int32_t x = 0; x < reach; ++x) s.band[x] = 0;
  for (int32_t x = 0; x <= s.width; ++x) middle[x] = below[x] - above[x];
  const uint32_t all = middle[s.width];
  for (int32_t x = 1; x <= reach; ++x) middle[s.width + x] = all;
}

void add_contrasts(int32_t* __restrict brighter, int32_t* __restrict darker,
                   const uint8_t* __restrict grey, const uint32_t* __restrict band,
                   const float* __restrict columns, float rows, int32_t reach, int32_t width) {
  const uint32_t *from = band + 1, *to = band + 2 * reach + 1;
  for (int32_t x = 0; x < width; ++x) {
    const int32_t found =
        contrast(static_cast<float>(grey[x]),
                 static_cast<float>(static_cast<int32_t>(to[x] - from[x])), rows * columns[x]);
    brighter[x] += greatest(found, 0);
    darker[x] += greatest(-found, 0);
  }
}

// Stores a row of sums and returns its greatest.
int32_t store_row(uint16_t* __restrict out, const int32_t* __restrict sums, int32_t width) {
  int32_t most = 0;
  for (int32_t x = 0; x < width; ++x) out[x] = static_cast<uint16_t>(sums[x]);
  for (int32_t x = 0; x < width; ++x) most = sums[x] > most ? sums[x] : most;
  return most;
}

}  // namespace
}  // namespace msda

namespace msda::MSDA_ISA {

// Here and above the scratch is copied.  As far as the compiler knows, a store could otherwise
// change one of its members, and no loop would be vectorised.
void contrast_sums(ContrastScratch& scratch, const uint8_t* bytes, const float* floats,
                   int32_t channels) {
  const ContrastScratch s = scratch;
  const int64_t pixels = int64_t{s.height} * s.width;
  if (bytes)
    fill_grey(s.grey, bytes, pixels, channels);
  else
    fill_grey(s.grey, floats, pixels, channels);
  smooth(s, s.other, s.grey);
  smooth(s, s.grey, s.other);
  integrate(s);
  measure_columns(s);
  int32_t most_brighter = 0, most_darker = 0;
  for (int32_t y = 0; y < s.height; ++y) {
    const int64_t at = int64_t{y} * s.width;
    for (int32_t x = 0; x < s.width; ++x) s.row_brighter[x] = s.row_darker[x] = 0;
    for (int32_t k = 0; k < kSquares; ++k) {
      const int32_t reach = square_reach(k);
      const int32_t y0 = greatest(y - reach + 1, 0), y1 = least(y + reach + 1, s.height);
      fill_band(s, reach, y0, y1);
      add_contrasts(s.row_brighter, s.row_darker, s.grey + at, s.band,
                    s.columns + int64_t{k} * s.width, static_cast<float>(y1 - y0), reach, s.width);
    }
    most_brighter = greatest(most_brighter, store_row(s.brighter + at, s.row_brighter, s.width));
    most_darker = greatest(most_darker, store_row(s.darker + at, s.row_darker, s.width));
  }
  scratch.most_brighter = most_brighter;
  scratch.most_darker = most_darker;
}

}  // namespace msda::MSDA_ISA
