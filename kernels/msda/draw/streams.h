// Random numbers of a draw: uniforms, normals, gammas and the weights that they make.
#pragma once
#include "msda/maths.h"
#include "msda/philox.h"
#include "msda/plan.h"
#include "msda/policy.h"

namespace msda {

// Successive uniforms of one (seed, identity, step, purpose).
struct Stream {
  uint64_t seed, identity;
  uint32_t step, purpose, index;
  uint64_t word() { return word64(seed, identity, step, purpose, index++); }
  double uniform() { return msda::uniform(word()); }
};

// Uniform on {0, ..., n - 1}; the bias of the multiplication is below n / 2^64.
MSDA_FN int32_t bounded(uint64_t word, int32_t n) {
  return static_cast<int32_t>((static_cast<unsigned __int128>(word) * static_cast<uint64_t>(n)) >>
                              64);
}

// A standard normal by Marsaglia's polar method; the other one of its pair is not used.
MSDA_FN double normal64(Stream& stream) {
  for (;;) {
    const double a = 2.0 * stream.uniform() - 1.0, b = 2.0 * stream.uniform() - 1.0;
    const double square = a * a + b * b;
    if (square < 1.0 && square > 0.0) return a * sqrt(-2.0 * log64(square) / square);
  }
}

// Logarithm of a Gamma(shape, 1) variate: exact rejection, Marsaglia & Tsang, "A simple method for
// generating gamma variables", ACM TOMS 2000.  For shapes below 1 their factor U^(1/shape) is added
// as a logarithm, because at shape 0.01 the variate itself underflows.
MSDA_FN double log_gamma_variate(Stream& stream, double shape) {
  const double d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
  double log_value = 0.0;
  for (;;) {
    const double x = normal64(stream), root = 1.0 + c * x;
    if (root <= 0.0) continue;
    const double v = root * root * root, log_v = log64(v);
    if (log64(stream.uniform()) < 0.5 * x * x + d - d * v + d * log_v) {
      log_value = log64(d) + log_v;
      break;
    }
  }
  return shape < 1.0 ? log_value + log64(stream.uniform()) / shape : log_value;
}

// Dirichlet(first, alpha, ..., alpha); for n = 2 the first share is Beta(first, alpha).
MSDA_FN void dirichlet(double* shares, int32_t n, double alpha, Stream& stream,
                       double first = 0.0) {
  double greatest = 0.0, sum = 0.0;
  for (int32_t k = 0; k < n; ++k) {
    shares[k] = log_gamma_variate(stream, k == 0 && first > 0.0 ? first : alpha);
    if (k == 0 || shares[k] > greatest) greatest = shares[k];
  }
  for (int32_t k = 0; k < n; ++k) sum += shares[k] = exp64(shares[k] - greatest);
  for (int32_t k = 0; k < n; ++k) shares[k] /= sum;
}

// The draws of one unit (a sample, a pair or the batch).
struct Unit {
  const MsdaDraw* draw;
  uint64_t identity;
  const int32_t* peak;  // y and x of the pixel that a kSaliencyMix box is centred on
  Stream stream(uint32_t purpose) const { return {draw->seed, identity, draw->step, purpose, 0}; }
};

MSDA_FN uint64_t identity_of(const MsdaDraw& draw, int32_t slot) {
  return draw.ids ? draw.ids[slot] : (uint64_t{draw.rank} << 32) | static_cast<uint32_t>(slot);
}

MSDA_FN void set_weight(Plan& p, float own) {
  p.weight[0] = own;
  p.weight[1] = 1.0f - own;
}

MSDA_FN double pixels(const Plan& p) { return static_cast<double>(p.depth) * p.height * p.width; }

}  // namespace msda
