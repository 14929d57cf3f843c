// The masks of FMix on the CPU (field.cpp for each instruction set, fmix_masks.cpp for all).
#pragma once
#include "msda/field/phases.h"

namespace msda {

// What the masks of one size and law share, made once: tables and amplitudes.
struct FieldTables {
  Field f;  // its seed is not used
  Passes z, y, x;
  Turns turns_z, turns_y, turns_x;
  const int32_t *place_z, *place_y, *place_x;
  const int32_t* line;                       // which line of pixels a row of the spectrum becomes
  const float *amplitude_re, *amplitude_im;  // of every entry of the half spectrum, and zeros past
                                             // it for a vector that reads on; the same memory
                                             // where they are equal, which is read once then
  const int32_t* drawn;                      // entries of each row up to the last that is not 0
  int32_t columns;                           // the greatest of those
  int32_t greatest_radix;
};

constexpr int32_t kMostLanes = 16;

// Floats from row to row of a thread's scratch: whole vectors and an odd number of cache lines, so
// that a column does not fall into a few sets of the cache.
MSDA_FN int64_t padded(int64_t n) {
  const int64_t lines = (n + 15) / 16;
  return (lines + 1 - lines % 2) * 16;
}

// A thread's scratch, in floats.
struct FieldSizes {
  int64_t stride;       // of the half spectrum's rows
  int64_t pair_stride;  // of the transposed lines: one row an entry, one column a pair of rows
  int64_t spectrum;     // each of the real and imaginary parts: pairs for whole vectors, and room
                        // for a vector that writes on past the last row
  int64_t lines;        // each of the parts of the transposed lines
  int64_t room;         // of a large radix
};

MSDA_FN FieldSizes field_sizes(const FieldTables& t) {
  const int64_t stride = padded(t.f.half + 1), pair_stride = padded(pairs_of(t.f));
  const int64_t rows = (rows_of(t.f) + 2 * kMostLanes - 1) / (2 * kMostLanes) * 2 * kMostLanes;
  return {stride, pair_stride, rows * stride + 2 * kMostLanes, t.f.width * pair_stride,
          2 * 2 * kMostLanes * static_cast<int64_t>(t.greatest_radix)};
}

MSDA_FN int64_t field_scratch(const FieldTables& t) {
  const FieldSizes s = field_sizes(t);
  return 2 * s.spectrum + 2 * s.lines + s.room;
}

// The field's values, (depth * height, width), for one seed.
using FieldValues = void (*)(float* values, const FieldTables& tables, const uint32_t* seed,
                             float* scratch);
void field_values_x86_64(float*, const FieldTables&, const uint32_t*, float*);
void field_values_v3(float*, const FieldTables&, const uint32_t*, float*);
void field_values_v4(float*, const FieldTables&, const uint32_t*, float*);
void field_values_v4_vbmi(float*, const FieldTables&, const uint32_t*, float*);

// The last own pixel and its value: own are the values above `least`, and of those equal to it the
// ones up to pixel `last`.
struct Threshold {
  float least;
  int64_t last;
};

// Floats of memory that field_threshold needs.
constexpr int64_t kSample = 1024;
MSDA_FN int64_t select_scratch(int64_t pixels) { return kSample + pixels + kMostLanes; }

// The threshold above which `count` of the pixels lie, 1 to `pixels`.
using FieldThreshold = Threshold (*)(const float* values, int64_t pixels, int64_t count,
                                     float* scratch);
Threshold field_threshold_x86_64(const float*, int64_t, int64_t, float*);
Threshold field_threshold_v3(const float*, int64_t, int64_t, float*);
Threshold field_threshold_v4(const float*, int64_t, int64_t, float*);
Threshold field_threshold_v4_vbmi(const float*, int64_t, int64_t, float*);

// Bits of the own pixels.
using FieldBits = void (*)(uint32_t* bits, const float* values, int64_t pixels,
                           Threshold threshold);
void field_bits_x86_64(uint32_t*, const float*, int64_t, Threshold);
void field_bits_v3(uint32_t*, const float*, int64_t, Threshold);
void field_bits_v4(uint32_t*, const float*, int64_t, Threshold);
void field_bits_v4_vbmi(uint32_t*, const float*, int64_t, Threshold);

// Weights of a mask whose edge is softened: 1 for the pixels of the bits `before`, and from 1 to 0
// for the 2 `soft` ones that `until` has besides (soften.cpp).
void soften(float* weights, const float* values, int64_t pixels, const uint32_t* before,
            const uint32_t* until, int64_t soft);

}  // namespace msda
