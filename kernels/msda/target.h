// One row of soft labels.  Smoothing spreads `smoothing` of the mass evenly over all classes after
// mixing, which equals smoothing each label before it.
#pragma once
#include "msda/plan.h"

namespace msda {

// Mass that the sources give to the class of source k: equal labels are added up in the order of
// the sources, so that a row sums to 1 whatever the labels.
MSDA_FN float label_mass(const Plan& p, const int64_t* labels, int32_t k) {
  float mass = 0.0f;
  for (int32_t s = 0; s < p.sources; ++s)
    if (labels[p.source[s]] == labels[p.source[k]]) mass += p.weight[s];
  return mass;
}

MSDA_FN float smoothed(float mass, float smoothing, float floor) {
  return fmaf(1.0f - smoothing, mass, floor);
}

// Row of class indices: one value per class, all `floor = smoothing / classes` but the sources'.
MSDA_FN void target_from_labels(float* row, const Plan& p, const int64_t* labels, int32_t classes,
                                float smoothing) {
  const float floor = smoothing / static_cast<float>(classes);
  for (int32_t c = 0; c < classes; ++c) row[c] = floor;
  for (int32_t k = 0; k < p.sources; ++k)
    row[labels[p.source[k]]] = smoothed(label_mass(p, labels, k), smoothing, floor);
}

// Row of labels that are soft already: (samples, classes).
MSDA_FN void target_from_rows(float* row, const Plan& p, const float* rows, int32_t classes,
                              float smoothing) {
  const float floor = smoothing / static_cast<float>(classes);
  for (int32_t c = 0; c < classes; ++c) {
    float mass = 0.0f;
    for (int32_t s = 0; s < p.sources; ++s)
      mass = fmaf(p.weight[s], rows[static_cast<int64_t>(p.source[s]) * classes + c], mass);
    row[c] = smoothed(mass, smoothing, floor);
  }
}

}  // namespace msda
