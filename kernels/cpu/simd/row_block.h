// A block of rows of one output and of its sources, and how it is mixed into floats in HWC order.
#pragma once
#include <string.h>

#include "cpu/api.h"
#include "cpu/simd/rgb_vector.h"
#include "msda/blend.h"

namespace msda {
namespace {

template <typename In>
void copy_values(float* __restrict mixed, const In* __restrict source, int32_t n) {
  for (int32_t i = 0; i < n; ++i) mixed[i] = static_cast<float>(source[i]);
}

template <typename In>
void mix_values(float* __restrict mixed, const In* own, const In* partner, float w, int32_t n) {
  if (w == 1.0f) return copy_values(mixed, own, n);
  if (w == 0.0f) return copy_values(mixed, partner, n);
  for (int32_t i = 0; i < n; ++i)
    mixed[i] = mix_two(static_cast<float>(own[i]), static_cast<float>(partner[i]), w, In{});
}

// mix_many for a row, source by source.
template <typename In>
void mix_many_values(float* __restrict mixed, const In* const* sources, const Plan& p, int32_t n) {
  int32_t base = 0;
  while (base < p.sources - 1 && p.weight[base] == 0.0f) ++base;
  const In* __restrict first = sources[base];
  copy_values(mixed, first, n);
  for (int32_t k = base + 1; k < p.sources; ++k) {
    const float w = p.weight[k];
    const In* __restrict source = sources[k];
    for (int32_t i = 0; w != 0.0f && i < n; ++i)
      mixed[i] = fmaf(w, static_cast<float>(source[i]) - static_cast<float>(first[i]), mixed[i]);
  }
}

template <typename In>
void mix_weighted(float* __restrict mixed, const In* own, const In* partner,
                  const float* __restrict weights, int32_t n) {
  for (int32_t i = 0; i < n; ++i)
    mixed[i] =
        mix_two(static_cast<float>(own[i]), static_cast<float>(partner[i]), weights[i], In{});
}

// Writes bits as weights.
void ones_and_zeros(float* weights, const Bits& bits, int32_t n) {
  int32_t x = 0;
  for (; x + kLanes <= n; x += kLanes)
    put(weights + x, (Floats)chosen(bits.bits(x), (Ints)splat(1.0f), Ints{}), false);
  for (; x < n; ++x) weights[x] = bits.own_at(x) ? 1.0f : 0.0f;
}

// The weight of each value of a row from that of each pixel.
void spread(float* __restrict values, const float* __restrict pixels, int32_t width,
            int32_t channels) {
  if (channels == 3) {
    for (int32_t x = 0; x < width; ++x)
      values[3 * x] = values[3 * x + 1] = values[3 * x + 2] = pixels[x];
    return;
  }
  for (int32_t x = 0; x < width; ++x)
    for (int32_t c = 0; c < channels; ++c) values[x * channels + c] = pixels[x];
}

// One axis of a Gaussian bump, for n pixels.  `flatten` inlines all of bump(), so that the loop is
// vectorised.
__attribute__((flatten)) void bumps(float* __restrict along, float falloff, int32_t point,
                                    int32_t n) {
  for (int32_t i = 0; i < n; ++i) along[i] = bump(falloff, i - point);
}

// Makes values below 2^-62 zero.  The product of two others is then never subnormal; such products
// cost a hundred times as much.
void drop_tiny(float* along, int32_t n) {
  for (int32_t i = 0; i < n; ++i) along[i] = along[i] < 0x1p-62f ? 0.0f : along[i];
}

// A part of a row on which the own weight is one number.
struct Run {
  int32_t begin, end;
  float weight;
};

// Cuts row y of a record with a box into runs, and returns how many: at most 3, since a wrapped box
// only leaves the middle out.
int32_t runs_of_row(Run* runs, const Plan& p, int32_t y) {
  if (!in_interval(y, p.y0, p.y1, p.height)) {
    runs[0] = {0, p.width, p.outside};
    return 1;
  }
  const bool wraps = p.x1 > p.width;
  const int32_t first = wraps ? p.x1 - p.width : p.x0, second = wraps ? p.x0 : p.x1;
  const float outer = wraps ? p.inside : p.outside, middle = wraps ? p.outside : p.inside;
  runs[0] = {0, first, outer};
  runs[1] = {first, second, middle};
  runs[2] = {second, p.width, outer};
  return 3;
}

// Reverses the pixels of a row, those from `done` on.  The row is read forwards, because reading
// backwards defeats the prefetcher and takes three times as long.
template <typename In>
void mirror_rest(In* __restrict out, const In* __restrict row, int32_t width, int32_t channels,
                 int32_t done) {
  for (int32_t x = done; x < width; ++x)
    for (int32_t c = 0; c < channels; ++c)
      out[(width - 1 - x) * channels + c] = row[x * channels + c];
}

void mirror_row(float* out, const float* row, int32_t width, int32_t channels) {
  mirror_rest(out, row, width, channels, 0);
}

void mirror_row(uint8_t* out, const uint8_t* row, int32_t width, int32_t channels) {
  int32_t done = 0;
  if (channels == 3)
    for (; done + 16 <= width; done += 16)
      reverse_rgb(out + (width - done - 16) * 3, row + done * 3);
  mirror_rest(out, row, width, channels, done);
}

// Finds, for each column of ResizeMix's box, where in a row of the partner its values lie.
void columns_shrunk(int32_t* columns, const Plan& p, int32_t channels, bool mirrored) {
  for (int32_t x = p.x0; x < p.x1; ++x) {
    const int32_t column = shrunk_from(x, p.x0, p.falloff[2], p.width);
    columns[x - p.x0] = (mirrored ? p.width - 1 - column : column) * channels;
  }
}

// Copies the pixels at n columns of a row of `values` values.  `is_last` says whether the row is
// the last of its image, behind which nothing may be read.
template <typename In>
void gather_pixels(In* __restrict to, const In* __restrict row, int32_t values, bool is_last,
                   const int32_t* columns, int32_t n, int32_t channels) {
  if (channels == 1) {
    for (int32_t x = 0; x < n; ++x) to[x] = row[columns[x]];
    return;
  }
  if (channels == 3) {
    int32_t x = pick_pixels(to, row, values, columns, n);
    // Each copies a byte more than its pixel, which the next pixel overwrites.
    if (sizeof(In) == 1 && !is_last)
#pragma GCC unroll 4
      for (; x < n - 1; ++x) memcpy(to + 3 * x, row + columns[x], 4);
    for (; x < n; ++x) memcpy(to + 3 * x, row + columns[x], 3 * sizeof(In));
    return;
  }
  for (int32_t x = 0; x < n; ++x)
    for (int32_t c = 0; c < channels; ++c) to[x * channels + c] = row[columns[x] + c];
}

// A block of rows of one output, and its sources in the order in which the output wants them.
template <typename In>
struct Block {
  const Plan& p;
  WeightKind kind;  // weight_kind(p)
  int32_t y, rows, channels;
  const In* sources[kMaxSources];
  const void* mask;                      // of records that have one
  const float *along_x, *along_y;        // the bump along a row and along a column
  float *pixel_weights, *value_weights;  // room for a row

  int32_t values() const { return rows * p.width * channels; }

  // Whether one own weight holds for the whole block and nothing of it is erased; if so, which.
  bool uniform(float* weight) const {
    if (p.sources > 2) return false;
    if (p.sources == 1) {
      *weight = 1.0f;
      return !erases(p) || misses_box();
    }
    switch (kind) {
      case WeightKind::kOne:
        *weight = one_weight(p);
        return true;
      case WeightKind::kBox:
        *weight = p.outside;
        return misses_box();
      case WeightKind::kBump:
      case WeightKind::kBits:
      case WeightKind::kFloats:
        return false;
    }
    return false;
  }

  // Mixes the block into floats.
  void mix(float* mixed) const {
    if (p.sources == 1) return copy_values(mixed, sources[0], values());
    if (p.sources > 2) return mix_many_values(mixed, sources, p, values());
    const int32_t pitch = p.width * channels;
    switch (kind) {
      case WeightKind::kOne:
        return mix_values(mixed, sources[0], sources[1], one_weight(p), values());
      case WeightKind::kBox:
        for (int32_t r = 0; r < rows; ++r) mix_runs(mixed + r * pitch, r * pitch, y + r);
        return;
      case WeightKind::kBump:
      case WeightKind::kBits:
      case WeightKind::kFloats:
        for (int32_t r = 0; r < rows; ++r) mix_weights(mixed + r * pitch, r * pitch, y + r);
        return;
    }
  }

  // The own weight of each pixel of a row that is mixed from two sources.
  void weights_of_row(float* __restrict weights, int32_t row) const {
    const int64_t first = static_cast<int64_t>(row) * p.width;
    switch (kind) {
      case WeightKind::kOne: {
        const float weight = one_weight(p);
        for (int32_t x = 0; x < p.width; ++x) weights[x] = weight;
        return;
      }
      case WeightKind::kBox: {
        Run runs[3];
        const int32_t count = runs_of_row(runs, p, row);
        for (int32_t k = 0; k < count; ++k)
          for (int32_t x = runs[k].begin; x < runs[k].end; ++x) weights[x] = runs[k].weight;
        return;
      }
      case WeightKind::kBump: {
        const float row_bump = along_y[row];
        for (int32_t x = 0; x < p.width; ++x) weights[x] = gaussian_weight(p, row_bump, along_x[x]);
        return;
      }
      case WeightKind::kBits:
        return ones_and_zeros(weights, {static_cast<const uint32_t*>(mask), first}, p.width);
      case WeightKind::kFloats:
        memcpy(weights, static_cast<const float*>(mask) + first, p.width * sizeof(float));
        return;
    }
  }

 private:
  // Whether no pixel of the block lies in the box.
  bool misses_box() const {
    for (int32_t r = 0; r < rows; ++r)
      if (in_interval(y + r, p.y0, p.y1, p.height)) return p.x0 == p.x1;
    return true;
  }

  void mix_runs(float* mixed, int32_t at, int32_t row) const {
    Run runs[3];
    const int32_t count = runs_of_row(runs, p, row);
    for (int32_t k = 0; k < count; ++k) {
      const int32_t first = runs[k].begin * channels;
      mix_values(mixed + first, sources[0] + at + first, sources[1] + at + first, runs[k].weight,
                 (runs[k].end - runs[k].begin) * channels);
    }
  }

  void mix_weights(float* mixed, int32_t at, int32_t row) const {
    weights_of_row(pixel_weights, row);
    if (channels > 1) spread(value_weights, pixel_weights, p.width, channels);
    const float* own = channels > 1 ? value_weights : pixel_weights;
    mix_weighted(mixed, sources[0] + at, sources[1] + at, own, p.width * channels);
  }
};

}  // namespace
}  // namespace msda
