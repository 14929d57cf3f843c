#include "cuda/host/blend_records.h"

#include <algorithm>

#include "cuda/host/most_threads.h"
#include "msda/blend.h"

namespace msda {
namespace {

constexpr int32_t kBlock = 256;         // threads: four such blocks share a multiprocessor
constexpr int64_t kMostAcross = 65535;  // blocks along y that CUDA allows
constexpr int64_t kMostPixels = 64;     // below one another that a thread makes, if blocks are many
constexpr int64_t kBlocksEnough = 7;    // for a multiprocessor, so that it is never idle for long
constexpr int64_t kFewPixels = 4;       // that a thread makes where runs are apart (blend.cuh)
constexpr int64_t kThreadsEnough = 512;   // for a multiprocessor, which holds twice as many
constexpr uint32_t kReciprocalBits = 20;  // enough for an exact quotient of up to 1024 threads

int32_t bytes_of(int32_t dtype) { return dtype == kUint8 ? 1 : dtype == kFloat32 ? 4 : 2; }

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int32_t pixels_of(const MsdaBlend& b) {
  return group_pixels(bytes_of(b.in_dtype), bytes_of(b.out_dtype));
}

bool is_hard(float weight) { return weight == 0.0f || weight == 1.0f; }

// Whether kernels that take groups serve the images.
bool has_groups(const MsdaBlend& b) {
  return (b.channels == 1 || b.channels == 3) && int64_t{b.height} * b.width <= UINT32_MAX;
}

// Whether the runs of groups may be made apart.
bool has_apart(const MsdaBlend& b, const MsdaBlendCounts& counts) {
  return counts.aligned && b.channels > 1 && !b.pairs;
}

// Whether they serve the record.  Policies draw no others.
bool has_groups(const Plan& p) {
  if (erases(p)) return p.sources == 1;
  if (shrinks(p)) return p.inside == 0.0f && p.outside == 1.0f;
  return p.sources <= 2 ||
         std::all_of(p.weight, p.weight + p.sources, [](float weight) { return weight != 0.0f; });
}

bool is_multiple(const void* address, int64_t of) {
  return reinterpret_cast<uintptr_t>(address) % static_cast<uintptr_t>(of) == 0;
}

// Whether groups are whole, and their loads and stores may be as wide as possible.
bool is_aligned(const MsdaBlend& b, const Plan& p, const void* out) {
  const int32_t pixels = pixels_of(b), bytes = pixels * b.channels * bytes_of(b.in_dtype);
  const int32_t load = std::min(bytes & -bytes, 16);  // load_words() of cuda/window.h
  bool aligned = b.width % pixels == 0 && is_multiple(out, pixels * bytes_of(b.out_dtype));
  for (int32_t k = 0; k < p.sources; ++k)
    aligned = aligned && is_multiple(b.ins[p.source[k]], load);
  return aligned;
}

// A record without a box, whose pixels all have one weight.
void set_one_weight(MsdaBlendRecord* r, float weight) {
  r->mode = is_hard(weight) ? kSelectBox : kMixBox;
  r->weight = {weight, weight};
  r->box = {0, 0, 0, 0};
}

void set_several(MsdaBlendRecord* r, const Plan& p) {
  r->mode = kSeveral;
  r->several = {{p.weight[1], p.weight[2], p.sources > 3 ? p.weight[3] : 0.0f}, p.sources};
}

void set_two(MsdaBlendRecord* r, const Plan& p, int64_t mask) {
  r->weight = {p.inside, p.outside};
  r->box = {p.y0, p.y1, p.x0, p.x1};
  switch (weight_kind(p)) {
    case WeightKind::kOne:
      return set_one_weight(r, one_weight(p));
    case WeightKind::kBox:
      r->mode = is_hard(p.inside) && is_hard(p.outside) ? kSelectBox : kMixBox;
      if (r->mode == kSelectBox && p.inside == p.outside) set_one_weight(r, p.inside);
      if (!shrinks(p)) return;
      r->mode = kShrink;
      r->spacing = {p.falloff[1], p.falloff[2]};
      return;
    case WeightKind::kBump:
      r->mode = kMixBump;
      r->bump = {p.point[1], p.point[2], p.falloff[1], p.falloff[2]};
      return;
    case WeightKind::kBits:
      r->mode = kSelectBits;
      r->weight = {1.0f, 0.0f};
      r->box = {0, 0, 0, 0};
      r->mask = mask;
      return;
    case WeightKind::kFloats:
      r->mode = kMixFloats;
      r->mask = mask;
      return;
  }
}

// The record of output i.
MsdaBlendRecord record_of(const MsdaBlend& b, int32_t i, int64_t mask) {
  const Plan& p = b.plans[i];
  const auto source = [&](int32_t k) {
    return k < p.sources ? static_cast<const char*>(b.ins[p.source[k]]) : nullptr;
  };
  MsdaBlendRecord r = {};
  r.own = source(0), r.partner = source(1), r.out = static_cast<char*>(b.outs[i]);
  r.plan = i;
  r.aligned = is_aligned(b, p, r.out);
  for (int32_t k = 0; b.mirror && k < p.sources; ++k)
    if (b.mirror[p.source[k]]) r.mirrored |= 1u << k;
  if (p.sources > 2) {
    r.third = source(2), r.fourth = p.sources > 3 ? source(3) : r.own;
    set_several(&r, p);
  } else if (p.sources == 2) {
    set_two(&r, p, mask);
  } else {
    set_one_weight(&r, 1.0f);
  }
  if (erases(p)) {
    r.mode = kErase;
    r.box = {p.y0, p.y1, p.x0, p.x1};
  }
  return r;
}

}  // namespace
}  // namespace msda

using namespace msda;

void msda_blend_records(MsdaBlendRecord* records, MsdaBlendCounts* counts, const MsdaBlend* blend,
                        int64_t mask_stride, const int32_t* numbers) {
  const MsdaBlend& b = *blend;
  const auto other = [&](int32_t i) { return b.pairs ? b.pairs[i] : i; };
  const auto groups = [&](int32_t i) {
    return has_groups(b) && has_groups(b.plans[i]) && has_groups(b.plans[other(i)]);
  };
  const auto make = [&](int32_t i) {
    *records = record_of(b, i, mask_stride * (numbers ? numbers[i] : i));
    counts->aligned &= records->aligned || !groups(i);
    ++records;
  };
  *counts = {0, 0, 1};
  for (const bool wanted : {true, false})
    for (int32_t i = 0; i < b.batch; ++i) {
      if (other(i) < i || groups(i) != wanted) continue;  // made with the other one
      ++(wanted ? counts->groups : counts->values);
      make(i);
      if (other(i) > i) {
        make(other(i));
      } else if (b.pairs) {
        *records = {};
        records++->mode = kNothing;
      }
    }
}

void msda_blend_arguments(MsdaGpuBlend* arguments, const MsdaBlend* blend) {
  MsdaGpuBlend& a = *arguments;
  const MsdaBlend& b = *blend;
  a.height = b.height, a.width = b.width, a.channels = b.channels;
  a.pixels = static_cast<uint32_t>(b.height) * static_cast<uint32_t>(b.width);
  const auto around = static_cast<uint32_t>(pixels_of(b)) + 7;
  a.inner = a.pixels > around ? a.pixels - around : 0;
  a.plane = int64_t{a.pixels} * bytes_of(b.out_dtype);
  a.chw = b.out_layout == kChw;
  a.normalises = b.scale != nullptr;
  a.in_place = b.pairs != nullptr;
  for (int32_t k = 0; k < 3; ++k) {
    const bool given = b.scale && k < b.channels;
    a.scales[k] = given ? b.scale[k] : 1.0f, a.shifts[k] = given ? b.shift[k] : -0.0f;
  }
}

int32_t msda_blend_launch(uint32_t* grid, MsdaGpuBlend* arguments, const MsdaBlendCounts* counts,
                          const MsdaBlend* blend, int32_t multiprocessors) {
  MsdaGpuBlend& a = *arguments;
  const int64_t height = blend->height, outputs = counts->groups;
  const int64_t block = gpu::most_threads(kBlock);
  int64_t pixels = pixels_of(*blend), across = ceil_div(blend->width, pixels);
  a.apart = has_apart(*blend, *counts) && ceil_div(blend->width, kFewPixels) <= block &&
            outputs * height * across <= kThreadsEnough * multiprocessors;
  if (a.apart) pixels = kFewPixels, across = ceil_div(blend->width, pixels);
  // Long rows are divided evenly, and a small image takes no more threads than it has groups.
  const int64_t pieces = ceil_div(across, block), columns = ceil_div(across, pieces);
  const int64_t rows = std::min(block / columns, height);
  const int64_t parts = a.apart ? blend->channels : pieces;
  const int64_t outputs_at_once = std::clamp<int64_t>(outputs, 1, kMostAcross);
  int64_t groups = kMostPixels / pixels;
  const auto blocks = [&] { return parts * ceil_div(ceil_div(height, rows), groups); };
  while (groups > 1 && blocks() * outputs_at_once < kBlocksEnough * multiprocessors) groups /= 2;
  grid[0] = static_cast<uint32_t>(blocks());
  grid[1] = static_cast<uint32_t>(outputs_at_once);
  a.count = counts->groups;
  a.parts = static_cast<uint32_t>(parts);
  a.columns = static_cast<uint32_t>(columns), a.rows = static_cast<uint32_t>(rows);
  a.reciprocal = static_cast<uint32_t>(ceil_div(1 << kReciprocalBits, columns));
  return static_cast<int32_t>(ceil_div(columns * rows, 32) * 32);
}
