// What one thread blends at a time: neighbouring pixels of one row, which fill one 16-byte store of
// each plane.  The values are those of blend_value, by the same expressions.
#pragma once
#include "cuda/arguments.h"
#include "cuda/window.h"

namespace msda {

template <typename T>
MSDA_FN T* sample_at(const MsdaSamples& s, int32_t i) {
  return reinterpret_cast<T*>(s.each ? static_cast<char*>(s.each[i])
                                     : s.first + static_cast<int64_t>(i) * s.stride);
}

MSDA_FN const void* mask_at(const MsdaMasks& masks, const Plan& p, int32_t i) {
  if (!has_mask(p)) return nullptr;
  return masks.first + int64_t{masks.owners ? masks.owners[i] : i} * masks.stride;
}

// Bits `pixel` .. `pixel` + `count` - 1 of a mask, at most 32.
MSDA_FN uint32_t mask_bits(const void* mask, int64_t pixel, int32_t count) {
  const uint32_t* words = static_cast<const uint32_t*>(mask) + (pixel >> 5);
  const int32_t first = static_cast<int32_t>(pixel & 31);
  const uint64_t next = first + count > 32 ? words[1] : 0;
  return static_cast<uint32_t>((next << 32 | words[0]) >> first);
}

// own_weight of kPixels pixels of a row, from x on.  Those past the end of the row may be anything.
template <int32_t kPixels>
MSDA_FN void own_weights(float* weights, const Plan& p, const void* mask, int32_t row, int32_t x) {
  const int32_t left = p.width - x, count = left < kPixels ? left : kPixels;
  const int64_t first = static_cast<int64_t>(row) * p.width + x;
  switch (weight_kind(p)) {
    case WeightKind::kOne: {
      const float weight = one_weight(p);
#pragma unroll
      for (int32_t j = 0; j < kPixels; ++j) weights[j] = weight;
      break;
    }
    case WeightKind::kBox: {
      const bool in_row = in_interval(row, p.y0, p.y1, p.height);
#pragma unroll
      for (int32_t j = 0; j < kPixels; ++j)
        weights[j] = in_row && in_interval(x + j, p.x0, p.x1, p.width) ? p.inside : p.outside;
      break;
    }
    case WeightKind::kBump: {
      const float along_y = bump(p.falloff[1], row - p.point[1]);
#pragma unroll
      for (int32_t j = 0; j < kPixels; ++j)
        weights[j] = gaussian_weight(p, along_y, bump(p.falloff[2], x + j - p.point[2]));
      break;
    }
    case WeightKind::kBits: {
      const uint32_t bits = mask_bits(mask, first, count);
#pragma unroll
      for (int32_t j = 0; j < kPixels; ++j) weights[j] = static_cast<float>((bits >> j) & 1u);
      break;
    }
    case WeightKind::kFloats:
#pragma unroll
      for (int32_t j = 0; j < kPixels; ++j)
        weights[j] = j < count ? static_cast<const float*>(mask)[first + j] : 1.0f;
      break;
  }
}

// Neighbouring pixels of one source from left to right, with the channels of each together.
template <typename Value, int32_t channels, int32_t pixels>
struct Held {
  using In = Value;
  static constexpr int32_t kChannels = channels, kPixels = pixels, kValues = channels * pixels;
  static constexpr int32_t kWords = kValues * static_cast<int32_t>(sizeof(In)) / 4;
  uint32_t words[kWords];
  bool held;
};

template <typename H>
MSDA_FN void drop(H* h) {
  h->held = false;
#pragma unroll
  for (int32_t i = 0; i < H::kWords; ++i) h->words[i] = 0;
}

template <typename H>
MSDA_FN float held_value(const H& h, int32_t j, int32_t c) {
  return window_value(h.words, j * H::kChannels + c, typename H::In{});
}

// Byte `at` of the pixels in reverse order.
template <typename H>
MSDA_FN uint32_t opposite_byte(const H& h, int32_t at) {
  constexpr int32_t kBytes = H::kChannels * static_cast<int32_t>(sizeof(typename H::In));
  const int32_t from = (H::kPixels - 1 - at / kBytes) * kBytes + at % kBytes;
  return h.words[from / 4] >> (8 * (from % 4)) & 0xFFu;
}

template <typename H>
MSDA_FN uint32_t opposite_word(const H& h, int32_t i, uint8_t) {
  return opposite_byte(h, 4 * i) | opposite_byte(h, 4 * i + 1) << 8 |
         opposite_byte(h, 4 * i + 2) << 16 | opposite_byte(h, 4 * i + 3) << 24;
}

template <typename H>
MSDA_FN uint32_t opposite_word(const H& h, int32_t i, float) {
  return h.words[(H::kPixels - 1 - i / H::kChannels) * H::kChannels + i % H::kChannels];
}

// Reverses the order of the pixels, for a sample that is mirrored.
template <typename H>
MSDA_FN void turn_round(H* h) {
  const H old = *h;
#pragma unroll
  for (int32_t i = 0; i < H::kWords; ++i) h->words[i] = opposite_word(old, i, typename H::In{});
}

// Loads pixels x, x + 1, ... of row y of a sample, if they are not held yet.
template <typename H>
MSDA_FN void hold(H* h, const MsdaGpuBlend& b, int32_t sample, int32_t y, int32_t x) {
  if (h->held) return;
  h->held = true;
  const bool mirrored = b.mirror && b.mirror[sample];
  const int64_t column = mirrored ? int64_t{b.width} - H::kPixels - x : x;
  const int64_t pixel = H::kChannels * static_cast<int64_t>(sizeof(typename H::In));
  load_window<H::kWords>(h->words, sample_at<const char>(b.ins, sample), pixel * b.height * b.width,
                         pixel * (int64_t{y} * b.width + column));
  if (mirrored) turn_round(h);
}

// Makes one value of an output, of any number of channels.
template <typename In, typename Out>
MSDA_FN void blend_one(const MsdaGpuBlend& b, int32_t i, int32_t y, int32_t x, int32_t c) {
  const Plan& p = b.plans[i];
  const In* sources[kMaxSources] = {};
  bool mirrored[kMaxSources] = {};
#pragma unroll
  for (int32_t k = 0; k < kMaxSources; ++k) {
    if (k >= p.sources) break;
    sources[k] = sample_at<const In>(b.ins, p.source[k]);
    mirrored[k] = b.mirror && b.mirror[p.source[k]];
  }
  float v = blend_value(sources, mirrored, p, mask_at(b.fields, p, i), y, x, c, b.channels);
  if (b.scale) v = normalise(v, b.scale[c], b.shift[c]);
  if (erases(p) && in_box(p, y, x)) v = 0.0f;
  const int64_t pixel = int64_t{y} * b.width + x;
  const int64_t at = b.chw ? int64_t{c} * b.height * b.width + pixel : pixel * b.channels + c;
  store(sample_at<Out>(b.outs, i) + at, v);
}

// Stores the pixels of a group.  mixed(j, c) is channel c of pixel j before it is normalised, and
// pixels for which is_erased(j) holds become 0.
template <typename H, typename Out, typename Mixed, typename IsErased>
MSDA_FN void store_group(const MsdaGpuBlend& b, int32_t i, int32_t y, int32_t x, Mixed mixed,
                         IsErased is_erased) {
  constexpr int32_t kRun = H::kPixels;
  float scale[H::kChannels], shift[H::kChannels];
  if (b.scale)
#pragma unroll
    for (int32_t c = 0; c < H::kChannels; ++c) scale[c] = b.scale[c], shift[c] = b.shift[c];
  const auto value = [&](int32_t j, int32_t c) {
    if (is_erased(j)) return 0.0f;
    const float v = mixed(j, c);
    return b.scale ? normalise(v, scale[c], shift[c]) : v;
  };
  const int32_t left = b.width - x, count = left < H::kPixels ? left : H::kPixels;
  Out* out = sample_at<Out>(b.outs, i);
  if (b.chw) {
#pragma unroll
    for (int32_t c = 0; c < H::kChannels; ++c)
      store_run<kRun>(out + ((int64_t{c} * b.height + y) * b.width + x), count,
                      [&](int32_t j) { return value(j, c); });
    return;
  }
  out += (int64_t{y} * b.width + x) * H::kChannels;
#pragma unroll
  for (int32_t r = 0; r < H::kChannels; ++r)
    store_run<kRun>(out + r * kRun, count * H::kChannels - r * kRun, [&](int32_t k) {
      return value((r * kRun + k) / H::kChannels, (r * kRun + k) % H::kChannels);
    });
}

// Makes pixels x, x + 1, ... of row y of output i.  `own` and `partner` stay held for the next
// output.  With `both` the two are loaded whether this output needs them or not.
template <typename H, typename Out>
MSDA_FN void blend_pixels(const MsdaGpuBlend& b, int32_t i, H* own, H* partner, int32_t own_sample,
                          int32_t partner_sample, bool both, int32_t y, int32_t x) {
  const Plan& p = b.plans[i];
  float weights[H::kPixels];
#pragma unroll
  for (int32_t j = 0; j < H::kPixels; ++j) weights[j] = 1.0f;
  if (p.sources == 2) own_weights<H::kPixels>(weights, p, mask_at(b.fields, p, i), y, x);
  bool reads_own = both, reads_partner = both;
#pragma unroll
  for (int32_t j = 0; j < H::kPixels; ++j) {
    reads_own |= weights[j] != 0.0f;
    reads_partner |= weights[j] != 1.0f;
  }
  if (reads_own) hold(own, b, own_sample, y, x);
  if (reads_partner) hold(partner, b, partner_sample, y, x);
  const H &one = *own, &other = *partner;
  store_group<H, Out>(
      b, i, y, x,
      [&one, &other, &weights](int32_t j, int32_t c) {
        return mix_two(held_value(one, j, c), held_value(other, j, c), weights[j],
                       typename H::In{});
      },
      [](int32_t) { return false; });
}

}  // namespace msda
