"""Several interpolations through the operators: shapes, layouts, and plans that do not fit."""

import numpy as np
import pytest

pytest.importorskip("nvidia.dali")
from nvidia.dali import fn, types

import dali_msda as msda
from dali_msda import dali
from tests.with_dali.dali_pipelines import build, given, run, source

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
