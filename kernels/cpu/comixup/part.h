// Co-Mixup of one part of a batch: m inputs become m outputs.  Kim, Choo, Jeong and Song,
// "Co-Mixup: saliency guided joint mixup with supermodular diversity", ICLR 2021, as in the
// authors' code.
//
// Each block of an output shows one input, or half of each of two.  With z[j][p][i] the share of
// input i in block p of output j, of n blocks, and count[j][i] its sum over p, a part costs
//
// * for each block z[j][p][i] (-share[i][p] + prior[i]), with the shares of the inputs' saliency;
// * for each border beta / (2 n) |z - z'|^2;
// * for each output and input gamma / n count[j][i] shown[j][i], where shown[j] = A (sum of the
//   other outputs' counts), if that is above tau n: an input is shown about once in all.
//
// A is 1 - omega on the diagonal, and omega m times the inputs' distances, which sum to 1, added.
// The outputs are solved in turn, a few times over, the others held fixed and the last term made
// linear; potts.h does that.  From the second sweep on, half-and-half labels of the two or three
// inputs that the output shows most are added.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "cpu/api.h"
#include "cpu/comixup/potts.h"
#include "msda/draw/streams.h"

namespace msda {

constexpr double kHalfBonus = 5e-4;    // by which a block of two halves is cheaper than their mean
constexpr double kStillMoving = 1e-6;  // relative change of the objective that ends the sweeps
constexpr double kMostPenalty = 16.0;  // of a block; greater ones count as much

// What a block shows: half of each of two inputs; all of one, if they are the same.
struct Halves {
  uint8_t a, b;
};

class PartSolver {
 public:
  // Reads the part of `inputs` samples from `first` on.  `number` counts the parts of the batch.
  void load(const MsdaCoMixup& z, int32_t first, int32_t inputs, int32_t number) {
    z_ = &z, m_ = inputs, n_ = z.blocks * z.blocks, number_ = number;
    load_costs(z.shares + int64_t{first} * n_);
    load_likeness(z.peaks + int64_t{first} * 2);
  }

  // Fills in what the outputs show, (m, n), from start labels drawn for `start`; returns the cost.
  double solve(Halves* shown, int32_t start) {
    Stream stream = {z_->seed, identity(), z_->step, kDrawStart,
                     static_cast<uint32_t>(start * m_ * n_)};
    for (int32_t k = 0; k < m_ * n_; ++k) {
      const uint8_t input = static_cast<uint8_t>(bounded(stream.word(), m_));
      shown[k] = {input, input};
    }
    count_all(shown);
    apart_.assign(int64_t{m_} * m_, 0);
    double before = plain_cost(shown);
    for (int32_t sweep = 0; sweep < z_->sweeps; ++sweep) {
      for (int32_t j = 0; j < m_; ++j) solve_output(shown + int64_t{j} * n_, j, sweep > 0);
      if (sweep == z_->sweeps - 2 && z_->resolve) tell_apart();
      const double now = plain_cost(shown);
      if (std::fabs(before - now) < kStillMoving * std::fabs(now)) break;
      before = now;
    }
    return linear_cost(shown) + z_->gamma / n_ * thresholded();
  }

 private:
  const MsdaCoMixup* z_;
  int32_t m_, n_, number_;
  std::vector<int32_t> costs_;    // (m, n): saliency and prior
  std::vector<double> likeness_;  // A, (m, m)
  std::vector<int32_t> counts_;   // (m, m): half blocks of each output that show each input
  std::vector<int32_t> totals_;   // (m,): their sums
  std::vector<uint8_t> apart_;    // (m, m): what an output pays for showing, to be unlike another
  std::vector<double> elsewhere_, drawn_;
  std::vector<int32_t> unaries_;
  std::vector<uint8_t> distance_;
  Expansion expansion_;

  uint64_t identity() const { return (uint64_t{z_->rank} << 32) | static_cast<uint32_t>(number_); }

  void load_costs(const int32_t* shares) {
    drawn_.resize(m_);
    Stream stream = {z_->seed, identity(), z_->step, kDrawPrior, 0};
    dirichlet(drawn_.data(), m_, z_->alpha, stream);
    costs_.resize(int64_t{m_} * n_);
    for (int32_t i = 0; i < m_; ++i) {
      const int32_t prior = fixed(-z_->eta / n_ * log64(drawn_[i] + 1e-8));
      for (int32_t p = 0; p < n_; ++p) costs_[i * n_ + p] = prior - shares[i * n_ + p];
    }
  }

  static int32_t fixed(double value) { return static_cast<int32_t>(rint(value * kShareOne)); }

  void load_likeness(const int32_t* peaks) {
    likeness_.assign(int64_t{m_} * m_, 0.0);
    double sum = 0.0;
    for (int32_t i = 0; i < m_; ++i)
      for (int32_t k = 0; k < m_; ++k) {
        const int32_t y = std::abs(peaks[2 * i] - peaks[2 * k]);
        const int32_t x = std::abs(peaks[2 * i + 1] - peaks[2 * k + 1]);
        sum += likeness_[i * m_ + k] = static_cast<double>(y) + x;
      }
    const double scale = sum > 0.0 ? z_->omega * m_ / sum : 0.0;
    for (double& value : likeness_) value *= scale;
    for (int32_t i = 0; i < m_; ++i) likeness_[i * (m_ + 1)] += 1.0 - z_->omega;
  }

  void count_all(const Halves* shown) {
    counts_.assign(int64_t{m_} * m_, 0);
    totals_.assign(m_, 0);
    for (int32_t j = 0; j < m_; ++j) count(shown + int64_t{j} * n_, j);
  }

  void count(const Halves* shown, int32_t j) {
    int32_t* counts = counts_.data() + j * m_;
    std::fill_n(counts, m_, 0);
    for (int32_t p = 0; p < n_; ++p) ++counts[shown[p].a], ++counts[shown[p].b];
    for (int32_t i = 0; i < m_; ++i) totals_[i] += counts[i];
  }

  // Fills in, for each input, how many blocks of the other outputs show it or its likes; `totals_`
  // are theirs.
  const double* shown_elsewhere(const int32_t* own) {
    elsewhere_.assign(m_, 0.0);
    for (int32_t k = 0; k < m_; ++k) {
      const double blocks = 0.5 * (totals_[k] - own[k]);
      for (int32_t i = 0; i < m_; ++i) elsewhere_[i] += likeness_[k * m_ + i] * blocks;
    }
    return elsewhere_.data();
  }

  // What counts of the blocks that show an input elsewhere.
  double penalty(double shown) const {
    const double most = z_->tau * n_;
    return shown > most ? (z_->soft ? shown - most : shown) : 0.0;
  }

  void solve_output(Halves* shown, int32_t j, bool halves) {
    int32_t* own = counts_.data() + j * m_;
    int32_t most_shown[3];
    const int32_t few = halves ? find_most_shown(most_shown, own) : 0;
    const int32_t extra = few == 3 ? 3 : few == 2 ? 1 : 0;
    static constexpr uint8_t kPairs[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    const int32_t labels = m_ + extra;
    fill_unaries(own, j, labels);
    distance_.assign(int64_t{labels} * labels, 4);
    for (int32_t a = 0; a < labels; ++a) distance_[a * (labels + 1)] = 0;
    for (int32_t e = 0; e < extra; ++e) {
      const int32_t half = m_ + e, a = most_shown[kPairs[e][0]], b = most_shown[kPairs[e][1]];
      for (const int32_t input : {a, b})
        distance_[half * labels + input] = distance_[input * labels + half] = 1;
      for (int32_t p = 0; p < n_; ++p)
        unaries_[half * n_ + p] =
            ((unaries_[a * n_ + p] + unaries_[b * n_ + p]) >> 1) - fixed(kHalfBonus);
    }
    const Potts potts = {
        z_->blocks, n_, labels, m_, unaries_.data(), distance_.data(), fixed(0.25 * z_->beta / n_)};
    uint8_t found[kMaxCells];
    expansion_.minimise(potts, found);
    for (int32_t i = 0; i < m_; ++i) totals_[i] -= own[i];
    for (int32_t p = 0; p < n_; ++p) {
      const int32_t label = found[p];
      const uint8_t* pair = kPairs[label < m_ ? 0 : label - m_];
      shown[p].a = static_cast<uint8_t>(label < m_ ? label : most_shown[pair[0]]);
      shown[p].b = static_cast<uint8_t>(label < m_ ? label : most_shown[pair[1]]);
    }
    count(shown, j);
  }

  // The costs of each input in each block of an output, the others held fixed; room for all labels.
  void fill_unaries(const int32_t* own, int32_t j, int32_t labels) {
    unaries_.resize(int64_t{labels} * n_);
    const double* elsewhere = shown_elsewhere(own);
    for (int32_t i = 0; i < m_; ++i) {
      const double added = (2.0 * penalty(elsewhere[i]) + apart_[j * m_ + i]) * z_->gamma / n_;
      const int32_t more = fixed(std::min(added, kMostPenalty));
      for (int32_t p = 0; p < n_; ++p) unaries_[i * n_ + p] = costs_[i * n_ + p] + more;
    }
  }

  // The inputs that an output shows, if there are one or two; else the three shown most, in order
  // of their numbers.  Of equals the lower number comes first.
  int32_t find_most_shown(int32_t* found, const int32_t* counts) const {
    int32_t few = 0;
    for (; few < 3; ++few) {
      int32_t best = -1;
      for (int32_t i = 0; i < m_; ++i) {
        const bool is_taken = std::find(found, found + few, i) != found + few;
        if (counts[i] > 0 && !is_taken && (best < 0 || counts[i] > counts[best])) best = i;
      }
      if (best < 0) break;
      found[few] = best;
    }
    std::sort(found, found + few);
    return few;
  }

  // Of two outputs that show the same inputs, the first pays for one of them from now on, and the
  // second for another.
  void tell_apart() {
    for (int32_t j = 0; j < m_; ++j)
      for (int32_t k = j + 1; k < m_; ++k) {
        int32_t inputs[2], shows = 0;
        bool same = true;
        for (int32_t i = 0; i < m_ && same; ++i) {
          const bool is_shown = counts_[j * m_ + i] > 0;
          same = is_shown == (counts_[k * m_ + i] > 0);
          if (is_shown && shows < 2) inputs[shows++] = i;
        }
        if (!same || shows < 2) continue;
        apart_[j * m_ + inputs[0]] = apart_[k * m_ + inputs[1]] = 1;
      }
  }

  // Saliency, prior and smoothness.
  double linear_cost(const Halves* shown) const {
    int64_t halves = 0, squares = 0;  // of which two halves that differ from one input have 2
    for (int32_t j = 0; j < m_; ++j, shown += n_) {
      for (int32_t p = 0; p < n_; ++p)
        halves += costs_[shown[p].a * n_ + p] + costs_[shown[p].b * n_ + p];
      each_border(z_->blocks, n_, [&](int32_t p, int32_t q) {
        const Halves s = shown[p], t = shown[q];
        const int32_t common = (s.a == t.a) + (s.a == t.b) + (s.b == t.a) + (s.b == t.b);
        squares += (s.a == s.b ? 4 : 2) + (t.a == t.b ? 4 : 2) - 2 * common;
      });
    }
    return 0.5 * static_cast<double>(halves) / kShareOne +
           0.125 * z_->beta / n_ * static_cast<double>(squares);
  }

  // The objective without the threshold, whose change ends the sweeps.
  double plain_cost(const Halves* shown) const {
    int64_t squares = 0;
    for (const int32_t total : totals_) squares += int64_t{total} * total;
    for (const int32_t count : counts_) squares -= int64_t{count} * count;
    return linear_cost(shown) + 0.25 * z_->gamma / n_ * static_cast<double>(squares);
  }

  double thresholded() {
    double sum = 0.0;
    for (int32_t j = 0; j < m_; ++j) {
      const int32_t* own = counts_.data() + j * m_;
      const double* elsewhere = shown_elsewhere(own);
      for (int32_t i = 0; i < m_; ++i) sum += 0.5 * own[i] * penalty(elsewhere[i]);
    }
    return sum;
  }
};

}  // namespace msda
