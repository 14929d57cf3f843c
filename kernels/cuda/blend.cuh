// How a grid makes the outputs of a launch.  Along y it has outputs, and along x their rows: a
// block takes rows side by side and below one another, or a part of a long one, and a thread goes
// down a column of groups.  So no group needs a division, and what is the same in all rows is
// worked out once.
#pragma once
#include "cuda/weights.cuh"

namespace msda {

// Calls make(column, y, pixel) for the groups that this thread has of an output, where column is
// start(x) and the group begins at pixel x of row y, the sample's number `pixel`.
template <typename G, typename Start, typename Make>
__device__ __forceinline__ void each_group(const MsdaGpuBlend& b, Start start, Make make) {
  const uint32_t row = threadIdx.x * b.reciprocal >> 20, first = threadIdx.x - row * b.columns;
  if (row >= b.rows) return;
  const uint32_t width = static_cast<uint32_t>(b.width), height = static_cast<uint32_t>(b.height);
  uint32_t part = 0, block = blockIdx.x, blocks = gridDim.x;
  if (G::kApart)
    block /= G::kChannels, blocks /= G::kChannels;
  else if (b.parts > 1)
    part = block % b.parts, block /= b.parts, blocks /= b.parts;
  const uint32_t x = (part * b.columns + first) * G::kPixels, down = blocks * b.rows;
  if (x >= width) return;
  const auto column = start(static_cast<int32_t>(x));
  uint32_t y = block * b.rows + row, pixel = y * width + x;
#pragma unroll 1
  for (; y < height; y += down, pixel += down * width) make(column, static_cast<int32_t>(y), pixel);
}

// Replaces the pixels of a group whose bits are not set by those of the partner.
template <typename G>
MSDA_FN void select_partner(uint32_t* words, const uint32_t* partner, uint32_t own) {
  if constexpr (G::kInBytes == 1) {
    // The bits of four pixels are moved to the signs of four bytes, and then picked as masks.
#pragma unroll
    for (int32_t i = 0; i < G::kWords; ++i) {
      constexpr int32_t kPer = G::kChannels;
      const int32_t four = 4 * (i / kPer), at = 4 * (i % kPer);
      const uint32_t mask = pick_signs(
          (own >> four & 15u) * 0x10204080u,
          at / kPer | (at + 1) / kPer << 4 | (at + 2) / kPer << 8 | (at + 3) / kPer << 12);
      words[i] = (words[i] & mask) | (partner[i] & ~mask);
    }
  } else {
#pragma unroll
    for (int32_t i = 0; i < G::kWords; ++i)
      if (!(own >> i / G::kChannels & 1u)) words[i] = partner[i];
  }
}

MSDA_FN void put_value(uint32_t* words, int32_t at, const uint8_t* value) {
  constexpr uint32_t kPlaces[] = {0x3214, 0x3240, 0x3410, 0x4210};
  words[at / 4] = pick_bytes(words[at / 4], *value, kPlaces[at % 4]);
}
MSDA_FN void put_value(uint32_t* words, int32_t at, const float* value) {
  words[at] = bits_of(*value);
}

// Replaces the pixels of a group whose bits are not set by those of the partner that kShrink shows.
template <typename G>
MSDA_FN void gather_partner(uint32_t* words, const Column& c, uint32_t own, int32_t y) {
  const auto* partner = reinterpret_cast<const typename G::In*>(c.r.partner);
  const int32_t row = shrunk_from(y, c.r.box.y0, c.r.spacing.y, c.b.height);
  partner += uint64_t{static_cast<uint32_t>(row)} * (c.b.width * G::kChannels);
#pragma unroll
  for (int32_t j = 0; j < G::kPixels; ++j) {
    if (j >= c.count || (own >> j & 1u)) continue;
    int32_t from = shrunk_from(c.x + j, c.r.box.x0, c.r.spacing.x, c.b.width);
    if (c.mirrored & 2) from = c.b.width - 1 - from;
#pragma unroll
    for (int32_t k = 0; k < G::kChannels; ++k)
      put_value(words, j * G::kChannels + k, partner + from * G::kChannels + k);
  }
}

// Makes an output whose pixels are each one source's.  Where a group has pixels of one source only,
// the other one is not read.
template <typename G>
__device__ __forceinline__ void blend_selected(const MsdaGpuBlend& b, const MsdaBlendRecord& r,
                                               uint32_t mirrored) {
  const uint32_t flip = r.mode == kShrink || r.weight.outside == 1.0f ? G::kAll : 0u;
  const auto start = [&](int32_t x) { return column_at<G>(b, r, mirrored, x); };
  each_group<G>(b, start, [flip](const Column& c, int32_t y, uint32_t pixel) {
    const uint32_t in_box = box_bits(c, y);
    const uint32_t own = c.r.mode == kSelectBits ? group_bits<G>(c, pixel)
                         : c.r.mode == kErase    ? G::kAll
                                                 : in_box ^ flip;
    uint32_t words[G::kWords] = {};
    if (c.r.mode == kShrink) {
      if (own != 0) load_group<G>(words, c, c.r.own, 0, pixel);
      if (own != G::kAll) gather_partner<G>(words, c, own, y);
    } else {
      load_group<G>(words, c, own ? c.r.own : c.r.partner, own ? 0 : 1, pixel);
      if (own != 0 && own != G::kAll) {
        uint32_t partner[G::kWords];
        load_group<G>(partner, c, c.r.partner, 1, pixel);
        select_partner<G>(words, partner, own);
      }
    }
    store_copy<G>(c, pixel, words);
    if (c.r.mode == kErase && in_box) erase_pixels<G>(c, pixel, in_box);
  });
}

template <typename G>
MSDA_FN void store_mixed(const Column& c, uint32_t pixel, const uint32_t* own,
                         const uint32_t* partner, const float* weights) {
  store_group<G>(c, pixel, [&](int32_t v) {
    return window_mix(own, partner, v, weights[v / G::kChannels], typename G::In{});
  });
}

// Makes an output of two sources with one weight in a box and another one around it.
template <typename G>
__device__ __forceinline__ void blend_boxed(const MsdaGpuBlend& b, const MsdaBlendRecord& r,
                                            uint32_t mirrored) {
  const MsdaBlendRecord copy = r;
  const MsdaBlendRecord& held = G::kAligned ? copy : r;  // where registers are left for it
  const auto start = [&](int32_t x) { return column_at<G>(b, held, mirrored, x); };
  each_group<G>(b, start, [](const Column& c, int32_t y, uint32_t pixel) {
    const uint32_t bits = box_bits(c, y);
    uint32_t own[G::kWords], partner[G::kWords];
    if (bits != 0 && bits != G::kAll) {
      float weights[G::kPixels];
      weights_of_bits<G>(weights, c, bits);
      load_both<G>(own, partner, c, c.r.own, c.r.partner, pixel);
      return store_mixed<G>(c, pixel, own, partner, weights);
    }
    // One weight.  If it is 0 the own sample counts for nothing, and is not read: the partner takes
    // its place, which is in the cache anyway.
    const float weight = bits ? c.r.weight.inside : c.r.weight.outside;
    load_both<G>(own, partner, c, weight == 0.0f ? c.r.partner : c.r.own,
                 weight == 1.0f ? c.r.own : c.r.partner, pixel);
    store_group<G>(
        c, pixel, [&](int32_t v) { return window_mix(own, partner, v, weight, typename G::In{}); });
  });
}

// Makes an output of two sources with a weight for each pixel.
template <typename G>
__device__ __forceinline__ void blend_weighed(const MsdaGpuBlend& b, const MsdaBlendRecord& r,
                                              uint32_t mirrored) {
  struct BumpColumn {
    Column column;
    bool is_bump;
    float along_x[G::kPixels];
  };
  const auto start = [&](int32_t x) {
    BumpColumn made = {column_at<G>(b, r, mirrored, x), r.mode == kMixBump, {}};
    bump_factors<G>(made.along_x, made.column);
    return made;
  };
  each_group<G>(b, start, [](const BumpColumn& m, int32_t y, uint32_t pixel) {
    const Column& c = m.column;
    uint32_t own[G::kWords], partner[G::kWords];
    load_both<G>(own, partner, c, c.r.own, c.r.partner, pixel);
    float weights[G::kPixels];
    m.is_bump ? weights_of_bump<G>(weights, c, m.along_x, y) : load_weights<G>(weights, c, pixel);
    store_mixed<G>(c, pixel, own, partner, weights);
  });
}

MSDA_FN const char* source_of(const MsdaBlendRecord& r, int32_t k) {
  return k == 0 ? r.own : k == 1 ? r.partner : k == 2 ? r.third : r.fourth;
}

// Makes a group of bytes from four sources: where there are three, the fourth is any with weight 0.
template <typename G>
__device__ __forceinline__ void mix_several(const Column& c, uint32_t pixel, uint8_t) {
  uint32_t words[kMaxSources][G::kWords];
#pragma unroll
  for (int32_t k = 0; k < kMaxSources; ++k) load_group<G>(words[k], c, source_of(c.r, k), k, pixel);
  store_group<G>(c, pixel, [&](int32_t v) {
    float mixed = window_value(words[0], v, uint8_t{});
#pragma unroll
    for (int32_t k = 1; k < kMaxSources; ++k)
      mixed = window_further(mixed, words[0], words[k], v, c.r.several.weight[k - 1]);
    return mixed;
  });
}

// Makes a group of floats, one source after the other and two pixels at a time, because all of them
// would take too many registers.
template <typename G>
__device__ __forceinline__ void mix_several(const Column& c, uint32_t pixel, float) {
  using Part = Group<float, typename G::Out, G::kChannels, false, 2, G::kApart>;
#pragma unroll 1
  for (int32_t j = 0; j < c.count; j += Part::kPixels) {
    const Column part = column_at<Part>(c.b, c.r, c.mirrored, c.x + j);
    uint32_t base[Part::kWords];
    load_group<Part>(base, part, c.r.own, 0, pixel + j);
    float mixed[Part::kValues];
#pragma unroll
    for (int32_t v = 0; v < Part::kValues; ++v) mixed[v] = float_of(base[v]);
#pragma unroll 1
    for (int32_t k = 1; k < c.r.several.count; ++k) {
      uint32_t next[Part::kWords];
      load_group<Part>(next, part, source_of(c.r, k), k, pixel + j);
#pragma unroll
      for (int32_t v = 0; v < Part::kValues; ++v)
        mixed[v] =
            mix_further(mixed[v], float_of(base[v]), float_of(next[v]), c.r.several.weight[k - 1]);
    }
    store_group<Part>(part, pixel + j, [&](int32_t v) { return mixed[v]; });
  }
}

// Makes an output of three or four sources.
template <typename G>
__device__ __forceinline__ void blend_several(const MsdaGpuBlend& b, const MsdaBlendRecord& r,
                                              uint32_t mirrored) {
  const auto start = [&](int32_t x) { return column_at<G>(b, r, mirrored, x); };
  each_group<G>(b, start, [](const Column& c, int32_t, uint32_t pixel) {
    mix_several<G>(c, pixel, typename G::In{});
  });
}

// Which sources are mirrored.
MSDA_FN uint32_t mirrored_sources(const MsdaGpuBlend& b, const MsdaBlendRecord& r) {
  uint32_t mirrored = r.mirrored;
  if (b.mirror) {  // flags that lie on the device, where the host cannot look
    const Plan& p = b.plans[r.plan];
#pragma unroll 1
    for (int32_t k = 0; k < p.sources; ++k)
      if (b.mirror[p.source[k]]) mirrored |= 1u << k;
  }
  return mirrored;
}

template <typename G>
__device__ __forceinline__ void blend_output(const MsdaGpuBlend& b, const MsdaBlendRecord& r) {
  const uint32_t mirrored = mirrored_sources(b, r);
  switch (r.mode) {
    case kErase:
    case kSelectBox:
    case kSelectBits:
    case kShrink:
      return blend_selected<G>(b, r, mirrored);
    case kMixBox:
      return blend_boxed<G>(b, r, mirrored);
    case kMixBump:
    case kMixFloats:
      return blend_weighed<G>(b, r, mirrored);
    case kSeveral:
      return blend_several<G>(b, r, mirrored);
    case kNothing:
      return;
  }
}

template <typename In, typename Out, int32_t channels>
__device__ __forceinline__ void blend_channels(const MsdaGpuBlend& b) {
  constexpr int32_t kFew = 4;  // pixels of a thread, where there are not enough threads
  for (int32_t i = blockIdx.y; i < b.count; i += gridDim.y) {
    // A copy of the record would take too many registers: what is needed of it is read again.
    const MsdaBlendRecord& r = b.records[i];
    if (b.apart) {
      if constexpr (channels > 1) blend_output<Group<In, Out, channels, true, kFew, true>>(b, r);
    } else if (r.aligned) {
      blend_output<Group<In, Out, channels, true>>(b, r);
    } else {
      blend_output<Group<In, Out, channels, false>>(b, r);
    }
  }
}

template <typename In, typename Out>
__device__ __forceinline__ void blend(const MsdaGpuBlend& b) {
  b.channels == 3 ? blend_channels<In, Out, 3>(b) : blend_channels<In, Out, 1>(b);
}

}  // namespace msda
