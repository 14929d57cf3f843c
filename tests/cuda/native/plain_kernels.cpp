// The kernels' arithmetic without vectors, instruction sets or threads of its own: pixel by pixel
// and phase by phase, in any order.  What the shipped ways of going through a batch must equal
// (plain_kernels.py).  Linked with the CPU backend, whose tables it uses.
#include <algorithm>
#include <vector>

#include "cpu/api.h"
#include "msda/blend.h"
#include "msda/field/soft.h"
#include "msda/philox.h"
#include "msda/saliency.h"

namespace msda {
namespace {

// Threads of a phase in one of several orders: what depends on it is a race.
enum Order : int32_t { kForward = 1, kReversed = 2, kShuffled = 3 };

template <typename Phase>
void each_thread(int32_t threads, int32_t order, Phase phase) {
  for (int32_t i = 0; i < threads; ++i) {
    int32_t thread = order == kReversed ? threads - 1 - i : i;
    if (order == kShuffled) thread = static_cast<int32_t>(i * int64_t{7919} % threads);
    phase(BlockThread{thread, threads});
  }
}

// The tables of an axis, as the GPU's host makes them.
struct Axis {
  std::vector<float> cosine, sine;
  std::vector<int32_t> place;
  Passes passes;

  explicit Axis(int32_t n) : cosine(n), sine(n), place(n) {
    MsdaAxis made = {cosine.data(), sine.data(), place.data(), {n, 0, {}}};
    msda_axis(&made);
    passes = made.passes;
  }
  Turns turns() const { return {cosine.data(), sine.data()}; }
};

int32_t radix_of(const Passes& passes) {
  int32_t greatest = 2;
  for (int32_t k = 0; k < passes.count; ++k) greatest = std::max(greatest, passes.radix[k]);
  return greatest;
}

void field_by_phases(const Plan& p, uint32_t* row, int32_t threads, int32_t order) {
  const Field f = field_of(p);
  const Axis z(f.depth), y(f.height), x(f.width);
  const int32_t greatest_radix =
      std::max({radix_of(z.passes), radix_of(y.passes), radix_of(x.passes)});
  std::vector<Words16> values(static_cast<size_t>(field_bytes(f.depth, f.height, f.width)) / 16);
  std::vector<Complex<float>> room(static_cast<size_t>(threads) * 2 * greatest_radix);
  std::vector<uint32_t> histogram(kDigits + kDigitGroups);
  const Entries data = {reinterpret_cast<float*>(values.data())};
  FieldBlock b = {};
  const bool in_twos = order != kForward;  // a GPU does so, or not
  const Axis* axes[3] = {&z, &y, &x};
  for (int32_t k = 0; k < 3; ++k) {
    b.lengths[k] = axes[k]->passes.length;
    b.turns[k] = axes[k]->turns(), b.place[k] = axes[k]->place.data();
  }
  for (int32_t k = 0; k < 3; ++k) set_axis(&b, k, axes[k]->passes, in_twos);
  b.room = room.data();
  std::vector<float> amplitudes(static_cast<size_t>(rows_of(f)) * f.half + 1);
  msda_amplitudes(amplitudes.data(), &p);
  const auto run = [&](auto phase) { each_thread(threads, order, phase); };
  run([&](BlockThread me) { phase_tables(b, data, me); });
  run([&](BlockThread me) {
    phase_begin(&b, p, in_twos ? amplitudes.data() : nullptr, p.decay, me);
  });
  run([&](BlockThread me) { phase_spectrum(b, data, me); });
  for (int32_t axis : {1, 0, 2}) {
    if (axis == 2) run([&](BlockThread me) { phase_pair(b, data, me); });
    for (int32_t step = 0; step < b.steps[axis].count; ++step)
      run([&](BlockThread me) { phase_step<true>(b, data, axis, step, me); });
  }
  run([&](BlockThread me) { phase_blank(b, data, me); });
  const auto select = [&](int32_t rank) {
    int32_t level = 0;
    b.found[0] = {0, static_cast<uint32_t>(rank)};
    for (; level < kLevels && b.found[level % 2].rank > 0; ++level) {
      run([&](BlockThread me) { phase_clear(histogram.data(), me); });
      run([&](BlockThread me) { phase_count(b, data, histogram.data(), level, me); });
      run([&](BlockThread me) { phase_sum(histogram.data(), level, me); });
      run([&](BlockThread me) { phase_choose(&b, histogram.data(), level, me); });
    }
    return b.found[level % 2].prefix;
  };
  if (p.soft == 0) {
    const uint64_t last = select(p.count);
    return run([&](BlockThread me) { phase_bits(b, data, row, last, p.count > 0, me); });
  }
  uint32_t taken = 0;
  const uint64_t before = select(p.count - p.soft), last = select(p.count + p.soft);
  const Band band = {before, last, static_cast<uint32_t>(p.soft), row, &taken};
  run([&](BlockThread me) { phase_list(b, data, band, me); });
  for (uint32_t length = 2; length / 2 < 2 * band.soft; length *= 2)
    for (uint32_t gap = length / 2; gap > 0; gap /= 2)
      run([&](BlockThread me) {
        phase_sort(b, data, band, length, gap == length / 2 ? 0 : gap, me);
      });
  run([&](BlockThread me) { phase_ramp(b, data, band, me); });
  run([&](BlockThread me) { phase_weights(b, data, band, me); });
}

template <typename In>
void saliency_by_phases(const MsdaSaliency& s, int64_t i, int32_t threads, int32_t order) {
  std::vector<char> memory(saliency_block_bytes(s.height, s.width));
  std::vector<uint64_t> found(static_cast<size_t>(threads));
  Greatest greatest[2];
  SaliencyBlock b = {};
  b.height = s.height, b.width = s.width, b.channels = s.channels;
  place_in(&b, memory.data());
  b.map = s.maps ? static_cast<uint8_t*>(s.maps[i]) : nullptr;
  b.mirrored = s.mirror && s.mirror[i];
  b.found = found.data(), b.greatest = greatest;
  const auto run = [&](auto phase) { each_thread(threads, order, phase); };
  run([&](BlockThread me) { phase_grey(b, static_cast<const In*>(s.ins[i]), me); });
  run([&](BlockThread me) { phase_smooth(b, b.other, b.grey, me); });
  run([&](BlockThread me) { phase_smooth(b, b.grey, b.other, me); });
  run([&](BlockThread me) { phase_runs(b, me); });
  run([&](BlockThread me) { phase_row_sums(b, me); });
  run([&](BlockThread me) { phase_column_sums(b, me); });
  run([&](BlockThread me) { phase_contrasts(b, me); });
  run([&](BlockThread me) { phase_fold_sums(b, me); });
  run([&](BlockThread me) { phase_greatest(b, me); });
  run([&](BlockThread me) { phase_map(b, me); });
  run([&](BlockThread me) { phase_fold_peaks(b, me); });
  run([&](BlockThread me) { phase_peak(b, s.peaks + 2 * i, me); });
}

template <typename In>
void blend(const MsdaBlend& b, int32_t index) {
  const Plan& p = b.plans[index];
  const void* mask = has_mask(p) ? b.fields[index] : nullptr;
  const In* sources[kMaxSources];
  bool mirrored[kMaxSources];
  for (int32_t k = 0; k < p.sources; ++k) {
    sources[k] = static_cast<const In*>(b.ins[p.source[k]]);
    mirrored[k] = b.mirror && b.mirror[p.source[k]];
  }
  for (int32_t y = 0; y < b.height; ++y)
    for (int32_t x = 0; x < b.width; ++x)
      for (int32_t c = 0; c < b.channels; ++c) {
        float v = blend_value(sources, mirrored, p, mask, y, x, c, b.channels);
        if (b.scale) v = normalise(v, b.scale[c], b.shift[c]);
        if (erases(p) && in_box(p, y, x)) v = 0.0f;
        const int64_t pixel = static_cast<int64_t>(y) * b.width + x;
        const int64_t at = b.out_layout == kHwc
                               ? pixel * b.channels + c
                               : static_cast<int64_t>(c) * b.height * b.width + pixel;
        switch (b.out_dtype) {
          case kUint8:
            store(static_cast<uint8_t*>(b.outs[index]) + at, v);
            break;
          case kFloat16:
            store(static_cast<Float16*>(b.outs[index]) + at, v);
            break;
          case kBfloat16:
            store(static_cast<Bfloat16*>(b.outs[index]) + at, v);
            break;
          default:
            store(static_cast<float*>(b.outs[index]) + at, v);
        }
      }
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

void plain_blend(const MsdaBlend* b) {
  for (int32_t i = 0; i < b->batch; ++i)
    b->in_dtype == kUint8 ? blend<uint8_t>(*b, i) : blend<float>(*b, i);
}

void plain_fields(const MsdaFields* fields, int32_t threads, int32_t order) {
  for (int32_t i = 0; i < fields->batch; ++i)
    if (fields->plans[i].method == kFMix)
      field_by_phases(fields->plans[i], static_cast<uint32_t*>(fields->fields[i]), threads, order);
}

void plain_saliency(const MsdaSaliency* saliency, int32_t threads, int32_t order) {
  for (int32_t i = 0; i < saliency->batch; ++i)
    if (saliency->in_dtype == kUint8)
      saliency_by_phases<uint8_t>(*saliency, i, threads, order);
    else
      saliency_by_phases<float>(*saliency, i, threads, order);
}

void plain_philox(uint32_t* words, const uint32_t* counter, const uint32_t* key) {
  const msda::Words4 w =
      msda::philox4x32({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
  for (int k = 0; k < 4; ++k) words[k] = w.v[k];
}

void plain_maths(float* out, const float* in, int64_t n, int32_t function) {
  using Function = float (*)(float);
  constexpr Function functions[] = {exp32, log32, [](float x) { return sine_cosine(x).sine; },
                                    [](float x) { return sine_cosine(x).cosine; }};
  for (int64_t i = 0; i < n; ++i) out[i] = functions[function](in[i]);
}
}
