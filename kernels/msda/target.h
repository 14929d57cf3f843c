// One row of soft labels.  Smoothing spreads `smoothing` of the mass evenly over all classes after
// mixing, which equals smoothing each label before it.
#pragma once
#include "msda/plan.h"

namespace msda {

// Mass that the sources give to the class of source k: equal labels are added up in the order of
// the sources, so that a row sums to 1 whatever the labels.
template <typename Label>
MSDA_FN float label_mass(const Plan& p, const Label* labels, int32_t k) {
  float mass = 0.0f;
  for (int32_t s = 0; s < p.sources; ++s)
    if (labels[p.source[s]] == labels[p.source[k]]) mass += p.weight[s];
  return mass;
}

MSDA_FN float smoothed(float mass, float smoothing, float floor) {
  return fmaf(1.0f - smoothing, mass, floor);
}

// One value of a row of class indices.  A label that is no class gives its mass to none.
template <typename Label>
MSDA_FN float target_from_labels_at(const Plan& p, const Label* labels, int32_t c, int32_t classes,
                                    float smoothing) {
  const float floor = smoothing / static_cast<float>(classes);
  for (int32_t k = 0; k < p.sources; ++k)
    if (labels[p.source[k]] == c) return smoothed(label_mass(p, labels, k), smoothing, floor);
  return floor;
}

// All of such a row: every class has `floor`, but for those of the sources.
MSDA_FN void target_from_labels(float* row, const Plan& p, const int64_t* labels, int32_t classes,
                                float smoothing) {
  const float floor = smoothing / static_cast<float>(classes);
  for (int32_t c = 0; c < classes; ++c) row[c] = floor;
  for (int32_t k = 0; k < p.sources; ++k)
    row[labels[p.source[k]]] = smoothed(label_mass(p, labels, k), smoothing, floor);
}

// The same from labels that are soft already: (samples, classes).
MSDA_FN float target_from_rows_at(const Plan& p, const float* rows, int32_t c, int32_t classes,
                                  float smoothing) {
  float mass = 0.0f;
  for (int32_t s = 0; s < p.sources; ++s)
    mass = fmaf(p.weight[s], rows[static_cast<int64_t>(p.source[s]) * classes + c], mass);
  return smoothed(mass, smoothing, smoothing / static_cast<float>(classes));
}

MSDA_FN void target_from_rows(float* row, const Plan& p, const float* rows, int32_t classes,
                              float smoothing) {
  for (int32_t c = 0; c < classes; ++c)
    row[c] = target_from_rows_at(p, rows, c, classes, smoothing);
}

}  // namespace msda
