// What a schema tells of an output before it is made: its type, its number of axes, its layout.
// DALI takes this from 2.2 on.  Older headers, from 1.53 on, lack the functions, and nothing else
// that the operators use: this file is all that knows one version of DALI from another.
#pragma once
#include <functional>
#include <optional>

#include "arguments/dali_names.h"

namespace msda::native {

template <typename Value>
using OfSpec = std::function<std::optional<Value>(const OpSpec&)>;

struct OutputType {
  int output;
  OfSpec<DALIDataType> type;
};

struct OutputAxes {
  int output;
  OfSpec<int> axes;
};

struct OutputLayout {
  int output;
  TensorLayout layout;
};

// `schema` is always an OpSchema.  As a template's argument it may lack what is asked for.
template <typename Schema>
Schema* operator<<(Schema* schema, const OutputType& told) {
  if constexpr (requires { schema->OutputDType(told.output, told.type); }) {
    schema->OutputDType(told.output, told.type);
  }
  return schema;
}

template <typename Schema>
Schema* operator<<(Schema* schema, const OutputAxes& told) {
  if constexpr (requires { schema->OutputNDim(told.output, told.axes); }) {
    schema->OutputNDim(told.output, told.axes);
  }
  return schema;
}

template <typename Schema>
Schema* operator<<(Schema* schema, const OutputLayout& told) {
  if constexpr (requires { schema->OutputLayout(told.output, told.layout); }) {
    schema->OutputLayout(told.output, told.layout);
  }
  return schema;
}

}  // namespace msda::native
