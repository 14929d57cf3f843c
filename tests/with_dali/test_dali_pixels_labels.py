"""What the documentation of fn.msda.blend and fn.msda.targets says, claim by claim."""

import numpy as np
import pytest
from nvidia.dali import fn, types

import dali_msda as msda
from dali_msda import dali
from tests.with_dali.dali_pipelines import build, given, run, source

B, H, W = 7, 9, 14
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (B, H, W, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 4, (B, 1))
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def images(array=IMAGES, layout="HWC"):
    return source(array, layout=layout)


def drawn(policy):
    return msda.draw(policy, B, H, W, seed=5, step=0)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_blend_equals_the_array_function(kind, dtype, layout, channels):
    """Each sample and each partner is mirrored by its own flag; mean and std are float64."""
    if dtype == "uint8" and kind == "float32":
        pytest.skip("no rounding of floats")
    array = RNG.integers(0, 256, (B, H, W, channels)).astype(kind)
    plan = drawn(msda.Choice([msda.CutMix(), msda.Mixup(n=3)]))
    mirror = np.array([0, 1, 1, 0, 0, 1, 0])
    normal = {} if dtype == "uint8" else {"mean": MEAN[:channels], "std": STD[0]}
    options = dict(dtype=dtype, layout=layout, **(normal if channels < 5 else {}))
    (mixed,) = run(
        lambda: dali.blend(images(array), given(plan), mirror=source(mirror), **options), B
    )
    np.testing.assert_array_equal(mixed, msda.blend(array, plan, mirror=mirror, **options))
    assert mixed.dtype == dtype


def test_images_without_a_layout_are_hwc():
    plan = drawn(msda.CutMix())
    (mixed,) = run(lambda: dali.blend(images(layout=None), given(plan), dtype="uint8"), B)
    np.testing.assert_array_equal(mixed, msda.blend(IMAGES, plan, layout="CHW"))


def test_mean_and_std_as_operator_arguments():
    """float32 numbers, one or one per channel, give the bits of the array function."""
    plan = drawn(msda.Mixup())
    for mean, std in (([1.5, 2, 3], [4, 5, 7]), (3.25, 7), ([1.5, 2, 3], 7), ([], [])):
        arguments = {"mean": mean, "std": std} if std else {}
        (mixed,) = run(lambda a=arguments: fn.msda.blend(images(), given(plan), **a), B)
        want = msda.blend(IMAGES, plan, dtype="float32", layout="CHW", **arguments)
        np.testing.assert_array_equal(mixed, want)
    (mixed,) = run(lambda: fn.msda.blend(images(), given(plan), mean=3), B)
    want = msda.blend(IMAGES, plan, mean=3, layout="CHW")
    np.testing.assert_array_equal(mixed, want)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int32, np.int64])
def test_mirror_of_each_sample(kind):
    """A flag belongs to its sample, as own and as partner; the box is never flipped."""
    plan, flags = drawn(msda.CutMix()), np.array([0, 1, 1, 0, 0, 1, 0]).astype(kind)
    flipped = np.where(flags[:, None, None, None], IMAGES[:, :, ::-1], IMAGES)
    want = msda.blend(np.ascontiguousarray(flipped), plan)
    options = dict(dtype=types.UINT8, output_layout="HWC")
    for shaped in (flags, flags[:, None]):
        (mixed,) = run(
            lambda s=shaped: fn.msda.blend(images(), given(plan), mirror=source(s), **options), B
        )
        np.testing.assert_array_equal(mixed, want)
    (mixed,) = run(lambda: fn.msda.blend(images(), given(plan), mirror=True, **options), B)
    whole = msda.blend(np.ascontiguousarray(IMAGES[:, :, ::-1]), plan)
    np.testing.assert_array_equal(mixed, whole)


def test_one_plan_serves_several_blends():
    """Segmentation maps are cut where the images are, and a second view is mixed alike."""
    maps = RNG.integers(0, 20, (B, H, W, 1), dtype=np.uint8)
    view = IMAGES[:, ::-1].copy()

    def define():
        plans = dali.plan(images(), msda.CutMix(), seed=5)
        kept = dict(dtype="uint8", layout="HWC")
        return (
            dali.blend(images(), plans, **kept),
            dali.blend(images(maps), plans, **kept),
            dali.blend(images(view), plans, **kept),
        )

    plan = drawn(msda.CutMix())
    for mixed, array in zip(run(define, B), (IMAGES, maps, view), strict=True):
        np.testing.assert_array_equal(mixed, msda.blend(array, plan))


def test_samples_need_not_be_contiguous_in_the_batch():
    """The inputs of a pipeline may be scattered and shared, as after permute_batch."""
    order = [3, 0, 0, 6, 5, 1, 2]
    plan = drawn(msda.Mixup())

    def define():
        plans = fn.permute_batch(given(plan), indices=[0, 1, 2, 3, 4, 5, 6])
        shuffled = fn.permute_batch(images(), indices=order)
        labels = fn.permute_batch(source(LABELS), indices=order)
        return fn.msda.blend(shuffled, plans), fn.msda.targets(labels, plans, num_classes=4)

    mixed, targets = run(define, B)
    want = msda.blend(IMAGES[order], plan, dtype="float32", layout="CHW")
    np.testing.assert_array_equal(mixed, want)
    np.testing.assert_array_equal(targets, msda.targets(LABELS[order, 0], plan, num_classes=4))


def test_layout_and_types_of_the_outputs():
    def define():
        plans = dali.plan(images(), msda.Mixup())
        chw = fn.msda.blend(images(), plans)
        hwc = fn.msda.blend(images(), plans, output_layout="HWC", dtype=types.FLOAT16)
        return plans, chw, hwc, *fn.msda.targets(source(LABELS), plans, compact=True)

    pipeline = build(define, B)
    outputs = pipeline.run()
    assert [out.layout() for out in outputs] == ["", "CHW", "HWC", "", ""]
    kinds = [types.UINT8, types.FLOAT, types.FLOAT16, types.INT64, types.FLOAT]
    assert [out.dtype for out in outputs] == kinds
    assert all(out.is_dense_tensor() for out in outputs)


# ------------------------------------------------------------------------------------------ targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rows(smoothing):
    plan = drawn(msda.Mixup(n=3))
    arguments = dict(num_classes=4, smoothing=smoothing)
    (rows,) = run(lambda: fn.msda.targets(source(LABELS), given(plan), **arguments), B)
    s = np.float32(smoothing)
    np.testing.assert_array_equal(
        rows, msda.targets(LABELS[:, 0], plan, num_classes=4, smoothing=s)
    )
    np.testing.assert_allclose(rows.sum(1), 1, atol=3e-7)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_labels_of_any_integer_type(kind):
    plan = drawn(msda.CutMix())
    want = msda.targets(LABELS[:, 0], plan, num_classes=4)
    for labels in (LABELS, LABELS[:, 0]):  # (1,) and scalars
        typed = labels.astype(kind)
        (rows,) = run(lambda k=typed: fn.msda.targets(source(k), given(plan), num_classes=4), B)
        np.testing.assert_array_equal(rows, want)


def test_equal_labels_keep_a_sum_of_one():
    plan = drawn(msda.Mixup())
    (rows,) = run(
        lambda: fn.msda.targets(source(np.full((B, 1), 2)), given(plan), num_classes=4), B
    )
    np.testing.assert_array_equal(rows, np.eye(4, dtype=np.float32)[np.full(B, 2)])


def test_soft_rows():
    plan, soft = drawn(msda.CutMix()), RNG.dirichlet(np.ones(4), B).astype(np.float32)
    for arguments in ({}, {"num_classes": 4}):
        (rows,) = run(lambda a=arguments: fn.msda.targets(source(soft), given(plan), **a), B)
        np.testing.assert_array_equal(rows, msda.targets(soft, plan))


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_compact_is_lossless(columns):
    """Cross-entropy with rows is the weighted sum of cross-entropies with the classes."""
    plan = drawn(msda.Mixup(n=columns, prob=0.6))
    labels, weights, rows = run(
        lambda: (
            *fn.msda.targets(source(LABELS), given(plan), compact=True, sources=columns),
            fn.msda.targets(source(LABELS), given(plan), num_classes=4),
        ),
        B,
    )
    assert labels.shape == weights.shape == (B, columns)
    log_p = np.log(RNG.dirichlet(np.ones(4), B))
    compact = (weights * np.take_along_axis(log_p, labels, 1)).sum(1)
    np.testing.assert_allclose(compact, (rows * log_p).sum(1), rtol=1e-6)
    unmixed = plan["sources"] == 1
    assert unmixed.any() and (labels[unmixed] == LABELS[unmixed]).all()
    assert (weights[unmixed, 0] == 1).all() and (weights[unmixed, 1:] == 0).all()


def test_compact_has_four_columns_unless_told():
    plan = drawn(msda.CutMix())
    labels, weights = run(lambda: fn.msda.targets(source(LABELS), given(plan), compact=True), B)
    assert labels.shape == weights.shape == (B, 4)
