// Own weights of the pixels of a group, which a thread has in registers.
#pragma once
#include "cuda/group.cuh"

namespace msda {

// Bits `pixel` .. `pixel` + `count` - 1 of a mask, at most 32.
MSDA_FN uint32_t mask_bits(const void* mask, int64_t pixel, int32_t count) {
  const uint32_t* words = static_cast<const uint32_t*>(mask) + (pixel >> 5);
  const int32_t first = static_cast<int32_t>(pixel & 31);
  const uint64_t next = first + count > 32 ? words[1] : 0;
  return static_cast<uint32_t>((next << 32 | words[0]) >> first);
}

// The mask's bits of a group.  Those of pixels past the end of the row may be anything.
template <typename G>
MSDA_FN uint32_t group_bits(const Column& c, uint32_t pixel) {
  const char* mask = c.b.masks + c.r.mask;
  if constexpr (!G::kAligned) {
    return mask_bits(mask, pixel, c.count) & G::kAll;
  } else {  // a group begins at a whole byte, or in the middle of one
    const uint32_t byte = reinterpret_cast<const uint8_t*>(mask)[pixel >> 3];
    return G::kPixels == 8 ? byte : byte >> (pixel & 4u) & G::kAll;
  }
}

template <typename G>
MSDA_FN void load_weights(float* weights, const Column& c, uint32_t pixel) {
  const float* mask = reinterpret_cast<const float*>(c.b.masks + c.r.mask) + pixel;
  if (G::kAligned && (address_bits(reinterpret_cast<const char*>(mask)) & 15u) == 0) {
    uint32_t words[G::kPixels];
    load_words<G::kPixels>(words, reinterpret_cast<const char*>(mask));
#pragma unroll
    for (int32_t j = 0; j < G::kPixels; ++j) weights[j] = float_of(words[j]);
    return;
  }
#pragma unroll
  for (int32_t j = 0; j < G::kPixels; ++j) weights[j] = j < c.count ? mask[j] : 1.0f;
}

// The weights of a group where a bit of it, of the box or the mask, is set and where it is not.
template <typename G>
MSDA_FN void weights_of_bits(float* weights, const Column& c, uint32_t bits) {
  const float inside = c.r.weight.inside, outside = c.r.weight.outside;
#pragma unroll
  for (int32_t j = 0; j < G::kPixels; ++j) weights[j] = bits >> j & 1u ? inside : outside;
}

// The factors of a bump along x, which are those of all groups of a column.
template <typename G>
MSDA_FN void bump_factors(float* along_x, const Column& c) {
  if (c.r.mode != kMixBump) return;
#pragma unroll
  for (int32_t j = 0; j < G::kPixels; ++j)
    along_x[j] = bump(c.r.bump.falloff_x, c.x + j - c.r.bump.x);
}

// The weights of a group of kMixBump in row y; `along_x` are bump_factors().
template <typename G>
MSDA_FN void weights_of_bump(float* weights, const Column& c, const float* along_x, int32_t y) {
  const float inside = c.r.weight.inside, outside = c.r.weight.outside;
  const float along_y = bump(c.r.bump.falloff_y, y - c.r.bump.y);
#pragma unroll
  for (int32_t j = 0; j < G::kPixels; ++j)
    weights[j] = fmaf(along_y * along_x[j], inside - outside, outside);  // gaussian_weight()
}

}  // namespace msda
