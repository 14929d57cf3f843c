// fn.msda.plan: draws one plan per sample on the CPU, whichever device the images are on.
#include <charconv>
#include <cstring>
#include <string>
#include <vector>

#include "arguments/check.h"
#include "arguments/sample_layout.h"
#include "cpu/api.h"
#include "dali/pipeline/operator/checkpointing/op_checkpoint.h"
#include "msda/philox.h"

namespace msda::native {
namespace {

constexpr int kStateWords = 7;  // of the random state that dynamic mode hands over

bool detects_padding(const OpSpec& spec) {
  const auto padding = spec.GetArgument<std::string>("padding");
  expect(padding == "detect" || padding == "ignore",
         "padding: expected \"detect\" or \"ignore\", got \"", padding, "\".");
  return padding == "detect";
}

uint32_t shard_of(const OpSpec& spec) {
  const auto shard = spec.GetArgument<int>("shard_id");
  expect(shard >= 0, "shard_id: expected at least 0, got ", shard,
         "; give the rank of the process.");
  return static_cast<uint32_t>(shard);
}

int32_t interpolations_of(const OpSpec& spec) {
  const int count = spec.GetArgument<int>("interpolations");
  expect(count >= 1 && count <= kMaxInterpolations, "interpolations: expected 1 to ",
         kMaxInterpolations, ", got ", count, ".");
  return count;
}

// The policy's records, one for each leaf, copied out of the argument's integers.  They are
// checked, because a pipeline's file may come from another version, or from anybody.
std::vector<MsdaLeaf> leaves_of(const OpSpec& spec) {
  constexpr size_t kWords = sizeof(MsdaLeaf) / sizeof(int);
  constexpr const char* kWayOut = "; make the pipeline anew, with dali_msda.dali.plan or mix.";
  const auto words = spec.GetRepeatedArgument<int>("policy");
  expect(!words.empty() && words.size() % kWords == 0, "policy: expected a record of ", kWords,
         " numbers for each method, got ", words.size(), " numbers", kWayOut);
  std::vector<MsdaLeaf> leaves(words.size() / kWords);
  std::memcpy(leaves.data(), words.data(), words.size() * sizeof(int));
  char fault[256];
  const int64_t wrong = msda_check_policy(leaves.data(), static_cast<int64_t>(leaves.size()),
                                          interpolations_of(spec), fault, sizeof fault);
  expect(wrong < 0, "policy[", wrong, "]: ", fault, kWayOut);
  return leaves;
}

}  // namespace

class PlanCpu final : public dali::Operator<CPUBackend> {
 public:
  explicit PlanCpu(const OpSpec& spec);

  // The only state is the number of batches drawn: every draw is a function of (seed, shard_id,
  // batch, slot).  DALI's own iteration index is no substitute: it restarts at 0 after a restore.
  void SaveState(OpCheckpoint& checkpoint, dali::AccessOrder) override {
    checkpoint.MutableCheckpointState() = batches_;
  }
  void RestoreState(const OpCheckpoint& checkpoint) override {
    batches_ = checkpoint.CheckpointState<uint64_t>();
  }
  std::string SerializeCheckpoint(const OpCheckpoint& checkpoint) const override {
    return std::to_string(checkpoint.CheckpointState<uint64_t>());
  }
  void DeserializeCheckpoint(OpCheckpoint& checkpoint, const std::string& text) const override;

 protected:
  bool SetupImpl(std::vector<OutputDesc>& outputs, const Workspace& ws) override;
  using dali::Operator<CPUBackend>::RunImpl;
  void RunImpl(Workspace& ws) override;

 private:
  template <typename Images>
  void ReadImages(const Images& images);
  void CheckMethods(const SampleSize& size, const TensorLayout& layout) const;
  template <typename Images>
  void ReadPadding(const Images& images);
  void ReadLam(const Workspace& ws);
  void SpreadLam();
  void ReadPeaks(const Workspace& ws);
  void ReadRandomness(const Workspace& ws);

  const std::vector<MsdaLeaf> leaves_;
  const uint64_t seed_;
  const bool detect_padding_;
  bool has_warned_ = false;
  uint64_t batches_ = 0;
  MsdaDraw draw_ = {};       // of the current batch
  std::vector<double> lam_;  // kept from batch to batch, as is plans_
  std::vector<int32_t> peaks_;
  std::vector<msda::Plan> plans_;
};

PlanCpu::PlanCpu(const OpSpec& spec)
    : Operator(spec),
      leaves_(leaves_of(spec)),
      seed_(static_cast<uint64_t>(spec.GetArgument<int64_t>("seed"))),
      detect_padding_(detects_padding(spec)) {
  draw_.rank = shard_of(spec);
  draw_.leaves = static_cast<int32_t>(leaves_.size());
  draw_.interpolations = interpolations_of(spec);
  draw_.shared = spec.GetArgument<bool>("share_lam");
  lam_.reserve(size_t(max_batch_size_) * draw_.interpolations);
  peaks_.reserve(size_t(max_batch_size_) * 2);
  plans_.reserve(size_t(max_batch_size_) * draw_.interpolations);
}

void PlanCpu::DeserializeCheckpoint(OpCheckpoint& checkpoint, const std::string& text) const {
  uint64_t batches = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, batches);
  expect(error == std::errc() && stop == end, "checkpoint: expected a number of batches, got \"",
         text, "\"; it belongs to another pipeline.");
  checkpoint.MutableCheckpointState() = batches;
}

// As Workspace::WithInput, which DALI has since 2.4.
template <typename Use>
static void with_input(const Workspace& ws, int index, const Use& use) {
  if (ws.InputIsType<dali::GPUBackend>(index)) {
    use(ws.Input<dali::GPUBackend>(index));
  } else {
    use(ws.Input<CPUBackend>(index));
  }
}

bool PlanCpu::SetupImpl(std::vector<OutputDesc>& outputs, const Workspace& ws) {
  with_input(ws, 0, [&](const auto& images) {
    ReadImages(images);
    ReadPadding(images);
  });
  ReadLam(ws);
  ReadPeaks(ws);
  ReadRandomness(ws);
  dali::TensorShape<> shape = {int64_t{sizeof(msda::Plan)}};
  if (draw_.interpolations > 1) shape = dali::shape_cat(int64_t{draw_.interpolations}, shape);
  outputs = {{dali::uniform_list_shape(draw_.batch, shape), DALI_UINT8}};
  return true;
}

template <typename Images>
void PlanCpu::ReadImages(const Images& images) {
  draw_.batch = images.num_samples();
  if (draw_.batch == 0) return;
  expect_one_shape(images);
  const auto layout = spec_.GetSchema().GetInputLayout(0, images.sample_dim(), images.GetLayout());
  const SampleSize size = size_of(layout, images.tensor_shape(0));
  draw_.depth = static_cast<int32_t>(size.depth);
  draw_.height = static_cast<int32_t>(size.height);
  draw_.width = static_cast<int32_t>(size.width);
  CheckMethods(size, layout);
}

// Sequences and volumes are served by some methods only.
void PlanCpu::CheckMethods(const SampleSize& size, const TensorLayout& layout) const {
  const bool countable = size.depth * size.height <= INT32_MAX / size.width;
  for (size_t i = 0; i < leaves_.size(); ++i) {
    const MsdaLeaf& leaf = leaves_[i];
    const char* name = msda_method_name(leaf.method);
    expect(size.is_image || (leaf.traits & kAnyShape), "policy[", i,
           "]: expected \"mixup\" or \"fmix\" for samples of layout \"", layout, "\", got \"", name,
           "\", which has a meaning in images only.");
    expect(countable || !(leaf.traits & kNeedsField),
           "images: expected fewer than 2^31 pixels for \"", name, "\", got ", size.depth, " x ",
           size.height, " x ", size.width, " (depth, height, width).");
  }
}

// A padded last batch ends in copies of one sample.  Mixing it with itself would change nothing, so
// the copies take no part.
template <typename Images>
void PlanCpu::ReadPadding(const Images& images) {
  draw_.distinct = draw_.batch;
  if (!detect_padding_ || draw_.batch == 0) return;
  const std::string& last = images.GetMeta(draw_.batch - 1).GetSourceInfo();
  if (last.empty()) return;
  while (draw_.distinct > 1 && images.GetMeta(draw_.distinct - 2).GetSourceInfo() == last) {
    --draw_.distinct;
  }
  if (draw_.distinct < draw_.batch && !has_warned_) {
    has_warned_ = true;
    DALI_WARN("fn.msda.plan: images: the last ", draw_.batch - draw_.distinct + 1, " of ",
              draw_.batch, " samples have one source (", last,
              "), as in a padded batch. The copies are left unmixed and are nobody's partner. Drop "
              "the last batch, or say padding=\"ignore\" to mix them. This is said once.");
  }
}

void PlanCpu::ReadLam(const Workspace& ws) {
  lam_.clear();
  if (spec_.HasTensorArgument("lam")) {
    read_reals(lam_, ws.ArgumentInput("lam"), "lam");
  } else if (spec_.HasArgument("lam")) {
    lam_.assign(draw_.batch, spec_.GetArgument<float>("lam"));
  }
  for (const MsdaLeaf& leaf : leaves_) {
    expect(lam_.empty() || leaf.box != kBoxMinMax,
           "lam: expected none with minmax, which draws the sides of the box themselves; leave out "
           "one of the two.");
  }
  for (size_t i = 0; i < lam_.size(); ++i) {
    expect(lam_[i] >= 0 && lam_[i] <= 1, "lam: expected a value in [0, 1], got ", lam_[i],
           " for sample ", i, "; lam is the own sample's share.");
  }
  SpreadLam();
}

// Repeats each sample's value for each of its records.
void PlanCpu::SpreadLam() {
  const size_t samples = lam_.size(), each = draw_.interpolations;
  lam_.resize(samples * each);
  for (size_t i = samples * each; i-- > 0;) lam_[i] = lam_[i / each];
  draw_.lam = lam_.empty() ? nullptr : lam_.data();
}

// Reads y and x of one pixel of each sample.
void PlanCpu::ReadPeaks(const Workspace& ws) {
  peaks_.clear();
  draw_.peaks = nullptr;
  if (!spec_.HasTensorArgument("peaks")) {
    for (const MsdaLeaf& leaf : leaves_) {
      expect(!(leaf.traits & kNeedsPeaks),
             "peaks: expected y and x of each sample's most salient pixel for \"",
             msda_method_name(leaf.method),
             "\", got none; give the output of fn.msda.saliency(images).");
    }
    return;
  }
  const auto& peaks = ws.ArgumentInput("peaks");
  expect(peaks.type() == DALI_INT32, "peaks: expected int32, got ", peaks.type(),
         "; give the output of fn.msda.saliency, or cast with fn.cast.");
  for (int i = 0; i < peaks.num_samples(); ++i) {
    const auto shape = peaks.tensor_shape_span(i);
    expect(shape.size() == 1 && shape[0] == 2, "peaks: expected shape (2), y and x, got (",
           peaks.tensor_shape(i), ") for sample ", i, ".");
    const int32_t* at = peaks.tensor<int32_t>(i);
    expect(0 <= at[0] && at[0] < draw_.height && 0 <= at[1] && at[1] < draw_.width,
           "peaks: expected y, x of a pixel of ", draw_.height, " x ", draw_.width, ", got ", at[0],
           ", ", at[1], " for sample ", i, "; find them on images of this size.");
    peaks_.insert(peaks_.end(), at, at + 2);
  }
  draw_.peaks = peaks_.data();
}

// In dynamic mode the caller's generator is the state: its words stand for seed and batch number.
void PlanCpu::ReadRandomness(const Workspace& ws) {
  draw_.seed = seed_;
  draw_.step = static_cast<uint32_t>(batches_);
  if (!spec_.HasTensorArgument("_random_state")) return;
  const auto& state = ws.ArgumentInput("_random_state");
  expect(
      state.num_samples() > 0 && state.tensor_shape(0).num_elements() * state.type_info().size() >=
                                     kStateWords * sizeof(uint32_t),
      "rng: expected a state of ", kStateWords, " words; give an ndd.random.RNG.");
  uint32_t words[kStateWords];
  std::memcpy(words, state.raw_tensor(0), sizeof words);
  Words4 counter = philox4x32({{words[2], words[3], words[4], words[5]}}, words[0], words[1]);
  counter.v[3] ^= words[6];
  const Words4 hash = philox4x32(counter, words[0], words[1]);
  draw_.seed = hash.v[0] | uint64_t{hash.v[1]} << 32;
  draw_.step = hash.v[2];
}

void PlanCpu::RunImpl(Workspace& ws) {
  const size_t each = draw_.interpolations;
  plans_.resize(draw_.batch * each);
  expect_done(msda_draw(plans_.data(), leaves_.data(), &draw_));
  auto& out = ws.Output<CPUBackend>(0);
  for (int i = 0; i < draw_.batch; ++i) {
    std::memcpy(out.raw_mutable_tensor(i), &plans_[i * each], each * sizeof(Plan));
  }
  ++batches_;
}

DALI_REGISTER_OPERATOR(msda__Plan, PlanCpu, CPU);

}  // namespace msda::native
