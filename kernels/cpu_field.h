// The masks of FMix on the CPU (cpu_field.cpp for each instruction set, cpu_fmix.cpp for all).
#pragma once
#include "msda/field_phases.h"

namespace msda {

// What the masks of one size and law share, made once: tables and amplitudes.
struct FieldTables {
  Field f;  // its seed is not used
  Passes z, y, x;
  Turns turns_z, turns_y, turns_x;
  const int32_t *place_z, *place_y, *place_x;
  const int32_t* line;                       // which line of pixels a row of the spectrum becomes
  const float *amplitude_re, *amplitude_im;  // of every entry of the half spectrum
  int32_t columns;                           // columns of the half spectrum that are not all 0
  int32_t greatest_radix;
};

// Floats of scratch that one thread needs.
int64_t field_scratch(const FieldTables& tables);

// The field's values, (depth * height, width), for one seed.
using FieldValues = void (*)(float* values, const FieldTables& tables, const uint32_t* seed,
                             float* scratch);
void field_values_x86_64(float*, const FieldTables&, const uint32_t*, float*);
void field_values_v3(float*, const FieldTables&, const uint32_t*, float*);
void field_values_v4(float*, const FieldTables&, const uint32_t*, float*);

// Bits of the `own` pixels: those above `least`, and of those equal to it the ones up to `last`.
using FieldBits = void (*)(uint32_t* bits, const float* values, int64_t pixels, float least,
                           int64_t last);
void field_bits_x86_64(uint32_t*, const float*, int64_t, float, int64_t);
void field_bits_v3(uint32_t*, const float*, int64_t, float, int64_t);
void field_bits_v4(uint32_t*, const float*, int64_t, float, int64_t);

// Orders (key << 32 | pixel, field_phases.h) of the values in [low, high]; returns how many, and
// through `above` how many are larger.
using FieldBetween = int64_t (*)(uint64_t* between, int64_t* above, const float* values,
                                 int64_t pixels, float low, float high);
int64_t field_between_x86_64(uint64_t*, int64_t*, const float*, int64_t, float, float);
int64_t field_between_v3(uint64_t*, int64_t*, const float*, int64_t, float, float);
int64_t field_between_v4(uint64_t*, int64_t*, const float*, int64_t, float, float);

}  // namespace msda
