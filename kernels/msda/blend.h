// One output value: mix, normalise, convert.  Each of these functions is the project's only one of
// its kind.  Loops over the rows of a CPU and threads of a GPU call them, or vector twins with the
// same bits.
#pragma once
#include "msda/mask.h"

namespace msda {

// w own + (1 - w) partner for values that are small integers: the difference is exact, the result
// is rounded once, and it is exact for w = 0, for w = 1 and for equal values.
MSDA_FN float mix_integers(float own, float partner, float w) {
  return fmaf(w, own - partner, partner);
}

// The same for any floats.  The nearer source is the base, which keeps those three cases exact;
// at w = 0 and w = 1 the other source is not read, so that its NaN or inf stays out.
MSDA_FN float mix_floats(float own, float partner, float w) {
  if (w >= 0.5f) return w == 1.0f ? own : fmaf(1.0f - w, partner - own, own);
  return w == 0.0f ? partner : fmaf(w, own - partner, partner);
}

MSDA_FN float mix_two(float own, float partner, float w, uint8_t) {
  return mix_integers(own, partner, w);
}
MSDA_FN float mix_two(float own, float partner, float w, float) {
  return mix_floats(own, partner, w);
}

// Adds one more source to what is mixed.  Three or four sources are added one by one, as
// differences from the first that takes part, which is exact when all are equal.
MSDA_FN float mix_further(float mixed, float base, float value, float weight) {
  return fmaf(weight, value - base, mixed);
}

// Mixes three or four sources.  Those of weight 0 are left out, so that their NaN or inf stays out.
// (Arrays of four are indexed by constants, so that a GPU keeps them in registers.)
MSDA_FN float mix_many(const float* values, const float* weights, int32_t sources) {
  float base = 0.0f, mixed = 0.0f;
  bool found = false;
  for (int32_t k = 0; k < kMaxSources; ++k) {
    if (k >= sources) break;
    if (found) {
      if (weights[k] != 0.0f) mixed = mix_further(mixed, base, values[k], weights[k]);
    } else if (weights[k] != 0.0f || k == sources - 1) {
      base = mixed = values[k];
      found = true;
    }
  }
  return mixed;
}

MSDA_FN float normalise(float mixed, float scale, float shift) { return fmaf(mixed, scale, shift); }

// The project's only float -> uint8 conversion: clamp, then round half to even; NaN becomes 0.
MSDA_FN uint8_t to_uint8(float v) {
  return static_cast<uint8_t>(rintf(v > 0.0f ? (v < 255.0f ? v : 255.0f) : 0.0f));
}

// float -> IEEE binary16, round to nearest even, as vcvtps2ph does.
MSDA_FN uint16_t to_float16(float v) {
  uint32_t pair;
  if (hardware_float16_pair(&pair, v, 0.0f)) return static_cast<uint16_t>(pair);
  const uint32_t bits = bits_of(v), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u)  // NaN: quiet, payload cut
    return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // rounds to inf
  if (magnitude < 0x38800000u)  // subnormal: the addition rounds at the right bit
    return static_cast<uint16_t>(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u));
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude + 0xC8000FFFu + odd) >> 13));
}

// float -> bfloat16, round to nearest even; NaN stays NaN (quiet).
MSDA_FN uint16_t to_bfloat16(float v) {
  uint32_t pair;
  if (hardware_bfloat16_pair(&pair, v, 0.0f)) return static_cast<uint16_t>(pair);
  const uint32_t bits = bits_of(v);
  const uint32_t quiet = (bits >> 16) | 0x40u;
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
}

MSDA_FN void store(uint8_t* out, float v) { *out = to_uint8(v); }
MSDA_FN void store(float* out, float v) { *out = v; }

struct Float16 {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};
MSDA_FN void store(Float16* out, float v) { out->bits = to_float16(v); }
MSDA_FN void store(Bfloat16* out, float v) { out->bits = to_bfloat16(v); }

// Mixed value (y, x, c) of one sample, before it is normalised; `sources` are its HWC images,
// `mirrored` their flags, `mask` its mask where it has one.
template <typename In>
MSDA_FN float blend_value(const In* const* sources, const bool* mirrored, const Plan& plan,
                          const void* mask, int32_t y, int32_t x, int32_t c, int32_t channels) {
  float values[kMaxSources] = {};
  for (int32_t k = 0; k < kMaxSources; ++k) {
    if (k >= plan.sources) break;
    int32_t row = y, column = x;
    if (k == 1 && shrinks(plan)) find_shrunk(plan, &row, &column);
    if (mirrored[k]) column = plan.width - 1 - column;
    values[k] = static_cast<float>(
        sources[k][(static_cast<int64_t>(row) * plan.width + column) * channels + c]);
  }
  if (plan.sources == 1) return values[0];
  if (plan.sources > 2) return mix_many(values, plan.weight, plan.sources);
  return mix_two(values[0], values[1], own_weight(plan, mask, y, x), In{});
}

}  // namespace msda
