// msda_draw: first the partners of a whole batch, then the records of each slot.
#include "msda/draw.h"

#include <algorithm>
#include <vector>

#include "cpu/closed.h"

namespace msda {
namespace {

constexpr uint32_t kAttempts = 4096;  // numbers of draws that are reserved for each further source

struct Keyed {
  uint64_t key;
  int32_t slot;
  bool operator<(const Keyed& other) const {
    return key != other.key ? key < other.key : slot < other.slot;
  }
};

// A random order of the first n slots.  They are sorted by a random key of their own, so that all
// orders are equally likely and no generator is shared.
void random_order(std::vector<Keyed>& order, const MsdaDraw& draw, int32_t n, uint32_t index) {
  order.resize(n);
  for (int32_t i = 0; i < n; ++i)
    order[i] = {word64(draw.seed, identity_of(draw, i), draw.step, kDrawPartner, index), i};
  std::sort(order.begin(), order.end());
}

void permutation(int32_t* partner, std::vector<Keyed>& order, const MsdaDraw& draw, int32_t n,
                 uint32_t index) {
  random_order(order, draw, n, index);
  for (int32_t i = 0; i < n; ++i) partner[i] = order[i].slot;
}

// Uniform over the permutations without a fixed point.  It takes about e = 2.7 attempts.
void derangement(int32_t* partner, std::vector<Keyed>& order, const MsdaDraw& draw, int32_t n,
                 uint32_t index) {
  for (uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
    permutation(partner, order, draw, n, index + attempt);
    bool fixed = false;
    for (int32_t i = 0; i < n; ++i) fixed = fixed || partner[i] == i;
    if (!fixed || n < 2) return;
  }
}

// Random pairs; of an odd number the last stays alone.
void pairing(int32_t* partner, std::vector<Keyed>& order, const MsdaDraw& draw, int32_t n) {
  random_order(order, draw, n, 0);
  for (int32_t k = 0; k < n; k += 2) {
    const int32_t a = order[k].slot, b = order[k + 1 < n ? k + 1 : k].slot;
    partner[a] = b, partner[b] = a;
  }
}

// Slots of source `number` (1, 2 or 3) for the first n slots.
void partners(int32_t* partner, std::vector<Keyed>& order, const MsdaDraw& draw,
              const MsdaLeaf& leaf, int32_t n, int32_t number) {
  const uint32_t index = static_cast<uint32_t>(number - 1) * kAttempts;
  switch (leaf.partner) {
    case kPartnerFlip:
      for (int32_t i = 0; i < n; ++i) partner[i] = n - 1 - i;
      return;
    case kPartnerRoll:
      for (int32_t i = 0; i < n; ++i) partner[i] = ((i - number) % n + n) % n;
      return;
    case kPartnerDerangement:
      return derangement(partner, order, draw, n, index);
    default:
      if (leaf.scope == kScopePair) return pairing(partner, order, draw, n);
      return permutation(partner, order, draw, n, index);
  }
}

bool same_partners(const MsdaLeaf& a, const MsdaLeaf& b) {
  return a.partner == b.partner && a.sources == b.sources &&
         (a.scope == kScopePair) == (b.scope == kScopePair);
}

// Partner slots of every leaf of the active stage, kept between calls by the calling thread.
struct Scratch {
  std::vector<Keyed> order;
  std::vector<int32_t> slots;   // [leaf of the stage][source - 1][slot]
  std::vector<int32_t> leaves;  // numbers of the stage's leaves
  int32_t batch = 0;

  const int32_t* row(size_t leaf, int32_t number) const {
    return &slots[(leaf * (kMaxSources - 1) + number - 1) * batch];
  }

  void fill(const MsdaLeaf* all, const MsdaDraw& draw) {
    batch = draw.batch;
    slots.resize(leaves.size() * (kMaxSources - 1) * batch);
    for (size_t k = 0; k < leaves.size(); ++k) {
      const MsdaLeaf& leaf = all[leaves[k]];
      for (int32_t number = 1; number < leaf.sources; ++number) {
        int32_t* mine = &slots[(k * (kMaxSources - 1) + number - 1) * batch];
        if (k > 0 && same_partners(leaf, all[leaves[k - 1]]))
          std::copy_n(row(k - 1, number), draw.distinct, mine);
        else
          partners(mine, order, draw, leaf, draw.distinct, number);
      }
    }
  }
};

// Leaves of the stage that serves this step: stages take turns of `count` batches each.
void active_leaves(std::vector<int32_t>& active, const MsdaLeaf* leaves, const MsdaDraw& draw) {
  uint64_t cycle = 0;
  for (int32_t k = 0; k < draw.leaves; ++k)
    if (k == 0 || leaves[k].stage != leaves[k - 1].stage)
      cycle += static_cast<uint64_t>(leaves[k].count);
  uint64_t at = draw.step % cycle;
  int32_t stage = leaves[0].stage;
  for (int32_t k = 0; k < draw.leaves; ++k) {
    if (k > 0 && leaves[k].stage == leaves[k - 1].stage) continue;
    stage = leaves[k].stage;
    if (at < static_cast<uint64_t>(leaves[k].count)) break;
    at -= static_cast<uint64_t>(leaves[k].count);
  }
  active.clear();
  for (int32_t k = 0; k < draw.leaves; ++k)
    if (leaves[k].stage == stage) active.push_back(k);
}

// The identity whose draws a slot uses: its own, that of its pair's lower slot, or slot 0's.
uint64_t unit_identity(const MsdaDraw& draw, int32_t scope, int32_t slot, int32_t partner) {
  if (scope == kScopeBatch) return identity_of(draw, 0);
  return identity_of(draw, scope == kScopePair ? std::min(slot, partner) : slot);
}

size_t choose(const MsdaLeaf* leaves, const std::vector<int32_t>& active, const MsdaDraw& draw,
              uint64_t identity) {
  if (active.size() == 1) return 0;
  const double u = uniform(word64(draw.seed, identity, draw.step, kDrawChoice, 0));
  double sum = 0.0;
  for (size_t k = 0; k + 1 < active.size(); ++k)
    if (u < (sum += leaves[active[k]].share)) return k;
  return active.size() - 1;
}

void draw_batch(Plan* plans, const MsdaLeaf* leaves, const MsdaDraw* draw) {
  static thread_local Scratch scratch;
  active_leaves(scratch.leaves, leaves, *draw);
  scratch.fill(leaves, *draw);
  const int32_t choice = leaves[scratch.leaves[0]].choice;
  for (int32_t i = 0; i < draw->batch; ++i) {
    Plan* mine = plans + int64_t{i} * draw->interpolations;
    if (i >= draw->distinct) {
      std::fill_n(mine, draw->interpolations, unmixed(*draw, i));
      continue;
    }
    const uint64_t chooser = unit_identity(*draw, choice, i, scratch.row(0, 1)[i]);
    const size_t k = choose(leaves, scratch.leaves, *draw, chooser);
    const MsdaLeaf& leaf = leaves[scratch.leaves[k]];
    int32_t partner[kMaxSources - 1] = {};
    for (int32_t s = 1; s < leaf.sources; ++s) partner[s - 1] = scratch.row(k, s)[i];
    // A batch that shares its box shares the peak of its first partner.
    const int32_t peak_slot = leaf.scope == kScopeBatch ? scratch.row(k, 1)[0] : partner[0];
    draw_slot(mine, *draw, leaf, scratch.leaves[k], i, partner, peak_slot,
              unit_identity(*draw, leaf.scope, i, partner[0]));
  }
}

}  // namespace
}  // namespace msda

extern "C" {

int32_t msda_draw(msda::Plan* plans, const MsdaLeaf* leaves, const MsdaDraw* draw) {
  return msda::closed([=] { msda::draw_batch(plans, leaves, draw); });
}

void msda_uniforms(double* out, int32_t n, uint64_t seed, uint64_t identity, uint32_t step,
                   uint32_t purpose) {
  for (int32_t i = 0; i < n; ++i)
    out[i] = msda::uniform(msda::word64(seed, identity, step, purpose, static_cast<uint32_t>(i)));
}

int32_t msda_plan_version(void) { return msda::kPlanVersion; }
}
