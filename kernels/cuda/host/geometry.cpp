#include "cuda/host/geometry.h"

#include <algorithm>
#include <vector>

#include "cpu/api.h"
#include "cpu/closed.h"
#include "msda/field/phases.h"

namespace {

constexpr int64_t kMostAcross = 65535;          // blocks along y that CUDA allows
constexpr int64_t kWaves = 64;                  // how many times the resident blocks a grid may be
constexpr int64_t kMostThreads = INT32_MAX;     // along x: the kernels count them
constexpr int64_t kFieldThreads = 1024;         // of the masks that a multiprocessor holds
constexpr int64_t kMostSaliencyThreads = 1024;  // of a block (saliency.cu)
constexpr int64_t kReserved = 1024;             // bytes of shared memory that CUDA adds to a block
constexpr int64_t kDeviceThreads = 132 * kFieldThreads;  // of an H100 or H200
constexpr int64_t kFieldShared = 11 * 1024;  // what field.cu has in shared memory besides that
constexpr int64_t kAlignment = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Memory is for a power of two, 8 or more, so that it has the same size for batches of nearly the
// same number of masks.
int64_t rounded(int64_t count) {
  int64_t size = 8;
  while (size < count) size *= 2;
  return size;
}

int32_t greatest_radix(const MsdaFieldLaunch& l) {
  int32_t greatest = 1;
  for (const int32_t length : {l.depth, l.height, l.width}) {
    const msda::Passes passes = msda::passes_of(length);
    for (int32_t k = 0; k < passes.count; ++k) greatest = std::max(greatest, passes.radix[k]);
  }
  return greatest;
}

// Threads of a block.  As many blocks share a multiprocessor as its shared memory holds, and fill
// it.  Where the batch is too small for that, blocks have more threads, but no more than entries.
int32_t field_threads(const MsdaFieldLaunch& l) {
  int64_t threads = l.values / 64;
  if (l.in_shared) {
    const int64_t blocks = (l.most_shared + kReserved) / (l.values + kFieldShared + kReserved);
    for (threads = kFieldThreads; 2 * kFieldThreads <= blocks * threads;) threads /= 2;
    threads = std::max(threads, std::min(kDeviceThreads / std::max(l.fields, 1), l.values / 8));
  }
  return static_cast<int32_t>(std::clamp<int64_t>(threads / 32 * 32, 64, kFieldThreads));
}

}  // namespace

void msda_grid(uint32_t* grid, int64_t samples, int64_t rows, int64_t items, int32_t threads,
               int32_t resident) {
  const int64_t across = std::clamp<int64_t>(samples, 1, kMostAcross);
  const int64_t needed = ceil_div(rows * items, threads);
  const int64_t wanted = std::max<int64_t>(1, ceil_div(kWaves * resident, across));
  const int64_t along = std::min({needed, wanted, kMostThreads / threads});
  grid[0] = static_cast<uint32_t>(std::max<int64_t>(1, along));
  grid[1] = static_cast<uint32_t>(across);
}

void msda_field_launch(MsdaFieldLaunch* l) {
  const int64_t pixels = int64_t{l->depth} * l->height * l->width;
  l->radix = greatest_radix(*l);
  l->values = msda::field_bytes(l->depth, l->height, l->width);
  l->room = l->radix > msda::kUnrolledRadix ? int64_t{2} * l->radix * 8 : 0;
  l->in_shared = l->values + kFieldShared <= l->most_shared;
  l->shared = l->in_shared ? l->values : 0;
  l->limit = field_threads(*l);
  l->blocks = std::min(l->fields, l->resident);
  l->row = 4 * (l->soft ? pixels : ceil_div(pixels, 32));
  l->workspace = ceil_div(l->row * rounded(l->masks), kAlignment) * kAlignment;
  l->per_block = l->room * l->threads + (l->in_shared ? 0 : l->values);
  l->scratch = l->workspace + std::min<int64_t>(rounded(l->blocks), l->resident) * l->per_block;
}

int32_t msda_mask_lists(int32_t* lists, const msda::Plan* plans, int32_t batch) {
  static thread_local std::vector<int32_t> slots;  // a hash table of masks
  uint64_t size = 2;
  while (size < 2 * static_cast<uint64_t>(batch)) size *= 2;
  if (msda::closed([=] { slots.assign(size, -1); }) != kDone) return -1;
  int32_t *numbers = lists, *makers = numbers + batch, *firsts = makers + batch;
  int32_t masks = 0, fields = 0;
  for (int32_t i = 0; i < batch; ++i) {
    numbers[i] = 0;
    const msda::Plan& p = plans[i];
    if (p.method != msda::kFMix) continue;
    uint64_t at = (p.field_seed[0] + 31u * static_cast<uint32_t>(p.count)) % size;
    while (slots[at] >= 0 && !msda_same_mask(plans + makers[slots[at]], &p)) at = (at + 1) % size;
    if (slots[at] < 0) {
      if (masks == 0 || !msda::have_same_field(plans[makers[masks - 1]], p))
        firsts[fields++] = masks;
      makers[masks] = i;
      slots[at] = masks++;
    }
    numbers[i] = slots[at];
  }
  firsts[fields] = masks;
  return fields;
}

int32_t msda_saliency_threads(int32_t batch, int32_t height, int32_t width) {
  const int64_t pixels = int64_t{height} * width;
  const int64_t threads = std::max(kDeviceThreads / std::max(batch, 1), pixels / 16);
  return static_cast<int32_t>(
      std::clamp<int64_t>(std::min(threads, pixels) / 32 * 32, 64, kMostSaliencyThreads));
}
