// fn.msda.targets: inputs, arguments and their checks, for every backend.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "arguments/check.h"
#include "arguments/plan_input.h"
#include "dali/pipeline/operator/checkpointing/stateless_operator.h"

namespace msda::native {

// Makes the class indices and weights of all plans, of the first `columns` sources.
inline void compact_columns(int64_t* labels, float* weights, int columns, MsdaTargets targets) {
  int plans = targets.batch;
  for (targets.batch = 1; plans > 0; --plans, ++targets.plans) {
    int64_t all_labels[kMaxSources];
    float all_weights[kMaxSources];
    msda_targets_compact(all_labels, all_weights, &targets);
    labels = std::copy_n(all_labels, columns, labels);
    weights = std::copy_n(all_weights, columns, weights);
  }
}

// Input 0: labels, on the CPU.  Input 1: plans, on the CPU.  Rows of labels are small, so they are
// always read there; `Backend` says where the rows of targets go.
template <typename Backend>
class TargetsOp : public dali::StatelessOperator<Backend> {
 public:
  explicit TargetsOp(const OpSpec& spec)
      : dali::StatelessOperator<Backend>(spec),
        plans_(spec.GetArgument<int>("max_batch_size")),
        compact_(spec.GetArgument<bool>("compact")),
        columns_(spec.GetArgument<int>("sources")) {
    targets_.smoothing = spec.GetArgument<float>("smoothing");
    expect(targets_.smoothing >= 0 && targets_.smoothing <= 1,
           "smoothing: expected a value in [0, 1], got ", targets_.smoothing, ".");
    expect(!compact_ || targets_.smoothing == 0, "smoothing: expected 0 with compact=True, got ",
           targets_.smoothing, "; give label_smoothing to the loss instead, it is the same.");
    expect(columns_ >= 2 && columns_ <= kMaxSources, "sources: expected 2 to ", kMaxSources,
           ", got ", columns_, ".");
    has_classes_ = spec.TryGetArgument(classes_, "num_classes");
    expect(!has_classes_ || classes_ >= 1, "num_classes: expected at least 1, got ", classes_, ".");
  }

 protected:
  bool SetupImpl(std::vector<OutputDesc>& outputs, const Workspace& ws) override {
    const auto& labels = ws.Input<CPUBackend>(0);
    targets_.batch = labels.num_samples();
    targets_.classes = classes_;
    if (labels.type() == DALI_FLOAT) {
      ReadRows(labels);
    } else {
      ReadIndices(labels);
    }
    plans_.Read(ws.Input<CPUBackend>(1));
    if (compact_) {
      CheckColumns();
      outputs = {{Shape(columns_), DALI_INT64}, {Shape(columns_), DALI_FLOAT}};
    } else {
      outputs = {{Shape(targets_.classes), DALI_FLOAT}};
    }
    return true;
  }

  PlanInput plans_;
  const bool compact_;
  const int columns_;
  MsdaTargets targets_ = {};  // of the current batch
  std::vector<int64_t> indices_;
  std::vector<float> rows_;

 private:
  dali::TensorListShape<> Shape(int64_t columns) const {
    return dali::uniform_list_shape(targets_.batch, plans_.Shaped({columns}));
  }

  void ReadIndices(const TensorList<CPUBackend>& labels) {
    expect(compact_ || has_classes_,
           "num_classes: expected the number of classes, because labels are class indices; got "
           "none.");
    read_integers(indices_, labels, "labels");
    for (int i = 0; i < targets_.batch; ++i) {
      expect(indices_[i] >= 0, "labels: expected a class index of at least 0, got ", indices_[i],
             " for sample ", i, ".");
      expect(!has_classes_ || indices_[i] < classes_, "labels: expected a class index in [0, ",
             classes_, "), got ", indices_[i], " for sample ", i,
             "; raise num_classes or correct the label.");
    }
    targets_.labels = indices_.data();
    targets_.rows = nullptr;
  }

  void ReadRows(const TensorList<CPUBackend>& labels) {
    expect(!compact_,
           "labels: expected class indices with compact=True, got rows of floats; say "
           "compact=False.");
    rows_.clear();
    for (int i = 0; i < targets_.batch; ++i) {
      const auto shape = labels.tensor_shape_span(i);
      if (i == 0 && !has_classes_ && shape.size() == 1) {
        targets_.classes = static_cast<int32_t>(shape[0]);
      }
      expect(shape.size() == 1 && shape[0] == targets_.classes && shape[0] > 0,
             "labels: expected a row of ", targets_.classes, " floats, got shape (",
             labels.tensor_shape(i), ") for sample ", i,
             "; cast class indices to an integer type.");
      const float* row = labels.tensor<float>(i);
      for (int c = 0; c < targets_.classes; ++c) {
        expect(std::isfinite(row[c]), "labels: expected finite numbers, got ", row[c],
               " for class ", c, " of sample ", i, ".");
      }
      rows_.insert(rows_.end(), row, row + targets_.classes);
    }
    targets_.labels = nullptr;
    targets_.rows = rows_.data();
  }

  void CheckColumns() const {
    for (int i = 0; i < plans_.size(); ++i) {
      expect(plans_[i].sources <= columns_, "sources: expected at least ", int{plans_[i].sources},
             ", as plan ", i, " mixes that many samples, got ", columns_, ".");
    }
  }

  int classes_ = 0;
  bool has_classes_ = false;
};

}  // namespace msda::native
