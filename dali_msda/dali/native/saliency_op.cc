// The schema of fn.msda.saliency: its documentation and arguments.
#include "arguments/dali_names.h"
#include "arguments/output_metadata.h"

namespace msda::native {

DALI_SCHEMA(msda__Saliency)
        .DocStr(R"code(Finds the most salient pixel of each sample, by a filter that needs no model.

Intensity is smoothed twice; each pixel is compared with the mean of the others in six squares of 24
to 224 pixels around it; what it is brighter by and what it is darker by are added up apart, each
scaled to 255 at most, and summed (where that passes 255, it is 255). The peak is the greatest value
of this map, the first in reading order of several. All of it is whole numbers: it equals
``dali_msda.saliency`` to the bit, whatever the number of threads.

This is the fine-grained static saliency of OpenCV (Montabone and Soto, Image and Vision Computing
2010), which SaliencyMix uses. The maps are OpenCV's of the same picture in its BGR order, but for
single grey levels in some images of more than 32 896 pixels, whose sums OpenCV rounds.

Give the peaks to ``dali_msda.dali.plan``, as ``peaks``, for the policy ``SaliencyMix()``, from a GPU
by way of ``.cpu()``; ``dali_msda.dali.mix`` does so by itself. Samples may differ in shape, though a
plan's may not.)code")
        .NumInput(1)
        .InputDox(
            0, "images", "TensorList of uint8 or float ('HWC')",
            "Samples with one channel, or three of RGB. Floats are in units of 0 to 255, not "
            "normalised yet, and are rounded to uint8 first (halves to even, beyond the range to "
            "its ends, NaN to 0).")
        .InputLayout(0, "HWC")
        .OutputFn([](const OpSpec& spec) { return spec.GetArgument<bool>("maps") ? 2 : 1; })
        .AddOptionalArg(
            "maps",
            R"code(Whether to return the maps as well: a second output, uint8 ``(H, W)``,
beside the peaks, int32 ``(2,)``, y and x.)code",
            false)
        .AddOptionalArg(
            "mirror",
            R"code(1 to flip peak and map of a sample left to right, for a blend that mirrors
it. They are those of the sample as it is: the squares are one pixel longer to the right and below,
so that the filter of a flipped sample may peak elsewhere.)code",
            0, true)
    << OutputType{0, [](const OpSpec&) { return DALI_INT32; }}
    << OutputAxes{0, [](const OpSpec&) { return 1; }}
    << OutputType{1, [](const OpSpec&) { return DALI_UINT8; }}
    << OutputAxes{1, [](const OpSpec&) { return 2; }} << OutputLayout{1, "HW"};

}  // namespace msda::native
