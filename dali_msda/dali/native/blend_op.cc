// The schema of fn.msda.blend: its documentation and arguments.
#include "arguments/dali_names.h"
#include "arguments/output_metadata.h"

namespace msda::native {

DALI_SCHEMA(msda__Blend)
        .DocStr(R"code(Mixes each sample with its partner, as its plan says, and normalises it.

With ``own = plans[i].source[0]``, ``partner = plans[i].source[1]`` and ``w`` the own weight of the
pixel ``(y, x)``::

  mixed        = w * images[own][y, x, c] + (1 - w) * images[partner][y, x, c]
  out[y, x, c] = mixed * (1 / std[c]) + (-mean[c] / std[c])

``mixed`` and both factors are rounded once to float32, and the second line is one fused
multiply-add. A uint8 output is ``mixed`` rounded to nearest, halves to even. With 3 or 4 sources,
``mixed`` is the sum of ``weight[k] * images[source[k]]``.

It does the work of ``crop_mirror_normalize`` in the same pass: mirror, normalisation, conversion
and layout. The result equals ``dali_msda.blend`` to the bit, on the CPU with any number of threads
and on a GPU, if ``mean`` and ``std`` are float32 numbers, as DALI's arguments are;
``dali_msda.dali.blend`` hands any numbers over exactly.

Volumes ``"DHWC"``, video ``"FHWC"`` and sequences ``"WC"`` are mixed likewise; ``mirror`` flips the
last axis before the channels.

Plans of several interpolations put their axis in front, as frames: ``FCHW`` or ``FHWC``; of video,
which has frames, as ``K``: ``KCFHW`` or ``KFHWC``.

Give the same ``plans`` to :meth:`nvidia.dali.fn.msda.targets`: pixels and labels then agree.)code")
        .NumInput(2)
        .InputDox(
            0, "images", "TensorList of uint8 or float",
            "Samples, all of one shape, with any number of channels, which come last: images, "
            "volumes, video or sequences.")
        .InputDox(
            1, "plans", "TensorList of uint8, shape (160,) or (k, 160)",
            "One plan per sample, from :meth:`nvidia.dali.fn.msda.plan` of this batch or of one "
            "of the same size, on the CPU. Each is checked.")
        .InputDevice(1, InputDevice::CPU)
        .InputLayout(0, {"HWC", "DHWC", "FHWC", "WC"})
        .NumOutput(1)
        .AddOptionalArg(
            "mirror",
            R"code(1 to flip the sample left to right, 0 to leave it. The flag belongs to the
sample: it is flipped alike as own sample and as somebody's partner, while the box of a plan is
never flipped.)code",
            0, true)
        .AddOptionalArg(
            "mean",
            R"code(Mean, in units of the input's pixels (0 to 255 for uint8): one value, or one
per channel.)code",
            std::vector<float>{0.0f})
        .AddOptionalArg(
            "std",
            R"code(Standard deviation, > 0, in units of the input's pixels: one value, or one
per channel.)code",
            std::vector<float>{1.0f})
        .AddOptionalArg("scale",
                        R"code(With ``shift``, instead of ``mean`` and ``std``:
``out = mixed * scale + shift``, each one value or one per channel. ``dali_msda.dali`` gives them,
computed in float64.)code",
                        std::vector<float>{})
        .AddOptionalArg("shift", "See ``scale``.", std::vector<float>{})
        .AddOptionalTypeArg(
            "dtype",
            R"code(Type of the output: ``FLOAT``, ``FLOAT16``, or ``UINT8`` for uint8
images that are not normalised. DALI has no bfloat16: cast outside the pipeline.)code",
            DALI_FLOAT)
        .AddOptionalArg(
            "output_layout",
            R"code(``"CHW"`` or ``"HWC"``: channels first or last, for any number of axes.
``"CHW"`` makes ``"CDHW"`` of volumes, ``"CFHW"`` of video and ``"CW"`` of sequences.)code",
            TensorLayout("CHW"))
    << OutputType{0, [](const OpSpec& spec) { return spec.GetArgument<DALIDataType>("dtype"); }};

}  // namespace msda::native
