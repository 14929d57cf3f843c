// The schema of fn.msda.plan: its documentation and arguments.
#include "arguments/dali_names.h"

namespace msda::native {

using Words = std::vector<std::string>;

DALI_SCHEMA(msda__Plan)
    .DocStr(R"code(Draws who is mixed with whom, how much and where: one plan for each sample.

A plan is a record of 160 bytes. Give it to :meth:`nvidia.dali.fn.msda.blend` for the pixels and to
:meth:`nvidia.dali.fn.msda.targets` for the labels, so that the two agree; one plan may serve any
number of blends of the same size (segmentation maps, a second view).

A policy has one or more leaves. A leaf is a method with its settings, and each setting is a list
with one entry per leaf, or one entry for all. The leaves form stages that take turns: stage ``s``
serves ``count[s]`` batches in a row. Within a stage one leaf is drawn with the probabilities
``share``. ``dali_msda.dali.plan`` and ``mix`` fill these lists from a policy object.

The draws of a batch are a pure function of (``seed``, ``shard_id``, number of the batch, slot).
The number of the batch starts at 0 and is the only state, so a restored checkpoint continues as if
nothing had happened. Batch ``n`` equals, to the bit,
``dali_msda.draw(policy, batch, height, width, seed=seed, step=n, rank=shard_id)`` if the settings
are float32 numbers, as DALI's arguments are; ``dali_msda.dali`` hands any policy over exactly.
Call the operator twice with one ``seed`` and the draws agree, as do those of two branches of a
condition; leave ``seed`` out and DALI derives one for each from the pipeline's seed.

In dynamic mode ``rng`` stands for seed and batch number. As nothing counts batches there, stages do
not take turns: each batch draws its stage, with probabilities proportional to ``count``.

Only the batch size, the sample size and the source info of ``images`` are read, never the pixels.
Under conditional execution the operator gets the samples of its own branch and mixes among them.
A batch of one sample is its own partner.)code")
    .NumInput(1)
    .InputDox(0, "images", "TensorList",
              "Samples, all of one shape, on any device; their layout says which of their sizes "
              "are ``depth`` (or frames), ``height`` and ``width`` of the plan. Without one, two "
              "axes are ``\"HW\"``, three ``\"HWC\"`` and four ``\"DHWC\"``; sequences need "
              "theirs, ``\"WC\"`` or ``\"CW\"``, as ``fn.reinterpret(x, layout=\"WC\")`` gives "
              "it. Sequences, volumes and video are for ``\"mixup\"`` and ``\"fmix\"``.")
    .InputDevice(0, InputDevice::Metadata)
    .InputLayout(0, {"HWC", "CHW", "HW", "DHWC", "FHWC", "CDHW", "CFHW", "WC", "CW"})
    .NumOutput(1)
    .OutputDType(0, DALI_UINT8)
    .OutputNDim(0,
                [](const OpSpec& spec) {
                  return std::optional(spec.GetArgument<int>("interpolations") > 1 ? 2 : 1);
                })
    .AddArg("method", R"code(Method of each leaf: ``"mixup"``, ``"cutmix"``, ``"fmix"``, ``"hmix"``,
``"gmix"``, ``"resizemix"``, ``"saliencymix"`` or ``"cutout"``.

With ``w`` the own weight, a pixel of the output is ``w * own + (1 - w) * partner``. ``"mixup"``
has ``w = lam`` everywhere. ``"cutmix"`` has ``w = 0`` in a box of nominal area share ``1 - lam``
and ``w = 1`` around it, and its label weight is the share of pixels that stay own; ``"hmix"`` makes
the box smaller by ``r`` and mixes around it; ``"fmix"`` has ``w = 1`` on the share ``lam`` of the
pixels where a random field is greatest; ``"gmix"`` has a Gaussian bump; ``"resizemix"`` pastes the
whole partner, shrunk by ``tau``; ``"saliencymix"`` is ``"cutmix"`` whose box is centred on the
partner's entry of ``peaks``; ``"cutout"`` sets a square of the output to 0.)code",
            DALI_STRING_VEC)
    .AddOptionalArg("alpha",
                    R"code(Shape of the distribution of the nominal weight, > 0:
``lam ~ Beta(alpha, alpha)``; with 3 or 4 sources, ``Dirichlet(alpha, ...)``.)code",
                    std::vector<float>{1.0f})
    .AddOptionalArg("scope",
                    R"code(Who shares a draw of ``lam`` and box: ``"sample"`` (nobody), ``"pair"``
(a sample and its partner) or ``"batch"`` (all).)code",
                    Words{"sample"})
    .AddOptionalArg(
        "partner",
        R"code(How partners are found: ``"permutation"`` (random, a sample may be its own
partner), ``"derangement"`` (random, never its own), ``"flip"`` (``batch - 1 - i``) or ``"roll"``
(``i - 1``).)code",
        Words{"permutation"})
    .AddOptionalArg("box",
                    R"code(Where the box lies: ``"clip"`` (around a random pixel, clipped to the
image), ``"inside"`` (wholly inside), ``"wrap"`` (wraps round the border) or ``"minmax"`` (sides
drawn as given by ``minmax``).)code",
                    Words{"clip"})
    .AddOptionalArg("sources",
                    "Samples mixed into one output, 2 to 4; more than 2 for "
                    "``\"mixup\"`` only.",
                    std::vector<int>{2})
    .AddOptionalArg("prob", "Probability that the leaf mixes at all, in [0, 1].",
                    std::vector<float>{1.0f})
    .AddOptionalArg("minmax",
                    R"code(For ``box="minmax"``: least and greatest side of the box as shares of the
image's side, two values for each leaf one after the other.)code",
                    std::vector<float>{0.2f, 0.8f})
    .AddOptionalArg(
        "share",
        R"code(Probability of each leaf within its stage; the shares of a stage sum to 1.
Empty: equal shares.)code",
        std::vector<float>{})
    .AddOptionalArg(
        "stage", R"code(Which stage of an alternation the leaf belongs to; from 0, in order.)code",
        std::vector<int>{0})
    .AddOptionalArg("count", "Batches in a row that the leaf's stage serves, at least 1.",
                    std::vector<int>{1})
    .AddOptionalArg(
        "choice",
        R"code(Who shares the choice among the leaves of a stage: ``"sample"``, ``"pair"``
or ``"batch"``.)code",
        Words{"sample"})
    .AddOptionalArg("r", "HMix: share of the partner's mass that the box holds, in [0, 1].",
                    std::vector<float>{0.5f})
    .AddOptionalArg("gamma", "HMix: draw ``r`` from Beta(gamma, gamma); 0 for the fixed ``r``.",
                    std::vector<float>{0.0f})
    .AddOptionalArg("mode", R"code(Variant of the method; empty for the first of each. Mixup:
``"plain"``, ``"average"`` (pixels half and half; ``lam`` weighs the labels alone). HMix: ``"exact"`` (the mean of the mask is ``lam``), ``"nominal"`` (as printed). GMix: ``"code"`` (as
released; the label weight is the mean of the mask), ``"paper"`` (as printed), ``"exact"`` (the
width that makes the mean ``lam``). FMix: ``"paper"``, ``"legacy"`` (the field of the released
code).)code",
                    Words{""})
    .AddOptionalArg("decay", "FMix: power with which the field's frequencies fall off, in [0, 10].",
                    std::vector<float>{3.0f})
    .AddOptionalArg("max_soft",
                    "FMix: greatest share of pixels ramped on either side of the cut, in [0, 0.5].",
                    std::vector<float>{0.0f})
    .AddOptionalArg("rounding",
                    R"code(FMix: how ``lam`` becomes a number of pixels: ``"nearest"``,
``"stochastic"`` (``lam`` on average) or ``"coin"`` (up or down at even odds).)code",
                    Words{"nearest"})
    .AddOptionalArg("reformulate",
                    "FMix: 1 to draw ``lam ~ Beta(alpha + 1, alpha)`` and keep the own label.",
                    std::vector<int>{0})
    .AddOptionalArg("modes",
                    "FMix: frequencies kept per axis, an approximation that is faster; 0 for all.",
                    std::vector<int>{0})
    .AddOptionalArg("tau", R"code(ResizeMix: least and greatest factor, two values for each leaf one
after the other.)code",
                    std::vector<float>{0.1f, 0.8f})
    .AddOptionalArg("length", "Cutout: side of the square, in pixels.", std::vector<int>{16})
    .AddOptionalArg<float>("lam",
                           R"code(Nominal own weight, in [0, 1], instead of the drawn one, for all
interpolations of the sample. The label weight may differ from it, where a box is clipped or rounded. Not with ``box="minmax"``.)code",
                           nullptr, true)
    .AddOptionalArg("interpolations",
                    R"code(Plans drawn for each sample, with all but ``lam`` in common and ``lam``
falling, 1 to 64. From 2 on the output has the shape ``(interpolations, 160)``, and blend and
targets put the same axis in front of theirs. Needs leaves of two sources without ``"minmax"`` and
``"cutout"``.)code",
                    1)
    .AddOptionalArg("share_lam",
                    "With several interpolations: whether all samples of a batch have the same "
                    "values of ``lam``. Else each unit of the leaf's scope has its own.",
                    false)
    .AddOptionalArg<std::vector<int>>(
        "peaks",
        R"code(y and x of each sample's most salient pixel, int32 ``(2,)``, as
:meth:`nvidia.dali.fn.msda.saliency` finds them; ``"saliencymix"`` needs them. Of samples that the
blend mirrors, the mirrored pixels: give both operators the same ``mirror``.)code",
        nullptr, true)
    .AddOptionalArg("shard_id",
                    R"code(Rank of the process, at least 0. It enters every draw: ranks with one
seed never repeat each other's decisions.)code",
                    0)
    .AddOptionalArg("padding",
                    R"code(What to do with a batch that ends in copies of one sample, as
``pad_last_batch=True`` makes it (found by equal, non-empty source info at the end of the batch).
``"detect"``: the copies stay unmixed and are nobody's partner, and a warning says so once.
``"ignore"``: they are samples like any other. Dynamic mode loses the source info in decoding, so
that nothing is found there: read without ``pad_last_batch``.)code",
                    "detect")
    .AddOptionalArg(
        "exact",
        R"code(All settings of each leaf as they lie in memory (``MsdaLeaf``), 32 integers for each
leaf, instead of the other arguments: DALI's reals are float32, these are float64.
``dali_msda.dali`` gives it.)code",
        std::vector<int>{})
    .AddRandomSeedArg()
    .AddRandomStateArg();

}  // namespace msda::native
