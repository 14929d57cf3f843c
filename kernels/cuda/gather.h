// Groups of pixels that blend_pixels() cannot make: in kResizeMix's box pixels come from other
// places, in kCutout's square they become 0, and a record may have three or four sources.
// blend_group() takes a group of any kind.
#pragma once
#include "cuda/group.h"

namespace msda {

// Whether a group has such pixels.
template <int32_t kPixels>
MSDA_FN bool gathers(const Plan& p, int32_t y, int32_t x) {
  if (p.sources > 2) return true;
  return may_gather(p) && in_interval(y, p.y0, p.y1, p.height) && x < p.x1 && x + kPixels > p.x0;
}

// Gathers a group of kResizeMix's partner, pixel by pixel: in the box those that it shrinks.
template <typename H>
MSDA_FN void gather(H* h, const MsdaGpuBlend& b, const Plan& p, int32_t y, int32_t x) {
  using In = typename H::In;
  const In* pixels = sample_at<const In>(b.ins, p.source[1]);
  const bool mirrored = b.mirror && b.mirror[p.source[1]];
#pragma unroll 1
  for (int32_t j = H::kPixels - 1; j >= 0; --j) {  // each pixel pushes those after it into place
    int32_t row = y, column = x + j < b.width ? x + j : b.width - 1;
    find_shrunk(p, &row, &column);
    if (mirrored) column = b.width - 1 - column;
    push_values<H::kWords, H::kChannels>(h->words,
                                         pixels + (int64_t{row} * b.width + column) * H::kChannels);
  }
}

// Makes such a group from its sources, one after the other.
template <typename H, typename Out>
MSDA_FN void blend_gathered(const MsdaGpuBlend& b, int32_t i, int32_t y, int32_t x) {
  const Plan& p = b.plans[i];
  const bool in_rows = in_interval(y, p.y0, p.y1, p.height);
  const auto is_inside = [&](int32_t j) {
    return in_rows && in_interval(x + j, p.x0, p.x1, p.width);
  };
  float mixed[H::kValues];
  int32_t first = 0;
  while (p.sources > 2 && first < p.sources - 1 && p.weight[first] == 0.0f) ++first;
  H base, next;
#pragma unroll 1
  for (int32_t k = first; k < p.sources; ++k) {
    const float weight = p.weight[k];
    if (k > first && p.sources > 2 && weight == 0.0f) continue;
    drop(&next);
    if (k == 1 && shrinks(p))
      gather(&next, b, p, y, x);
    else
      hold(&next, b, p.source[k], y, x);
    if (k == first) {
      base = next;
#pragma unroll
      for (int32_t v = 0; v < H::kValues; ++v) mixed[v] = held_value(base, 0, v);
    } else if (p.sources == 2) {
#pragma unroll
      for (int32_t v = 0; v < H::kValues; ++v)
        mixed[v] = mix_two(mixed[v], held_value(next, 0, v),
                           is_inside(v / H::kChannels) ? p.inside : p.outside, typename H::In{});
    } else {
#pragma unroll
      for (int32_t v = 0; v < H::kValues; ++v)
        mixed[v] = mix_further(mixed[v], held_value(base, 0, v), held_value(next, 0, v), weight);
    }
  }
  store_group<H, Out>(
      b, i, y, x, [&](int32_t j, int32_t c) { return mixed[j * H::kChannels + c]; },
      [&](int32_t j) { return erases(p) && is_inside(j); });
}

// Makes pixels x, x + 1, ... of row y of the outputs first, first + 1, ..., which share their
// sources.  In place these are `first` and the output it is paired with, each of which reads what
// the other one overwrites.  Without kGathers no record may be one of may_gather().
template <typename H, typename Out, bool kGathers>
MSDA_FN void blend_group(const MsdaGpuBlend& b, int32_t first, int32_t y, int32_t x) {
  const int32_t other = b.pairs ? b.pairs[first] : first;
  if (other < first) return;  // done by the thread that has the other one
  const bool paired = other > first;
  const int32_t outputs = paired ? 2 : b.interpolations, step = paired ? other - first : 1;
  H own, partner;
  drop(&own), drop(&partner);
  bool any_gathers = false;
  for (int32_t k = 0; k < outputs; ++k) {
    const int32_t i = first + k * step;
    const Plan& p = b.plans[i];
    if (kGathers && gathers<H::kPixels>(p, y, x))
      any_gathers = true;
    else
      blend_pixels<H, Out>(b, i, &own, &partner, paired ? i : p.source[0],
                           paired ? (k ? first : other) : p.source[1], paired, y, x);
    if (!paired) continue;
    const H swapped = own;
    own = partner, partner = swapped;
  }
  if constexpr (!kGathers) return;
  if (!any_gathers) return;
  // Sums take more registers than bytes, so where there are many pixels, half are made at a time.
  using Part = Held<typename H::In, H::kChannels, (H::kPixels > 4 ? H::kPixels / 2 : 4)>;
  for (int32_t k = 0; k < outputs; ++k) {
    const int32_t i = first + k * step;
    if (!gathers<H::kPixels>(b.plans[i], y, x)) continue;
#pragma unroll 1
    for (int32_t part = 0; part < H::kPixels; part += Part::kPixels)
      if (x + part < b.width) blend_gathered<Part, Out>(b, i, y, x + part);
  }
}

}  // namespace msda
