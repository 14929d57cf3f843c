// Checks of the operators' inputs and arguments.  Every message reads "name: expected X, got Y" and
// says what to do about it.  DALI adds the operator and the user's line.
#pragma once
#include <vector>

#include "arguments/dali_names.h"
#include "cpu/api.h"
#include "dali/core/error_handling.h"
#include "dali/core/static_switch.h"

namespace msda::native {

// DALI_ENFORCE without the C++ expression in front of the message.
template <typename... Parts>
void expect(bool ok, const Parts&... parts) {
  if (!ok) DALI_FAIL(parts...);
}

// Throws if a C function of the kernels returns that it got no memory.
inline void expect_done(int32_t status) {
  expect(status == kDone,
         "memory: expected room for what the kernels keep for such samples, got none; use fewer "
         "threads, or smaller batches or samples.");
}

// Only metadata is read, so `Images` may be a batch on any device.
template <typename Images>
void expect_one_shape(const Images& images) {
  const auto& shapes = images.shape();
  for (int i = 1; i < shapes.num_samples(); ++i) {
    expect(shapes.tensor_shape_span(i) == shapes.tensor_shape_span(0),
           "images: expected one shape in a batch, got (", shapes[0], ") for sample 0 and (",
           shapes[i], ") for sample ", i, "; resize or crop the samples first.");
  }
}

template <typename To, typename From>
void copy_scalars(std::vector<To>& values, const TensorList<CPUBackend>& list) {
  for (int i = 0; i < list.num_samples(); ++i) {
    values.push_back(static_cast<To>(*list.tensor<From>(i)));
  }
}

inline void expect_scalars(const TensorList<CPUBackend>& list, const char* name) {
  for (int i = 0; i < list.num_samples(); ++i) {
    const auto shape = list.tensor_shape_span(i);
    expect(shape.size() <= 1 && dali::volume(shape) == 1, name,
           ": expected one value per sample, got shape (", list.tensor_shape(i), ") for sample ", i,
           ".");
  }
}

// Reads one integer (or bool) per sample, of any integer type.
inline void read_integers(std::vector<int64_t>& values, const TensorList<CPUBackend>& list,
                          const char* name) {
  expect_scalars(list, name);
  values.clear();
  TYPE_SWITCH(list.type(), dali::type2id, T,
              (bool, uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t),
              (copy_scalars<int64_t, T>(values, list)),
              (DALI_FAIL(name, ": expected an integer type, got ", list.type(),
                         "; cast it with fn.cast.")));
}

// Reads one real number per sample, in single or double precision.
inline void read_reals(std::vector<double>& values, const TensorList<CPUBackend>& list,
                       const char* name) {
  expect_scalars(list, name);
  values.clear();
  TYPE_SWITCH(list.type(), dali::type2id, T, (float, double),
              (copy_scalars<double, T>(values, list)),
              (DALI_FAIL(name, ": expected float or float64, got ", list.type(),
                         "; cast it with fn.cast.")));
}

}  // namespace msda::native
