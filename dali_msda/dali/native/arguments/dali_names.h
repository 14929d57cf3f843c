// DALI's names that the operators use; its registration macros look them up without `dali::`.
#pragma once
#include "dali/core/tensor_shape_print.h"  // shapes in messages
#include "dali/pipeline/data/tensor_list.h"
#include "dali/pipeline/operator/op_schema.h"
#include "dali/pipeline/operator/operator.h"

namespace msda::native {

using dali::CPUBackend;
using dali::CPUOperatorRegistry;
using dali::DALIDataType;
using dali::GPUBackend;
using dali::GPUOperatorRegistry;
using dali::InputDevice;
using dali::OpCheckpoint;
using dali::OpSpec;
using dali::OutputDesc;
using dali::TensorLayout;
using dali::TensorList;
using dali::TensorShape;
using dali::Workspace;

}  // namespace msda::native
