// Mixes two images that were made for one output by a mask of floats, as any two images are mixed.
#pragma once
#include "cpu/isa.h"
#include "cpu/puzzle/kept.h"

namespace msda {

// Writes output i of a batch: `pair` are its two images, as large as the batch's, and `mask` the
// weight of the first for each pixel.
inline void blend_masked_pair(const MsdaBlend& b, int64_t i, const void* const* pair,
                              const float* mask) {
  static thread_local std::vector<char> scratch;
  Plan mixing = {};  // a soft mask of FMix is one of floats
  mixing.method = kFMix, mixing.sources = 2, mixing.soft = 1;
  mixing.source[0] = 0, mixing.source[1] = 1;
  mixing.depth = 1, mixing.height = b.height, mixing.width = b.width;
  const void* fields[1] = {mask};
  MsdaBlend one = b;
  one.outs = b.outs + i, one.ins = pair, one.plans = &mixing, one.fields = fields;
  one.mirror = nullptr, one.pairs = one.order = nullptr;
  one.batch = one.interpolations = 1, one.samples = 2;
  char* room = kept(scratch, scratch_bytes(one) + 64);
  room += -reinterpret_cast<uintptr_t>(room) & 63;
  kernels_of(b.isa).blend_rows(one, 0, b.height, room);
}

}  // namespace msda
