// fn.msda.blend on the CPU: the rows of the batch, in chunks, over DALI's threads.
#include <algorithm>

#include "blend_op.h"
#include "dali/pipeline/util/thread_pool.h"

namespace msda::native {
namespace {

constexpr int64_t kChunksPerThread = 4;     // so that a slow thread is soon waited for
constexpr int64_t kLeastChunk = 64 * 1024;  // values; less is not worth waking a thread for

}  // namespace

class BlendCpu final : public BlendOp<CPUBackend> {
 public:
  using BlendOp::BlendOp;

 protected:
  using dali::Operator<CPUBackend>::RunImpl;

  void RunImpl(Workspace& ws) override {
    FindSamples(ws);
    blend_.isa = -1;
    order_.resize(blend_.batch / blend_.interpolations);
    expect_done(msda_order(order_.data(), blend_.plans, blend_.batch, blend_.interpolations));
    blend_.order = order_.data();
    MakeFields(ws.GetThreadPool());
    RunChunks(ws.GetThreadPool());
  }

 private:
  // Makes the masks of FMix, with one job for the interpolations of a pair.
  void MakeFields(dali::ThreadPool& pool) {
    const Plan* plans = plans_.data();
    bool any = false, soft = false;
    for (int i = 0; i < blend_.batch; ++i) {
      any = any || plans[i].method == kFMix;
      soft = soft || plans[i].soft > 0;
    }
    blend_.fields = nullptr;
    if (!any) return;
    const int64_t pixels = int64_t{blend_.height} * blend_.width;
    const int64_t words = soft ? pixels : (pixels + 31) / 32;
    if (static_cast<int64_t>(masks_.size()) < words * blend_.batch) {
      masks_.resize(words * blend_.batch);
    }
    fields_.resize(blend_.batch);
    const int each = blend_.interpolations;
    for (int first = 0; first < blend_.batch; first += each) {
      const bool repeats = RepeatsMasks(first);
      bool makes = false;
      for (int i = first; i < first + each; ++i) {
        fields_[i] = repeats ? fields_[i - each] : masks_.data() + i * words;
        makes = makes || (!repeats && plans[i].method == kFMix);
      }
      if (makes) pool.AddWork([this, first](int) { MakeFieldsOfPair(first); }, -first);
    }
    pool.RunAll();
    blend_.fields = fields_.data();
  }

  // Whether all masks of a pair are those of the pair before, as where a batch shares them.
  bool RepeatsMasks(int first) const {
    const int each = blend_.interpolations;
    bool same = first >= each;
    for (int i = first; same && i < first + each; ++i) {
      same = msda_same_mask(plans_.data() + i - each, plans_.data() + i);
    }
    return same;
  }

  void MakeFieldsOfPair(int first) const {
    const int each = blend_.interpolations;
    const MsdaFields some = {&fields_[first], plans_.data() + first, each, each, 1, -1};
    expect_done(msda_fields(&some));
  }

  void RunChunks(dali::ThreadPool& pool) {
    const int64_t values = int64_t{blend_.batch} * blend_.height * blend_.width * blend_.channels;
    chunks_ = std::clamp<int64_t>(values / kLeastChunk, 1, kChunksPerThread * pool.NumThreads());
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      // The capture fits into std::function's own storage, so nothing is allocated.  Chunks cost
      // the same; the priority only keeps them in order of memory.
      pool.AddWork([this, chunk](int) { RunChunk(chunk); }, -chunk);
    }
    pool.RunAll();
  }

  void RunChunk(int64_t chunk) const {
    const int64_t rows = msda_blend_rows(&blend_);
    expect_done(msda_blend_range(&blend_, rows * chunk / chunks_, rows * (chunk + 1) / chunks_));
  }

  std::vector<uint32_t> masks_;  // kept from batch to batch
  std::vector<void*> fields_;
  std::vector<int32_t> order_;
  int64_t chunks_ = 1;
};

DALI_REGISTER_OPERATOR(msda__Blend, BlendCpu, CPU);

}  // namespace msda::native
