// DALI's operators run by hand, one batch at a time, with samples at addresses that a test names.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dali/pipeline/operator/operator.h"
#include "dali/pipeline/workspace/workspace.h"

using dali::CPUBackend;
using dali::GPUBackend;
using dali::OpSpec;
using dali::StorageDevice;
using dali::TensorList;
using dali::TensorListShape;

namespace {

constexpr int kDevice = 0;

struct Batch {
  int32_t gpu, samples, axes, type;
  const int64_t* shapes;  // (samples, axes)
  void* const* addresses;
  const char* layout;
};

// Fills in an address of the GPU for each sample of an output.
using Allocate = void (*)(int32_t output, int32_t samples, int32_t axes, const int64_t* shapes,
                          int32_t type, void** addresses);

std::string error;

template <typename Work>
const char* error_of(Work work) {
  try {
    work();
    return nullptr;
  } catch (const std::exception& thrown) {
    error = thrown.what();
    return error.c_str();
  }
}

template <typename Backend>
std::shared_ptr<TensorList<Backend>> list_of(const Batch& b, dali::AccessOrder order, int device) {
  auto list = std::make_shared<TensorList<Backend>>();
  const auto type = static_cast<dali::DALIDataType>(b.type);
  list->set_device_id(device);
  list->set_pinned(false);
  list->set_order(order);
  list->SetSize(b.samples);
  list->set_sample_dim(b.axes);
  list->set_type(type);
  list->SetLayout(b.layout);
  for (int i = 0; i < b.samples; ++i) {
    const int64_t* from = b.shapes + i * b.axes;
    const dali::TensorShape<> shape(from, from + b.axes);
    const size_t bytes = dali::volume(shape) * dali::TypeTable::GetTypeInfo(type).size();
    list->SetSample(i, std::shared_ptr<void>(b.addresses[i], [](void*) {}), bytes, false, shape,
                    type, device, order, b.layout);
  }
  return list;
}

struct Operator {
  OpSpec spec;
  std::unique_ptr<dali::OperatorBase> op;
};

}  // namespace

extern "C" {
#define SHOWN __attribute__((visibility("default")))

SHOWN Operator* spec_new(const char* name) { return new Operator{OpSpec(name), nullptr}; }
SHOWN void spec_int(Operator* o, const char* name, int32_t value) { o->spec.AddArg(name, value); }
SHOWN void spec_real(Operator* o, const char* name, float value) { o->spec.AddArg(name, value); }
SHOWN void spec_bool(Operator* o, const char* name, int32_t value) {
  o->spec.AddArg(name, value != 0);
}
SHOWN void spec_type(Operator* o, const char* name, int32_t value) {
  o->spec.AddArg(name, static_cast<dali::DALIDataType>(value));
}
SHOWN void spec_text(Operator* o, const char* name, const char* value) {
  o->spec.AddArg(name, std::string(value));
}
SHOWN void spec_reals(Operator* o, const char* name, const float* values, int32_t count) {
  o->spec.AddArg(name, std::vector<float>(values, values + count));
}
SHOWN const char* spec_input(Operator* o, const char* name, int32_t gpu) {
  return error_of([=] { o->spec.AddInput(name, gpu ? StorageDevice::GPU : StorageDevice::CPU); });
}
SHOWN const char* spec_argument(Operator* o, const char* name) {
  return error_of([=] { o->spec.AddArgumentInput(name, std::string("argument ") + name); });
}
SHOWN void spec_output(Operator* o, const char* name) {
  o->spec.AddOutput(name, StorageDevice::GPU);
}

SHOWN const char* operator_new(Operator* o) {
  return error_of([=] { o->op = dali::InstantiateOperator(o->spec); });
}

// One batch.  `arguments` follow the inputs, in the order of spec_argument.
SHOWN const char* operator_run(Operator* o, const Batch* batches, int32_t inputs,
                               const char* const* arguments, int32_t count, Allocate allocate,
                               void* stream, char* layouts) {
  return error_of([=] {
    const dali::AccessOrder order(static_cast<cudaStream_t>(stream), kDevice);
    const auto host = dali::AccessOrder::host();
    dali::Workspace ws;
    ws.set_output_order(order);
    for (int i = 0; i < inputs; ++i) {
      if (batches[i].gpu) {
        ws.AddInput(list_of<GPUBackend>(batches[i], order, kDevice));
      } else {
        ws.AddInput(list_of<CPUBackend>(batches[i], host, -1));
      }
    }
    for (int i = 0; i < count; ++i) {
      ws.AddArgumentInput(arguments[i], list_of<CPUBackend>(batches[inputs + i], host, -1));
    }
    std::vector<dali::OutputDesc> outputs;
    DALI_ENFORCE(o->op->Setup(outputs, ws));
    for (size_t k = 0; k < outputs.size(); ++k) {
      const auto& shape = outputs[k].shape;
      std::vector<void*> addresses(shape.num_samples());
      Batch batch = {1,
                     shape.num_samples(),
                     shape.sample_dim(),
                     outputs[k].type,
                     shape.shapes.data(),
                     addresses.data(),
                     ""};
      allocate(static_cast<int32_t>(k), batch.samples, batch.axes, batch.shapes, batch.type,
               addresses.data());
      ws.AddOutput(list_of<GPUBackend>(batch, order, kDevice));
    }
    o->op->Run(ws);
    std::string said;
    for (size_t k = 0; k < outputs.size(); ++k) {
      said += ws.Output<GPUBackend>(k).GetLayout().str() + " ";
    }
    std::strcpy(layouts, said.c_str());
  });
}
}  // extern "C"
