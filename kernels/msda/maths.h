// exp, log, sin and cos as fixed chains of fmaf, for everything that CPU and GPU must agree on.
// libm and CUDA round differently; these return the same bits wherever fmaf is correctly rounded.
//
// The polynomials are least-squares fits, reweighted towards the smallest greatest error, with
// coefficients rounded to float.  Their greatest errors against the exact value, over every float
// of the range, are (tests/plan/test_maths.py measures them again):
//
//   exp32               all floats                    1.05 ulp
//   log32               all positive normal floats    0.81 ulp
//   sine_cosine.sine    |x| <= 65536                  1.49 ulp
//   sine_cosine.cosine  |x| <= 65536                  1.49 ulp
//
// exp64 and log64 (2 ulp) serve the draws, on the CPU only.  They are here because libm's are not
// the same on every machine.
#pragma once
#include "msda/portable.h"

namespace msda {

// 2^k for -126 <= k <= 127.
MSDA_FN float power_of_two(int32_t k) { return float_of(static_cast<uint32_t>(k + 127) << 23); }

// e^x; 0 below -104, inf above 88.72..., NaN for NaN.
MSDA_FN float exp32(float x) {
  if (!(x <= 88.72284f)) return x != x ? x : float_of(0x7F800000u);
  if (x < -104.0f) return 0.0f;
  const float k = rintf(x * 1.44269504f);
  float r = fmaf(-k, 0x1.62e43p-1f, x);  // k ln 2 in two parts; the first product is exact
  r = fmaf(-k, -0x1.05c610p-29f, r);
  float p = fmaf(r, 1.3950602e-3f, 8.3689530e-3f);
  p = fmaf(r, p, 4.1666206e-2f);
  p = fmaf(r, p, 1.6666518e-1f);
  p = fmaf(r, p, 0.5f);
  p = fmaf(r * r, p, r) + 1.0f;
  // In two steps, so that results below the smallest normal number are rounded once.
  const int32_t whole = static_cast<int32_t>(k), half = whole >> 1;
  return p * power_of_two(half) * power_of_two(whole - half);
}

// ln x for normal x > 0.  No branches: loops over it vectorise.
MSDA_FN float log32(float x) {
  // x = m 2^e with m in [sqrt(1/2), sqrt(2))
  const uint32_t shifted = bits_of(x) - 0x3F3504F3u;
  const float e = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float f = float_of((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
  float p = fmaf(f, 6.9156340e-2f, -1.1794104e-1f);
  p = fmaf(f, p, 1.1875068e-1f);
  p = fmaf(f, p, -1.2383796e-1f);
  p = fmaf(f, p, 1.4218327e-1f);
  p = fmaf(f, p, -1.6669270e-1f);
  p = fmaf(f, p, 2.0002243e-1f);
  p = fmaf(f, p, -2.4999987e-1f);
  p = fmaf(f, p, 3.3333310e-1f);
  const float square = f * f;
  float tail = fmaf(square * f, p, e * -1.9046542e-9f);
  tail = fmaf(-0.5f, square, tail);
  return fmaf(e, 0x1.62e43p-1f, f + tail);
}

// a / b, given 1 / b.  It equals a division where quotient and remainders are 0 or normal numbers,
// and takes five instructions.  Markstein, "Computation of elementary functions on the IBM RISC
// System/6000 processor", 1990: from a quotient that is right but for the last place, one step with
// a correctly rounded reciprocal makes a correctly rounded one.
MSDA_FN float quotient(float a, float b, float inverse) {
  const float rough = a * inverse;
  const float close = fmaf(fmaf(-rough, b, a), inverse, rough);
  return fmaf(fmaf(-close, b, a), inverse, close);
}

struct Reduced {
  float r;            // in [-pi/4, pi/4]
  uint32_t quadrant;  // x = r + quadrant pi/2; only its last two bits count
};

MSDA_FN Reduced reduce_half_pi(float x) {
  // Adding 1.5 2^23 rounds to an integer, which then stands in the last bits of the sum.
  const float sum = x * 0.636619772f + 0x1.8p23f, k = sum - 0x1.8p23f;
  float r = fmaf(-k, 0x1.921fb6p+0f, x);  // pi/2 in three parts
  r = fmaf(-k, -0x1.777a5cp-25f, r);
  r = fmaf(-k, -0x1.ee59dap-50f, r);
  return {r, bits_of(sum)};
}

MSDA_FN float sin_polynomial(float r) {
  const float z = r * r;
  float p = fmaf(z, 2.7182743e-6f, -1.9839330e-4f);
  p = fmaf(z, p, 8.3333290e-3f);
  p = fmaf(z, p, -1.6666667e-1f);
  return fmaf(z * r, p, r);
}

MSDA_FN float cos_polynomial(float r) {
  const float z = r * r;
  float p = fmaf(z, -2.7209893e-7f, 2.4799516e-5f);
  p = fmaf(z, p, -1.3888883e-3f);
  p = fmaf(z, p, 4.1666668e-2f);
  p = fmaf(z, p, -0.5f);
  return fmaf(z, p, 1.0f);
}

// `value`, or -value in the quadrants 2 and 3 of a turn.
MSDA_FN float signed_by(uint32_t quadrant, float value) {
  return float_of(bits_of(value) ^ ((quadrant & 2u) << 30));
}

struct SineCosine {
  float sine, cosine;
};

// sin x and cos x for |x| <= 65536.  No branches: loops over them vectorise, and the threads
// of a warp stay together.
MSDA_FN SineCosine sine_cosine(float x) {
  const Reduced a = reduce_half_pi(x);
  const float sine = sin_polynomial(a.r), cosine = cos_polynomial(a.r);
  const bool swapped = a.quadrant & 1u;
  return {signed_by(a.quadrant, swapped ? cosine : sine),
          signed_by(a.quadrant + 1, swapped ? sine : cosine)};
}

// e^x in double for x <= 0 (0 below -745), to about 2 ulp: a Taylor series on |r| <= ln(2) / 2,
// whose first term left out is r^14 / 14! < 5e-18.
MSDA_FN double exp64(double x) {
  if (!(x > -745.0)) return 0.0;
  const double k = rint(x * 0x1.71547652b82fep+0);
  double r = fma(-k, 0x1.62e42fefa39efp-1, x);
  r = fma(-k, 0x1.abc9e3b39803fp-56, r);
  double p = 1.0 / 6227020800.0;
  const double inverse_factorial[12] = {1.0 / 479001600.0,
                                        1.0 / 39916800.0,
                                        1.0 / 3628800.0,
                                        1.0 / 362880.0,
                                        1.0 / 40320.0,
                                        1.0 / 5040.0,
                                        1.0 / 720.0,
                                        1.0 / 120.0,
                                        1.0 / 24.0,
                                        1.0 / 6.0,
                                        0.5,
                                        1.0};
  for (int32_t i = 0; i < 12; ++i) p = fma(r, p, inverse_factorial[i]);
  p = fma(r, p, 1.0);
  const int64_t whole = static_cast<int64_t>(k), half = whole / 2;
  return p * double_of(static_cast<uint64_t>(half + 1023) << 52) *
         double_of(static_cast<uint64_t>(whole - half + 1023) << 52);
}

// e^x for x of either sign.
MSDA_FN double exp_any(double x) { return x > 0.0 ? 1.0 / exp64(-x) : exp64(x); }

// ln x in double for normal x > 0, to about 2 ulp: 2 atanh(s), s = (m - 1) / (m + 1), s^2 < 0.0295.
MSDA_FN double log64(double x) {
  const uint64_t shifted = bits_of(x) - 0x3FE6A09E667F3BCDull;  // sqrt(1/2)
  const double e = static_cast<double>(static_cast<int64_t>(shifted) >> 52);
  const double m = double_of((shifted & 0x000FFFFFFFFFFFFFull) + 0x3FE6A09E667F3BCDull);
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 1.0 / 25.0;
  for (int32_t odd = 23; odd >= 3; odd -= 2) p = fma(z, p, 1.0 / odd);
  const double tail = fma(2.0 * s * z, p, e * 0x1.abc9e3b39803fp-56);
  return fma(e, 0x1.62e42fefa39efp-1, 2.0 * s + tail);
}

}  // namespace msda
