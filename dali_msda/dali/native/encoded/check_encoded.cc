// fn.msda.check_encoded: refuses encoded images that are not on the loaders' list of formats.
#include "arguments/check.h"
#include "dali/pipeline/operator/checkpointing/stateless_operator.h"
#include "dali/pipeline/util/thread_pool.h"
#include "encoded/image_header.h"

namespace msda::native {

DALI_SCHEMA(msda__CheckEncoded)
    .DocStr(R"code(Hands on encoded images, and fails where one is not to be decoded.

DALI's decoders take some images that other decoders refuse or read otherwise: floats in TIFF, PNM
with a maximum other than 255, more than 2^28 pixels, and JPEGs whose header tells of more picture
than their data can hold. Only headers are read, so this takes microseconds per image.)code")
    .NumInput(1)
    .InputDox(0, "encoded", "TensorList of uint8", "The bytes of image files.")
    .NumOutput(1)
    .PassThrough({{0, 0}});

class CheckEncoded final : public dali::StatelessOperator<CPUBackend> {
 public:
  using StatelessOperator::StatelessOperator;
  bool HasContiguousOutputs() const override { return false; }

 protected:
  bool SetupImpl(std::vector<OutputDesc>&, const Workspace& ws) override {
    const auto type = ws.Input<CPUBackend>(0).type();
    expect(type == DALI_UINT8, "encoded: expected uint8, got ", type,
           "; give it what a reader reads.");
    return false;
  }

  using dali::Operator<CPUBackend>::RunImpl;
  void RunImpl(Workspace& ws) override {
    auto& pool = ws.GetThreadPool();  // the first look at a file waits for the disk
    const auto& encoded = ws.Input<CPUBackend>(0);
    for (int i = 0; i < encoded.num_samples(); ++i)
      pool.AddWork([&encoded, i](int) { expect_listed(encoded, i); });
    pool.RunAll();
    ws.Output<CPUBackend>(0).ShareData(encoded);
  }

 private:
  static void expect_listed(const TensorList<CPUBackend>& encoded, int i) {
    const std::string fault =
        header_fault(encoded.tensor<uint8_t>(i), dali::volume(encoded.tensor_shape_span(i)));
    expect(fault.empty(), "encoded: expected an image that all loaders take, got ", fault, " in ",
           encoded.GetMeta(i).GetSourceInfo(),
           "; python -m dali_msda.pipelines.check lists all such files.");
  }
};

DALI_REGISTER_OPERATOR(msda__CheckEncoded, CheckEncoded, CPU);

}  // namespace msda::native
