// Several callers at once, each of which draws, blends, masks, finds peaks and mixes labels with
// the threads of the pool that they share.  Exit code: 0 if all callers got what one alone gets.
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "cpu/api.h"

namespace {

constexpr int32_t kBatch = 6, kHeight = 64, kWidth = 300, kChannels = 3, kClasses = 5;
constexpr int32_t kCallers = 4, kRounds = 12, kThreads = 3;
constexpr size_t kPixels = size_t{kHeight} * kWidth, kValues = kPixels * kChannels;

struct Result {
  std::vector<uint8_t> mixed = std::vector<uint8_t>(kBatch * kValues);
  std::vector<float> weights = std::vector<float>(kBatch * kPixels);
  std::vector<float> rows = std::vector<float>(size_t{kBatch} * kClasses);
  std::vector<int32_t> peaks = std::vector<int32_t>(size_t{kBatch} * 2);

  bool operator==(const Result& o) const {
    return mixed == o.mixed && weights == o.weights && rows == o.rows && peaks == o.peaks;
  }
};

std::vector<MsdaLeaf> leaves() {
  std::vector<MsdaLeaf> made;
  for (const int32_t method : {msda::kMixup, msda::kCutMix, msda::kFMix, msda::kGMix}) {
    MsdaLeaf leaf = {};
    leaf.method = method, leaf.sources = 2, leaf.count = 1;
    leaf.share = 0.25, leaf.alpha = leaf.prob = 1.0, leaf.decay = 3.0;
    made.push_back(leaf);
  }
  return made;
}

template <typename T>
std::vector<T*> samples(std::vector<T>& batch, size_t each) {
  std::vector<T*> at;
  for (int32_t i = 0; i < kBatch; ++i) at.push_back(batch.data() + i * each);
  return at;
}

Result mix(uint32_t step, int32_t threads) {
  Result result;
  const std::vector<MsdaLeaf> policy = leaves();
  std::vector<msda::Plan> plans(kBatch);
  MsdaDraw draw = {};
  draw.seed = 1, draw.step = step, draw.batch = draw.distinct = kBatch;
  draw.depth = 1, draw.height = kHeight, draw.width = kWidth;
  draw.leaves = static_cast<int32_t>(policy.size()), draw.interpolations = 1;
  msda_draw(plans.data(), policy.data(), &draw);

  std::vector<uint8_t> images(kBatch * kValues);
  for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<uint8_t>(i * 7 + step);
  std::vector<uint32_t> bits(kBatch * ((kPixels + 31) / 32));
  const std::vector<uint32_t*> fields = samples(bits, (kPixels + 31) / 32);
  const std::vector<uint8_t*> ins = samples(images, kValues), outs = samples(result.mixed, kValues);
  const MsdaFields masks = {
      reinterpret_cast<void* const*>(fields.data()), plans.data(), kBatch, 1, threads, -1};
  msda_fields(&masks);

  MsdaBlend blend = {};
  blend.outs = reinterpret_cast<void* const*>(outs.data());
  blend.ins = reinterpret_cast<const void* const*>(ins.data());
  blend.fields = reinterpret_cast<const void* const*>(fields.data());
  blend.plans = plans.data();
  blend.batch = blend.samples = kBatch;
  blend.height = kHeight, blend.width = kWidth, blend.channels = kChannels;
  blend.interpolations = 1, blend.threads = threads, blend.isa = -1;
  msda_blend(&blend);
  msda_mask(result.weights.data(), plans.data(), blend.fields, kBatch, kHeight, kWidth, threads);

  MsdaSaliency saliency = {};
  saliency.peaks = result.peaks.data(), saliency.ins = blend.ins;
  saliency.batch = kBatch, saliency.height = kHeight, saliency.width = kWidth;
  saliency.channels = kChannels, saliency.threads = threads, saliency.isa = -1;
  msda_saliency(&saliency);

  const int64_t labels[kBatch] = {0, 1, 2, 3, 4, 0};
  const MsdaTargets targets = {plans.data(), labels, nullptr, kBatch, kClasses, 0.1f};
  msda_targets_dense(result.rows.data(), &targets);
  return result;
}

}  // namespace

int main() {
  std::vector<Result> alone;
  for (uint32_t step = 0; step < kRounds; ++step) alone.push_back(mix(step, 1));
  std::vector<std::thread> callers;
  int32_t wrong[kCallers] = {};
  for (int32_t k = 0; k < kCallers; ++k)
    callers.emplace_back([&, k] {
      for (uint32_t step = 0; step < kRounds; ++step)
        wrong[k] += !(mix(step, kThreads) == alone[step]);
    });
  for (std::thread& caller : callers) caller.join();
  int32_t sum = 0;
  for (const int32_t count : wrong) sum += count;
  std::printf("%d of %d batches differ\n", sum, kCallers * static_cast<int32_t>(kRounds));
  return sum ? 1 : 0;
}
