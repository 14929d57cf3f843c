"""Every method through the DALI operators, the same bits as on arrays; several interpolations."""

import numpy as np
import pytest

pytest.importorskip("nvidia.dali")
from nvidia.dali import fn, pipeline_def, types

import dali_msda as msda
from dali_msda import dali
from tests.support.variants import IN_LOADERS
from tests.with_dali.dali_pipelines import build, given, run, source

BATCH, CLASSES, MEAN, STD = 9, 7, [100.0, 110.0, 120.0], 50.0
VARIANTS = [
    *(kind() for kind in IN_LOADERS.values()),
    msda.Mixup(n=3),
    msda.CutMix(minmax=(0.3, 0.6)),
    msda.FMix(law="legacy", rounding="coin"),
    msda.FMix(max_soft=0.3, rounding="stochastic", modes=4),
    msda.FMix(reformulate=True, decay=1.7, scope="batch"),
    msda.HMix(gamma=0.3, box="wrap"),
    msda.HMix(mode="nominal", r=0.75),
    msda.GMix(mode="paper"),
    msda.GMix(mode="exact", scope="pair"),
    msda.ResizeMix(tau=(0.2, 0.4)),
    msda.SaliencyMix(box="wrap", scope="batch"),
    msda.Choice([msda.SaliencyMix(box="inside"), msda.Cutout()]),
    msda.Choice([msda.FMix(alpha=0.3), msda.CutMix(), msda.GMix()], weights=[3, 1, 2]),
    msda.Alternate([msda.Choice([msda.HMix(), msda.Mixup()]), msda.FMix(modes=5)], [1, 2]),
    *(msda.MultiMix(kind(), 3) for kind in IN_LOADERS.values() if kind is not msda.Cutout),
    msda.MultiMix(msda.Choice([msda.FMix(scope="batch"), msda.CutMix(prob=0.5)]), 5, "batch"),
    msda.MultiMix(msda.FMix(max_soft=0.2, scope="pair"), 64),
    msda.LaMix(),
]


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH, 37, 53, 3), dtype=np.uint8)
    return images, generator.integers(0, CLASSES, (BATCH, 1)).astype(np.int32)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_the_operators_equal_the_array_functions(policy, batch):
    images, labels = batch
    mirror = np.arange(BATCH, dtype=np.int32) % 2

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, seed=1)
    def pipeline():
        pictures = fn.external_source(lambda: images, batch=True, layout="HWC")
        flags = fn.external_source(lambda: mirror.reshape(-1, 1), batch=True)
        return dali.mix(
            pictures,
            fn.external_source(lambda: labels, batch=True),
            policy,
            num_classes=CLASSES,
            mean=MEAN,
            std=STD,
            mirror=fn.squeeze(flags, axes=0),
            seed=5,
            shard_id=2,
        )

    built = pipeline()
    built.build()
    for step in range(4):
        mixed, targets = (np.asarray(output.as_tensor()) for output in built.run())
        expected = msda.mix(
            images,
            labels.ravel(),
            policy,
            seed=5,
            step=step,
            rank=2,
            num_classes=CLASSES,
            mean=MEAN,
            std=STD,
            mirror=mirror,
            layout="CHW",
        )
        np.testing.assert_array_equal(mixed.view(np.uint32), expected[0].view(np.uint32))
        np.testing.assert_array_equal(targets, expected[1])


# --------------------------------------------------------------------------------- interpolations


B, H, W, K = 5, 11, 7, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (B, H, W, 3), dtype=np.uint8)
LABELS = np.arange(B, dtype=np.int32)
PLAN = msda.draw(msda.MultiMix(msda.CutMix(), K), B, H, W, seed=0, step=0)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
def test_interpolations_are_frames(layout):
    pipeline = build(
        lambda: dali.blend(source(IMAGES, layout="HWC"), given(PLAN), layout=layout), B
    )
    (images,) = pipeline.run()
    assert images.layout() == "F" + layout
    np.testing.assert_array_equal(
        images.as_array(), msda.blend(IMAGES, PLAN, dtype="float32", layout=layout)
    )


def test_a_plan_given_as_an_array():
    def define():
        plans, labels = given(PLAN), source(LABELS[:, None])
        compact = fn.msda.targets(labels, plans, compact=True, sources=2)
        return fn.msda.targets(labels, plans, num_classes=B, smoothing=0.1), *compact

    rows, labels, weights = run(define, B)
    np.testing.assert_array_equal(rows, msda.targets(LABELS, PLAN, num_classes=B, smoothing=0.1))
    for got, want in zip((labels, weights), msda.targets(LABELS, PLAN, compact=True), strict=True):
        np.testing.assert_array_equal(got, want)


def test_lambda_given_by_sample():
    lam = np.linspace(0, 1, B, dtype=np.float32)

    def define():
        images = source(IMAGES, layout="HWC")
        return dali.plan(images, msda.MultiMix(msda.HMix(), K), seed=4, lam=source(lam[:, None]))

    (plans,) = run(lambda: define(), B)
    want = np.repeat(lam[:, None], K, 1)
    want = msda.draw(msda.MultiMix(msda.HMix(), K), B, H, W, seed=4, step=0, lam=want)
    np.testing.assert_array_equal(plans.view(msda.PLAN_DTYPE)[..., 0], want)


def test_plans_of_different_numbers_are_refused():
    plans = [PLAN[i, : 2 + (i == 3)].view(np.uint8).reshape(-1, 160) for i in range(B)]

    def define():
        return fn.msda.blend(source(IMAGES, layout="HWC"), fn.external_source(lambda: plans))

    with pytest.raises(RuntimeError, match=r"plans: expected one shape .*, got \(2 x 160\)"):
        run(define, B)


@pytest.mark.parametrize("shape", [(0, 160), (1, 1, 160), (K, 80)])
def test_shapes_that_are_no_plans(shape):
    plans = np.zeros((B, *shape), np.uint8)
    with pytest.raises(RuntimeError, match=r"plans: expected shape \(160\) or \(k, 160\), got"):
        run(lambda: fn.msda.blend(source(IMAGES, layout="HWC"), source(plans)), B)


def test_a_partner_outside_the_batch_is_refused():
    """The number of plans is larger than that of the samples."""
    wrong = PLAN.copy()
    wrong["partner"][1, 2] = B
    with pytest.raises(RuntimeError, match=r"plans\[5\]: sources: expected indices in \[0, 5"):
        run(lambda: fn.msda.blend(source(IMAGES, layout="HWC"), given(wrong)), B)


def test_float16_output_of_every_sample():
    options = dict(dtype=types.FLOAT16, mean=[1.0, 2.0, 3.0], std=[4.0])
    (mixed,) = run(lambda: fn.msda.blend(source(IMAGES, layout="HWC"), given(PLAN), **options), B)
    want = msda.blend(IMAGES, PLAN, mean=[1, 2, 3], std=4, dtype="float16", layout="CHW")
    np.testing.assert_array_equal(mixed, want)
