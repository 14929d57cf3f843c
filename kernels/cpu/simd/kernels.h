// What is compiled once per instruction set: each source of this folder, with the flags of
// dali_msda/build.py's ISAS, and chosen at run time (cpu/isa.h).  Every value is computed by the
// expressions of msda/ or by their vector twins, so that the bits do not depend on the build.
//
// No C++ library code may be called in this folder.  Its functions are static, or in an unnamed
// namespace, or in the build's own one.  The reason is the linker: of an inline function that
// several builds hold it keeps one copy, which may use instructions that the machine does not have.
#pragma once
#include "cpu/api.h"
#include "msda/field/phases.h"
#include "msda/saliency.h"

namespace msda {

// ------------------------------------------------------------------------------------- blending

// Pixels that are mixed at a time: their floats stay in the first-level cache.
constexpr int32_t kBlockPixels = 1024;

MSDA_FN int32_t rows_per_block(const MsdaBlend& b) {
  return b.width >= kBlockPixels ? 1 : kBlockPixels / (b.width > 0 ? b.width : 1);
}

// One thread's scratch begins with parts that are multiples of 64 bytes: the mixed block, a block
// on its way out, and a mirrored block of each source.  Behind them come the weights of a row, one
// for each pixel and one for each value, and those along x and along y for each interpolation.
constexpr int32_t kScratchParts = 2 + kMaxSources;

MSDA_FN int64_t scratch_part(const MsdaBlend& b) {
  const int64_t values = static_cast<int64_t>(rows_per_block(b)) * b.width * b.channels;
  return (values * 4 + 63) / 64 * 64;
}

MSDA_FN int64_t scratch_bytes(const MsdaBlend& b) {
  const int64_t weights = static_cast<int64_t>(b.width) * (1 + b.channels) +
                          (static_cast<int64_t>(b.width) + b.height) * b.interpolations;
  return kScratchParts * scratch_part(b) + (weights * 4 + 63) / 64 * 64;
}

// In place the scratch is larger by two blocks, which are held back until both are mixed.
MSDA_FN int64_t pair_scratch_bytes(const MsdaBlend& b) {
  return scratch_bytes(b) + 2 * scratch_part(b);
}

// ------------------------------------------------------------------------------- masks of FMix

// What the fields of one size and law have in common, made once: tables and amplitudes.
struct FieldTables {
  Field f;  // its seed is not used
  Passes z, y, x;
  Turns turns_z, turns_y, turns_x;
  const int32_t* place_x;                    // where the entries of a transform along x end up
  const int32_t* line;                       // which line of pixels a row of the spectrum becomes
  const uint32_t* block;                     // the Philox blocks of all entries that are not 0
  int32_t blocks;                            // how many, in whole kMostBlocks
  const float *amplitude_re, *amplitude_im;  // of the two entries of each block; the same memory
                                             // where the two are equal
  const int32_t* start;                      // where the row's entries begin among those of the
                                             // blocks; behind all of them for a row of zeros
  int32_t columns;                           // entries of a row up to the last that is not 0
  int32_t greatest_radix;
};

// The most lanes of a vector, and the most Philox blocks that normals.h makes at a time.
constexpr int32_t kMostLanes = 16, kMostBlocks = 4 * kMostLanes;

// The rows of the half spectrum: pairs for whole vectors.
MSDA_FN int32_t whole_rows(const Field& f) {
  return (pairs_of(f) + kMostLanes - 1) / kMostLanes * kMostLanes * 2;
}

// A thread's scratch, in floats.
struct FieldSizes {
  int64_t drawn;    // each of the real and imaginary parts of the blocks' entries, and zeros
  int64_t columns;  // of as many columns as a vector has lanes
  int64_t lines;    // of all lines, with an entry more than they have
  int64_t room;     // for the butterflies of a large radix
};

MSDA_FN FieldSizes field_sizes(const FieldTables& t) {
  const int64_t zeros = (t.columns + 2 * kMostLanes) / kMostLanes * kMostLanes;
  return {2 * int64_t{t.blocks} + zeros, int64_t{whole_rows(t.f)} * 2 * kMostLanes,
          whole_rows(t.f) * (t.f.width + int64_t{1}),
          2 * 2 * kMostLanes * static_cast<int64_t>(t.greatest_radix)};
}

MSDA_FN int64_t field_scratch(const FieldTables& t) {
  const FieldSizes s = field_sizes(t);
  return 2 * s.drawn + s.columns + s.lines + s.room;
}

// Floats of memory that mask_bits needs.
constexpr int64_t kSample = 1024;
MSDA_FN int64_t select_scratch(int64_t pixels) {
  return kSample + pixels + kMostLanes + (pixels + 31) / 32 + 1;
}

// ------------------------------------------------------------------------------------- saliency

// What one thread works in for images of one size.
struct ContrastScratch {
  int32_t height, width;
  uint8_t *grey, *other;               // (H, W) each
  uint32_t* integral;                  // (H + 1, W + 1)
  uint16_t *brighter, *darker;         // (H, W) each: sums over the squares
  float* columns;                      // (kSquares, W): columns of the square around each pixel
  uint32_t* band;                      // 2 kGreatestReach + W + 1: column sums of a square's rows
  int32_t *row_brighter, *row_darker;  // (W,) each
  int32_t most_brighter, most_darker;  // of the image
};

// ------------------------------------------------------------------------------------ the table

struct Kernels {
  // Mixes rows [begin, end) of the batch's msda_blend_rows(); `scratch` holds scratch_bytes(),
  // aligned to 64 bytes.
  void (*blend_rows)(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
  // Mixes both samples of each pair in place, if its first output is one of [begin, end);
  // `scratch` holds pair_scratch_bytes().
  void (*blend_pairs)(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
  // Makes the field's values, (depth * height, width), for one seed; `scratch` holds
  // field_scratch().
  void (*field_values)(float* values, const FieldTables& tables, const uint32_t* seed,
                       float* scratch);
  // Writes the bits of the `count` greatest values, 1 to `pixels`; of equal ones the first count.
  // `scratch` holds select_scratch().
  void (*mask_bits)(uint32_t* bits, const float* values, int64_t pixels, int64_t count,
                    float* scratch);
  // Makes the sums of contrasts of each pixel, and their greatest values, of an image that is given
  // as bytes or as floats; the other pointer is null.
  void (*contrast_sums)(ContrastScratch& scratch, const uint8_t* bytes, const float* floats,
                        int32_t channels);
};

#if defined(MSDA_ISA)
namespace MSDA_ISA {
void blend_rows(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void blend_pairs(const MsdaBlend& blend, int64_t begin, int64_t end, char* scratch);
void field_values(float* values, const FieldTables& tables, const uint32_t* seed, float* scratch);
void mask_bits(uint32_t* bits, const float* values, int64_t pixels, int64_t count, float* scratch);
void contrast_sums(ContrastScratch& scratch, const uint8_t* bytes, const float* floats,
                   int32_t channels);
}  // namespace MSDA_ISA
#endif

}  // namespace msda
