// The schema of fn.msda.targets: its documentation and arguments.
#include "arguments/dali_names.h"
#include "arguments/output_metadata.h"

namespace msda::native {
namespace {

bool is_compact(const OpSpec& spec) { return spec.GetArgument<bool>("compact"); }

}  // namespace

DALI_SCHEMA(msda__Targets)
        .DocStr(R"code(Mixes the labels of each sample as its plan mixed the pixels.

With ``t[k]`` the label row of ``plans[i].source[k]`` (one-hot for class indices), ``s`` the
smoothing and ``C`` the number of classes::

  out[c] = (1 - s) * sum_k plans[i].weight[k] * t[k][c] + s / C

A row sums to 1 also where own sample and partner have one label.

With ``compact=True`` there are two outputs instead, from which the cross-entropy is exactly
``sum_k weights[k] * ce(logits, labels[k])``:

* ``labels``, int64 ``(sources,)``: classes of own sample, partner, third and fourth;
* ``weights``, float ``(sources,)``: their weights.

A source that takes no part repeats the own label with weight 0.

Plans of several interpolations put their axis in front: ``(interpolations, num_classes)``.)code")
        .NumInput(2)
        .InputDox(0, "labels", "TensorList of integers, shape () or (1,); or of float, shape (C,)",
                  "Class indices of any integer type, or soft label rows, on the CPU. With "
                  "``device=\"gpu\"`` it is the targets that go to the GPU.")
        .InputDox(1, "plans", "TensorList of uint8, shape (160,) or (k, 160)",
                  "One plan per sample, the same that the blend was given. Each is checked.")
        .InputDevice(0, 2, InputDevice::CPU)
        .OutputFn([](const OpSpec& spec) { return is_compact(spec) ? 2 : 1; })
        .AddOptionalArg<int>(
            "num_classes",
            R"code(Number of classes ``C``, at least 1. Needed for dense rows of class
indices; soft rows bring it along, and the compact form only checks the indices against it.)code",
            nullptr)
        .AddOptionalArg(
            "smoothing",
            R"code(Share ``s`` of the mass that is spread evenly over all classes, in [0, 1].
The compact form takes none: smooth in the loss.)code",
            0.0f)
        .AddOptionalArg("compact", "Whether to return class indices and weights instead of rows.",
                        false)
        .AddOptionalArg("sources",
                        R"code(Columns of the compact form, 2 to 4: at least the greatest number of
sources in the plans.)code",
                        4)
    << OutputType{0, [](const OpSpec& spec) { return is_compact(spec) ? DALI_INT64 : DALI_FLOAT; }}
    << OutputType{1, [](const OpSpec&) { return DALI_FLOAT; }};

}  // namespace msda::native
