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

// Bits of the pixels that are above a key, or equal to it and before a pixel: (key, index) <=
// (`key`, `last`) as field_phases.h orders them.
using FieldBits = void (*)(uint32_t* bits, const float* values, int64_t pixels, uint32_t key,
                           int64_t last);
void field_bits_x86_64(uint32_t*, const float*, int64_t, uint32_t, int64_t);
void field_bits_v3(uint32_t*, const float*, int64_t, uint32_t, int64_t);
void field_bits_v4(uint32_t*, const float*, int64_t, uint32_t, int64_t);

}  // namespace msda
