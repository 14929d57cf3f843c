"""What the documentation of the operators says, claim by claim: signatures, and fn.msda.plan."""

import inspect

import numpy as np
import pytest
from nvidia.dali import Pipeline, backend, fn, pipeline_def, types

import dali_msda as msda
from dali_msda import dali
from tests.with_dali.dali_pipelines import arrays, records, run, source

B, H, W = 7, 9, 14
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (B, H, W, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 4, (B, 1))
OPERATORS = ("plan", "blend", "targets")


def images(array=IMAGES, layout="HWC"):
    return source(array, layout=layout)


def drawn(policy, *, seed=5, step=0, batch=B, height=H, width=W, **key):
    return msda.draw(policy, batch, height, width, seed=seed, step=step, **key)


# --------------------------------------------------------------------------------- documentation


@pytest.mark.parametrize("name", OPERATORS)
def test_every_argument_is_documented_and_typed(name):
    operator = getattr(fn.msda, name)
    arguments = inspect.signature(operator).parameters
    for argument in set(arguments) - {"device"}:
        assert f"\n{argument} : " in operator.__doc__, argument
    assert len(operator.__doc__.split("Supported backends")[0]) > 500  # prose, not a stub
    assert " * 'cpu'" in operator.__doc__


def test_signatures():
    plan, blend, targets = (
        {k: p.default for k, p in inspect.signature(getattr(fn.msda, name)).parameters.items()}
        for name in OPERATORS
    )
    missing = inspect.Parameter.empty
    assert plan["images"] is missing and plan["policy"] is missing
    assert plan["shard_id"] == 0 and plan["seed"] == -1 and plan["padding"] == "detect"
    assert blend["plans"] is missing and blend["output_layout"] == "CHW" and blend["mirror"] == 0
    assert str(blend["dtype"]) == "DALIDataType.FLOAT"
    assert targets["num_classes"] is None and targets["compact"] is False


# ------------------------------------------------------------------------------------------ plan


@pytest.mark.parametrize(
    "policy",
    [
        msda.Mixup(),
        msda.Mixup(alpha=0.25, n=4, partner="roll"),
        msda.CutMix(scope="pair", partner="flip", box="inside", prob=0.5),
        msda.CutMix(minmax=(0.25, 0.5), scope="batch"),
        msda.Choice(
            [msda.Mixup(partner="derangement"), msda.CutMix(partner="derangement")], scope="batch"
        ),
        msda.Choice([msda.CutMix(box="wrap"), msda.Mixup()], weights=(1, 3)),
        msda.Alternate([msda.CutMix(alpha=0.5), msda.Mixup(alpha=2)], counts=(1, 2)),
        msda.HMix(r=0.75, mode="nominal"),
        msda.GMix(mode="exact"),
        msda.Alternate([msda.FMix(decay=2.5, max_soft=0.25), msda.Cutout(length=8)]),
        msda.ResizeMix(tau=(0.25, 0.5)),
        msda.MultiMix(msda.FMix(), 4),
        msda.MultiMix(msda.CutMix(), 2, "batch"),
        msda.LaMix(),
    ],
    ids=str,
)
def test_batch_n_is_what_draw_gives_for_step_n(policy):
    batches = run(lambda: dali.plan(images(), policy, seed=5, shard_id=3), B, iterations=4)
    for step, (plans,) in enumerate(batches):
        np.testing.assert_array_equal(records(plans), drawn(policy, step=step, rank=3))


def test_reals_reach_the_kernels_exactly():
    """0.1 and 1/3 are no float32 numbers; through dali_msda.dali they arrive as they are."""
    policy = msda.Choice(
        [msda.CutMix(alpha=0.1, minmax=(0.1, 0.7)), msda.Mixup(alpha=0.3, prob=0.9), msda.CutMix()],
        weights=(1, 1, 1),
    )
    batches = run(lambda: dali.plan(images(), policy, seed=5), B, iterations=20)
    for step, (plans,) in enumerate(batches):
        np.testing.assert_array_equal(records(plans), drawn(policy, step=step))


@pytest.mark.parametrize(
    "shape, layout",
    [((H, W, 3), "HWC"), ((5, H, W), "CHW"), ((H, W), "HW"), ((H, W, 1), None), ((H, W), None)],
)
def test_plan_reads_the_size_by_the_layout(shape, layout):
    array = np.zeros((B, *shape), np.float32)
    (plans,) = run(lambda: dali.plan(images(array, layout), msda.CutMix(), seed=5), B)
    np.testing.assert_array_equal(records(plans), drawn(msda.CutMix()))


def test_plan_takes_images_from_any_device():
    """Only their metadata is read: DALI copies nothing to the operator's device."""
    schema = backend.GetSchema("msda__Plan")
    assert [schema.GetInputDevice(0, device, "cpu") for device in ("cpu", "gpu")] == ["cpu", "gpu"]


def test_seeds():
    """One seed draws alike in two calls; without one, each call has its own of the pipeline's."""

    def define(seed):
        return tuple(dali.plan(images(), msda.CutMix(), **seed) for _ in range(2))

    first, second = run(lambda: define({"seed": 5}), B)
    np.testing.assert_array_equal(first, second)
    first, second = run(lambda: define({}), B, seed=1)
    assert (records(first)["lam"] != records(second)["lam"]).all()
    (long,) = run(lambda: dali.plan(images(), msda.CutMix(), seed=2**40 + 5), B)
    np.testing.assert_array_equal(records(long), drawn(msda.CutMix(), seed=2**40 + 5))
    again, other = run(lambda: define({}), B, seed=1), run(lambda: define({}), B, seed=2)
    np.testing.assert_array_equal(first, again[0])
    assert (records(first)["lam"] != records(other[0])["lam"]).all()


def test_shards_never_repeat_each_other():
    lams = [
        records(batch[0])["lam"]
        for shard in range(4)
        for batch in run(
            lambda shard=shard: dali.plan(images(), msda.Mixup(), seed=5, shard_id=shard),
            B,
            iterations=4,
        )
    ]
    assert len(np.unique(lams)) == 4 * 4 * B


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_lam_of_each_sample(kind):
    lam = np.array([0, 0.25, 0.5, 0.75, 1, 0.1, 0.9], kind)
    one = dali.plan
    for shaped in (lam, lam[:, None]):
        (plans,) = run(lambda s=shaped: one(images(), msda.CutMix(), lam=source(s), seed=5), B)
        np.testing.assert_array_equal(records(plans), drawn(msda.CutMix(), lam=lam))
    (plans,) = run(lambda: one(images(), msda.Mixup(), lam=0.3, seed=5), B)
    np.testing.assert_array_equal(records(plans)["weight"], np.float32(0.3))


def test_lam_from_another_operator():
    def define():
        lam = fn.random.uniform(range=[0.4, 0.6])
        return dali.plan(images(), msda.Mixup(), lam=lam), lam

    plans, lam = run(define, B)
    np.testing.assert_array_equal(records(plans)["lam"], lam)
    assert len(np.unique(lam)) == B


def test_a_batch_of_one_is_its_own_partner():
    for kind in (msda.Mixup, msda.CutMix):
        plans, mixed = run(
            lambda kind=kind: (
                plans := dali.plan(images(IMAGES[:1]), kind(partner="derangement")),
                fn.msda.blend(images(IMAGES[:1]), plans, dtype=types.UINT8, output_layout="HWC"),
            ),
            1,
        )
        assert records(plans)["own"] == records(plans)["partner"] == 0
        np.testing.assert_array_equal(mixed, IMAGES[:1])


def test_changing_batch_sizes():
    sizes = [7, 3, 1, 5, 7]
    pipeline = Pipeline(batch_size=B, num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        pixels = fn.external_source(name="images", layout="HWC")
        labels = fn.external_source(name="labels")
        outputs = dali.mix(pixels, labels, msda.CutMix(), num_classes=4, seed=5, shard_id=1)
        pipeline.set_outputs(*outputs)
    pipeline.build()
    for step, size in enumerate(sizes):
        pipeline.feed_input("images", IMAGES[:size])
        pipeline.feed_input("labels", LABELS[:size])
        mixed, targets = arrays(pipeline.run())
        plan = drawn(msda.CutMix(), batch=size, step=step, rank=1)
        want = msda.blend(IMAGES[:size], plan, dtype="float32", layout="CHW")
        np.testing.assert_array_equal(mixed, want)
        np.testing.assert_array_equal(targets, msda.targets(LABELS[:size, 0], plan, num_classes=4))


@pytest.mark.parametrize("taken", [[0, 2, 5], [4], range(B), []], ids=str)
def test_a_branch_mixes_its_own_samples(taken):
    """Under conditional execution each branch is a batch of its own, whatever its size."""
    chosen = np.isin(np.arange(B), list(taken))
    mixup, cutmix = msda.Mixup(partner="derangement"), msda.CutMix(partner="roll")

    def define():
        pixels, labels = images(), source(LABELS)
        if source(chosen):
            mixed, targets = dali.mix(pixels, labels, mixup, num_classes=4, seed=5, dtype="float32")
        else:
            mixed, targets = dali.mix(pixels, labels, cutmix, num_classes=4, seed=6)
        return mixed, targets

    conditional = pipeline_def(define, enable_conditionals=True)
    pipeline = conditional(batch_size=B, num_threads=2, device_id=None)
    pipeline.build()
    mixed, targets = arrays(pipeline.run())
    for where, policy, seed in ((chosen, mixup, 5), (~chosen, cutmix, 6)):
        if where.any():
            plan = drawn(policy, batch=int(where.sum()), seed=seed)
            want = msda.blend(IMAGES[where], plan, dtype="float32", layout="CHW")
            np.testing.assert_array_equal(mixed[where], want)
            want = msda.targets(LABELS[where, 0], plan, num_classes=4)
            np.testing.assert_array_equal(targets[where], want)


@pytest.mark.parametrize(
    "policy",
    [
        msda.Alternate([msda.CutMix(), msda.Mixup()], counts=(1, 2)),
        msda.LaMix(),
        msda.MultiMix(msda.Choice([msda.CutMix(), msda.HMix()]), 3),
        msda.SaliencyMix(),
    ],
    ids=str,
)
def test_every_policy_is_drawn_in_a_pipeline_with_conditions(policy):
    """AutoGraph, which such a pipeline is converted by, leaves the policies' own code alone."""
    square = np.zeros((B, H, W, 3), np.uint8)
    square[:, 4, 5] = 255

    def define():
        pixels, labels = images(square), source(LABELS)
        mixed, targets = dali.mix(pixels, labels, policy, num_classes=4, seed=5)
        return mixed, targets, dali.plan(pixels, policy, seed=5)

    conditional = pipeline_def(define, enable_conditionals=True)
    pipeline = conditional(batch_size=B, num_threads=2, device_id=None)
    pipeline.build()
    peaks = msda.saliency(square) if policy.needs_peaks else None
    for step in range(3):
        mixed, _, plans = arrays(pipeline.run())
        plan = drawn(policy, step=step, peaks=peaks)
        np.testing.assert_array_equal(records(plans), plan)
        want = msda.blend(square, plan, dtype="float32", layout="CHW")
        np.testing.assert_array_equal(mixed, want)
