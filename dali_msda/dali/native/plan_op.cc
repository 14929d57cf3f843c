// The schema of fn.msda.plan: its documentation and arguments.
#include "arguments/dali_names.h"
#include "arguments/output_metadata.h"

namespace msda::native {

DALI_SCHEMA(msda__Plan)
        .DocStr(R"code(Draws who is mixed with whom, how much and where: one plan for each sample.

A plan is a record of 160 bytes. Give it to :meth:`nvidia.dali.fn.msda.blend` for the pixels and to
:meth:`nvidia.dali.fn.msda.targets` for the labels, so that the two agree; one plan may serve any
number of blends of the same size (segmentation maps, a second view).

Pipelines call it by way of ``dali_msda.dali.plan`` or ``mix``, which turn a policy such as
``CutMix()`` into ``policy``, the record that this operator reads and that a serialised pipeline
carries. Deserialising one thus takes this plugin, but no policy objects; a record of another
version of the plugin is refused.

The draws of a batch are a pure function of (``seed``, ``shard_id``, number of the batch, slot).
The number of the batch starts at 0 and is the only state, so a restored checkpoint continues as if
nothing had happened. Batch ``n`` equals, to the bit,
``dali_msda.draw(policy, batch, height, width, seed=seed, step=n, rank=shard_id)``. Call the
operator twice with one ``seed`` and the draws agree, as do those of two branches of a condition;
leave ``seed`` out and DALI derives one for each from the pipeline's seed.

In dynamic mode ``rng`` stands for seed and batch number. As nothing counts batches there, the
policies of an ``Alternate`` do not take turns: each batch draws its policy, with probabilities
proportional to ``counts``.

Only the batch size, the sample size and the source info of ``images`` are read, never the pixels.
Under conditional execution the operator gets the samples of its own branch and mixes among them.
A batch of one sample is its own partner.)code")
        .NumInput(1)
        .InputDox(
            0, "images", "TensorList",
            "Samples, all of one shape, on any device; their layout says which of their sizes "
            "are ``depth`` (or frames), ``height`` and ``width`` of the plan. Without one, two "
            "axes are ``\"HW\"``, three ``\"HWC\"`` and four ``\"DHWC\"``; sequences need "
            "theirs, ``\"WC\"`` or ``\"CW\"``, as ``fn.reinterpret(x, layout=\"WC\")`` gives "
            "it. Sequences, volumes and video are for Mixup and FMix.")
        .InputDevice(0, InputDevice::Metadata)
        .InputLayout(0, {"HWC", "CHW", "HW", "DHWC", "FHWC", "CDHW", "CFHW", "WC", "CW"})
        .NumOutput(1)
        .AddArg("policy",
                R"code(What to draw: the records of the policy's methods, as they lie in memory, 32
integers for each. ``dali_msda.dali.plan`` makes it. DALI's reals are float32 and a policy's
float64, hence integers.)code",
                DALI_INT_VEC)
        .AddOptionalArg<float>(
            "lam",
            R"code(Nominal own weight, in [0, 1], instead of the drawn one, for all
interpolations of the sample. The label weight may differ from it, where a box is clipped or
rounded. Not with ``CutMix(minmax=...)``.)code",
            nullptr, true)
        .AddOptionalArg(
            "interpolations",
            R"code(Plans drawn for each sample, with all but ``lam`` in common and ``lam``
falling, 1 to 64. From 2 on the output has the shape ``(interpolations, 160)``, and blend and
targets put the same axis in front of theirs. Needs methods that mix two samples by a lambda.)code",
            1)
        .AddOptionalArg("share_lam",
                        "With several interpolations: whether all samples of a batch have the same "
                        "values of ``lam``. Else each unit of the method's scope has its own.",
                        false)
        .AddOptionalArg<std::vector<int>>(
            "peaks",
            R"code(y and x of each sample's most salient pixel, int32 ``(2,)``, as
:meth:`nvidia.dali.fn.msda.saliency` finds them; SaliencyMix needs them. Of samples that the
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
        .AddRandomSeedArg()
        .AddRandomStateArg()
    << OutputType{0, [](const OpSpec&) { return DALI_UINT8; }}
    << OutputAxes{0, [](const OpSpec& spec) {
                    return spec.GetArgument<int>("interpolations") > 1 ? 2 : 1;
                  }};

}  // namespace msda::native
