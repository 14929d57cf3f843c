// fn.msda.plan: draws one plan per sample on the CPU, whichever device the images are on.
#pragma once
#include <string>
#include <vector>

#include "arguments/check.h"
#include "arguments/sample_layout.h"
#include "cpu/api.h"
#include "dali/pipeline/operator/checkpointing/op_checkpoint.h"
#include "dali/pipeline/operator/operator.h"

namespace msda::native {

class PlanOp final : public dali::Operator<CPUBackend> {
 public:
  explicit PlanOp(const OpSpec& spec);

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

}  // namespace msda::native
