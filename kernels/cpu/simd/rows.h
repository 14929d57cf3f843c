// The row walk of the blend, compiled once per instruction set (blend_rows.cpp).
#pragma once
#include "cpu/api.h"

namespace msda {

// Pixels that are mixed at a time: their floats stay in the first-level cache.
constexpr int32_t kBlockPixels = 1024;

inline int32_t rows_per_block(const MsdaBlend& b) {
  return b.width >= kBlockPixels ? 1 : kBlockPixels / (b.width > 0 ? b.width : 1);
}

// One thread's scratch: the mixed block, a block on its way out and a mirrored block of each
// source, in parts that are multiples of 64 bytes; then the weights of a row, of each pixel and of
// each value, and those along x and along y for each interpolation.
constexpr int32_t kScratchParts = 2 + kMaxSources;

inline int64_t scratch_part(const MsdaBlend& b) {
  const int64_t values = static_cast<int64_t>(rows_per_block(b)) * b.width * b.channels;
  return (values * 4 + 63) / 64 * 64;
}

inline int64_t scratch_bytes(const MsdaBlend& b) {
  const int64_t weights = static_cast<int64_t>(b.width) * (1 + b.channels) +
                          (static_cast<int64_t>(b.width) + b.height) * b.interpolations;
  return kScratchParts * scratch_part(b) + (weights * 4 + 63) / 64 * 64;
}

// Rows [begin, end) of the batch's batch * height rows; `scratch` is aligned to 64 bytes.
using BlendRows = void (*)(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_rows_x86_64(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_rows_v3(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_rows_v4(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_rows_v4_vbmi(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);

// Both samples of each pair in place, for the outputs [begin, end) that are the first of theirs.
// The scratch is larger by two blocks, held back until both are mixed.
inline int64_t pair_scratch_bytes(const MsdaBlend& b) {
  return scratch_bytes(b) + 2 * scratch_part(b);
}
using BlendPairs = void (*)(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_pairs_x86_64(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_pairs_v3(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_pairs_v4(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_pairs_v4_vbmi(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);

}  // namespace msda
