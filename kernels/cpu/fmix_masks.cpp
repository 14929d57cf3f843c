// The masks of FMix: tables that masks of one size share, bits, and weights of softened edges.
#include <algorithm>
#include <cstring>
#include <limits>
#include <list>
#include <memory>
#include <vector>

#include "cpu/closed.h"
#include "cpu/isa.h"
#include "cpu/threads.h"
#include "msda/field/soft.h"

namespace msda {
namespace {

// cos and sin of 2 pi k / n, by Taylor series of an angle of at most an eighth of a turn.  libm is
// not used, so that every machine has the same table.
void turn(int64_t k, int64_t n, float* cosine, float* sine) {
  const int64_t octant = 8 * k / n;
  // The angle from the nearest axis, in units of 2 pi / (8 n).
  const int64_t from_axis = octant % 2 ? (octant + 1) * n - 8 * k : 8 * k - octant * n;
  const double a =
      static_cast<double>(from_axis) / static_cast<double>(8 * n) * 6.283185307179586476925;
  const double z = a * a;
  double s = 0.0, c = 0.0;
  for (int32_t i = 17; i >= 3; i -= 2) s = (s + 1.0) * -z / ((i - 1) * i);
  for (int32_t i = 16; i >= 2; i -= 2) c = (c + 1.0) * -z / ((i - 1) * i);
  s = a * (s + 1.0), c = c + 1.0;
  const double x[8] = {c, s, -s, -c, -c, -s, s, c}, y[8] = {s, c, c, s, -s, -c, -c, -s};
  *cosine = static_cast<float>(x[octant]);
  *sine = static_cast<float>(y[octant]);
}

// One axis: its passes, its table of turns and where its entries end up.
struct Axis {
  Passes passes;
  std::vector<float> cosine, sine;
  std::vector<int32_t> place;

  explicit Axis(int32_t n) : passes(passes_of(n)), cosine(n), sine(n), place(n) {
    for (int32_t k = 0; k < n; ++k) {
      turn(k, n, &cosine[k], &sine[k]);
      place[k] = reversed(passes, k);
    }
  }
  Turns turns() const { return {cosine.data(), sine.data()}; }
};

class Tables {
 public:
  explicit Tables(const Field& f) : axes_{Axis(f.depth), Axis(f.height), Axis(f.width)} {
    list_blocks(f);
    int32_t radix = 2;
    line_.resize(rows_of(f));
    for (int32_t i = 0; i < rows_of(f); ++i)
      line_[axes_[0].place[i / f.height] * f.height + axes_[1].place[i % f.height]] = i;
    for (const Axis& axis : axes_)
      for (int32_t k = 0; k < axis.passes.count; ++k) radix = std::max(radix, axis.passes.radix[k]);
    tables = {f,
              axes_[0].passes,
              axes_[1].passes,
              axes_[2].passes,
              axes_[0].turns(),
              axes_[1].turns(),
              axes_[2].turns(),
              axes_[2].place.data(),
              line_.data(),
              block_.data(),
              static_cast<int32_t>(block_.size()),
              re_.data(),
              (f.law == kLawPaper ? re_ : im_).data(),
              start_.data(),
              columns_of(f),
              radix};
  }
  FieldTables tables;

 private:
  // Lists the Philox blocks of rows that are not 0, each once, and the amplitudes of their entries.
  void list_blocks(const Field& f) {
    start_.resize(whole_rows(f), -1);
    const int64_t entries = int64_t{rows_of(f)} * f.half;
    for (int32_t row = 0; row < rows_of(f); ++row) {
      if (is_zero(f, row)) continue;
      const int64_t first = int64_t{row} * f.half, last = first + columns_of(f) - 1;
      if (block_.empty() || block_.back() != first / 2)
        block_.push_back(static_cast<uint32_t>(first / 2));
      start_[row] = static_cast<int32_t>(2 * (block_.size() - 1) + first % 2);
      for (int64_t block = first / 2 + 1; block <= last / 2; ++block)
        block_.push_back(static_cast<uint32_t>(block));
    }
    block_.resize((block_.size() + kMostBlocks - 1) / kMostBlocks * kMostBlocks);
    for (uint32_t block : block_)
      for (int64_t entry = 2 * int64_t{block}; entry < 2 * int64_t{block} + 2; ++entry) {
        const int32_t row = static_cast<int32_t>(entry / f.half);
        const int32_t x = static_cast<int32_t>(entry % f.half);
        const Amplitudes a = entry < entries ? amplitudes(f, row, x) : Amplitudes{0.0f, 0.0f};
        re_.push_back(a.re), im_.push_back(a.im);
      }
    for (int32_t& start : start_)
      if (start < 0) start = static_cast<int32_t>(re_.size());
  }

  static bool is_zero(const Field& f, int32_t row) {
    for (int32_t x = 0; x < columns_of(f); ++x) {
      const Amplitudes a = amplitudes(f, row, x);
      if (a.re != 0.0f || a.im != 0.0f) return false;
    }
    return true;
  }

  Axis axes_[3];
  std::vector<int32_t> line_, start_;
  std::vector<uint32_t> block_;
  std::vector<float> re_, im_;
};

bool alike(const Field& a, const Field& b) {
  return a.depth == b.depth && a.height == b.height && a.width == b.width && a.law == b.law &&
         a.modes == b.modes && a.decay == b.decay;
}

std::list<std::shared_ptr<const Tables>> kept;  // the last used comes first

// The tables of a plan, kept for the plans to come: a training run needs one or two kinds.
std::shared_ptr<const Tables> tables_of(const Plan& p) {
  constexpr size_t kKept = 16;
  const Field f = field_of(p);
  std::lock_guard<std::mutex> lock(mutex_of_process());
  for (auto it = kept.begin(); it != kept.end(); ++it)
    if (alike((*it)->tables.f, f)) {
      kept.splice(kept.begin(), kept, it);
      return kept.front();
    }
  kept.push_front(std::make_shared<const Tables>(f));
  if (kept.size() > kKept) kept.pop_back();
  return kept.front();
}

struct Scratch {
  std::vector<float> memory;
  float* at(int64_t floats) {
    if (static_cast<int64_t>(memory.size()) < floats + 16) memory.resize(floats + 16);
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory.data());
    return memory.data() + (-address & 63) / sizeof(float);
  }
};

// Bits of the `count` pixels whose values are the greatest.
void make_bits(uint32_t* bits, const float* values, int64_t pixels, int64_t count, float* scratch,
               int32_t isa) {
  if (count > 0) return kernels_of(isa).mask_bits(bits, values, pixels, count, scratch);
  std::fill_n(bits, (pixels + 31) / 32, 0u);
}

constexpr int32_t kSortBits = 11, kSortDigits = 1 << kSortBits;

// Sorts orders, key << 32 | pixel, by their keys; the pixels ascend already.  It is a radix sort
// from the lowest digit on, as far as the keys differ.  `spare` is as long as `orders`, and the
// result lies in one of the two.
uint64_t* sorted(uint64_t* orders, uint64_t* spare, int64_t n) {
  uint64_t least = ~uint64_t{0}, greatest = 0;
  for (int64_t i = 0; i < n; ++i) {
    least = orders[i] < least ? orders[i] : least;
    greatest = orders[i] > greatest ? orders[i] : greatest;
  }
  const uint64_t base = least >> 32, range = (greatest >> 32) - base;
  for (int32_t shift = 0; range >> shift != 0; shift += kSortBits) {
    const auto digit = [&](uint64_t order) {
      return ((order >> 32) - base) >> shift & (kSortDigits - 1);
    };
    uint32_t at[kSortDigits] = {};
    for (int64_t i = 0; i < n; ++i) ++at[digit(orders[i])];
    uint32_t before = 0;
    for (uint32_t& count : at) {
      const uint32_t counted = count;
      count = before;
      before += counted;
    }
    for (int64_t i = 0; i < n; ++i) spare[at[digit(orders[i])]++] = orders[i];
    uint64_t* const swapped = orders;
    orders = spare;
    spare = swapped;
  }
  return orders;
}

// The weights of a mask whose edge is softened, as msda/field/soft.h makes them.  They are 1 for
// the pixels of the bits `before`, and fall from 1 to 0 for the 2 * soft others that `until` has.
void soften(float* weights, const float* values, int64_t pixels, const uint32_t* before,
            const uint32_t* until, int64_t soft) {
  static thread_local std::vector<uint64_t> memory;
  if (static_cast<int64_t>(memory.size()) < 4 * soft) memory.resize(4 * soft);
  uint64_t *orders = memory.data(), *listed = orders;
  for (int64_t first = 0; first < pixels; first += 32) {
    const uint32_t ones = before[first / 32];
    const int64_t n = pixels - first < 32 ? pixels - first : 32;
    for (int64_t i = 0; i < n; ++i) weights[first + i] = static_cast<float>(ones >> i & 1u);
    for (uint32_t band = until[first / 32] & ~ones; band; band &= band - 1) {
      const int64_t pixel = first + __builtin_ctz(band);
      *listed++ = uint64_t{descending_key(values[pixel])} << 32 | static_cast<uint32_t>(pixel);
    }
  }
  orders = sorted(orders, orders + 2 * soft, 2 * soft);
  for (int64_t rank = 0; rank < 2 * soft; ++rank)
    weights[static_cast<uint32_t>(orders[rank])] =
        ramp(static_cast<uint32_t>(rank), static_cast<uint32_t>(soft));
}

void make_weights(const Plan& p, float* weights, const float* values, int64_t pixels,
                  float* scratch, int32_t isa) {
  static thread_local std::vector<uint32_t> bits;
  const int64_t words = (pixels + 31) / 32;
  if (static_cast<int64_t>(bits.size()) < 2 * words) bits.resize(2 * words);
  uint32_t *before = bits.data(), *until = before + words;
  make_bits(before, values, pixels, p.count - p.soft, scratch, isa);
  make_bits(until, values, pixels, p.count + p.soft, scratch, isa);
  soften(weights, values, pixels, before, until, p.soft);
}

// `values_kept`: the values are those of the record before, which this thread has just made.
void make_field(const Plan& p, void* field, int32_t isa, bool values_kept) {
  static thread_local Scratch scratch;
  const std::shared_ptr<const Tables> tables = tables_of(p);
  const int64_t pixels = pixels_of(tables->tables.f);
  const int64_t rest_floats = std::max(field_scratch(tables->tables), select_scratch(pixels));
  float* values = scratch.at(pixels + 16 + rest_floats);
  float* rest = values + (pixels + 15) / 16 * 16;
  if (!values_kept) kernels_of(isa).field_values(values, tables->tables, p.field_seed, rest);
  if (p.soft > 0)
    make_weights(p, static_cast<float*>(field), values, pixels, rest, isa);
  else
    make_bits(static_cast<uint32_t*>(field), values, pixels, p.count, rest, isa);
}

// Whether a record's mask is that of the pair before, as where a batch shares its masks.  It is
// then copied.
bool repeats(const MsdaFields& f, int64_t i) {
  return i >= f.interpolations && msda_same_mask(f.plans + i - f.interpolations, f.plans + i);
}

void make_fields(const MsdaFields* fields) {
  const auto task = [](const void* job, int64_t begin, int64_t end) {
    const auto& f = *static_cast<const MsdaFields*>(job);
    const Plan* made = nullptr;
    for (int64_t i = begin * f.interpolations; i < end * f.interpolations; ++i) {
      if (f.plans[i].method != kFMix || repeats(f, i)) continue;
      const bool kept = made && have_same_field(*made, f.plans[i]);
      make_field(f.plans[i], f.fields[i], f.isa, kept);
      made = f.plans + i;
    }
  };
  parallel_for(fields->batch / fields->interpolations, 1, fields->threads, task, fields);
  for (int64_t i = fields->interpolations; i < fields->batch; ++i) {
    if (!repeats(*fields, i)) continue;
    const Plan& p = fields->plans[i];
    const int64_t pixels = pixels_of(field_of(p));
    std::memcpy(fields->fields[i], fields->fields[i - fields->interpolations],
                p.soft > 0 ? pixels * sizeof(float) : (pixels + 31) / 32 * sizeof(uint32_t));
  }
}

}  // namespace
}  // namespace msda

extern "C" {
using namespace msda;

int32_t msda_same_mask(const Plan* a, const Plan* b) {
  return a->method == kFMix && b->method == kFMix && a->count == b->count && a->soft == b->soft &&
         have_same_field(*a, *b);
}

int32_t msda_fields(const MsdaFields* fields) {
  return closed([=] { make_fields(fields); });
}

int32_t msda_amplitudes(float* to, const Plan* plan) {
  return closed([=] {
    const Field f = field_of(*plan);
    const int64_t entries = int64_t{rows_of(f)} * f.half;
    for (int64_t i = 0; i < entries; ++i)
      to[i] = amplitudes(f, static_cast<int32_t>(i / f.half), static_cast<int32_t>(i % f.half)).re;
    to[entries] = 0.0f;
  });
}

int64_t msda_field_block_bytes(const Plan* plan) { return field_block_bytes(field_of(*plan)); }

int32_t msda_axis(MsdaAxis* axis) {
  return closed([=] {
    const Axis made(axis->passes.length);
    axis->passes = made.passes;
    std::copy(made.cosine.begin(), made.cosine.end(), axis->cosine);
    std::copy(made.sine.begin(), made.sine.end(), axis->sine);
    std::copy(made.place.begin(), made.place.end(), axis->place);
  });
}
}
