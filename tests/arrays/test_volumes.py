"""Sequences and volumes: 1-D and 3-D samples through the array functions."""

import itertools

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.backends import cpu
from tests.reference import mixing as reference
from tests.support.doors import DOORS, assert_same, native, plain, poisoned, widened
from tests.support.doors import blend as blend  # a fixture
from tests.support.oracle import assert_same_plan, checked_weights

SERVED = [
    msda.Mixup(),
    msda.Mixup(n=3, alpha=0.5),
    msda.Mixup(scope="pair"),
    msda.FMix(),
    msda.FMix(law="legacy", rounding="coin", partner="derangement"),
    msda.FMix(max_soft=0.3, rounding="stochastic", scope="pair"),
    msda.FMix(reformulate=True, modes=2, decay=1.5, scope="batch"),
    msda.Choice([msda.FMix(), msda.Mixup(n=4), msda.FMix(law="legacy", max_soft=0.2)]),
    msda.Alternate([msda.FMix(prob=0.5), msda.Choice([msda.Mixup(), msda.FMix(decay=0.0)])]),
]
MIXED = SERVED[-2]
# Of one pixel, along one axis only, prime, no two axes alike; blocks of rows that cross planes.
SHAPES = [
    *((1,), (2,), (97,), (1031,)),
    *((1, 1, 1), (7, 1, 1), (1, 5, 3), (3, 5, 1), (2, 3, 5), (5, 2, 31), (3, 11, 530), (13, 7, 4)),
]
NORMALISATION = {"mean": 3.5, "std": 70.0}


def drawn(policy, batch, shape, step=0, **key):
    return msda.draw(policy, batch, shape=shape, seed=6, step=step, **key)


def samples(batch, shape, channels=3, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (batch, *shape, channels), dtype=np.uint8)
    return values if dtype == "uint8" else (values.astype(np.float32) - 99) * np.float32(0.37)


# --------------------------------------------------------------------------------- plans and masks


@pytest.mark.parametrize("batch", [0, 1, 6])
@pytest.mark.parametrize("policy", SERVED, ids=str)
def test_plans_equal_the_definition(policy, batch):
    for step, shape in enumerate(SHAPES):
        plan = drawn(policy, batch, shape, step, rank=2)
        want = reference.draw(policy, batch, *shape, seed=6, step=step, rank=2, drawn=plan)
        assert_same_plan(plan, want)
        for axis, size in zip(("width", "height", "depth"), (*shape[::-1], 1, 1), strict=False):
            assert (plan[axis] == size).all()
        assert not plan["z0"].any() and not plan["z1"].any()


@pytest.mark.parametrize("policy", SERVED, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_masks_equal_the_definition(shape, policy):
    for batch in (0, 1, 5):
        weights = checked_weights(drawn(policy, batch, shape), *shape)
        assert weights.shape == (batch, *shape) and weights.dtype == np.float32


@pytest.mark.parametrize("shape", [(9,), (1,), (400,), (3, 4, 5), (1, 1, 1), (7, 20, 3)], ids=str)
@pytest.mark.parametrize("policy", [msda.FMix(), msda.FMix(law="legacy", max_soft=0.5)], ids=str)
def test_the_label_weight_is_the_share_of_the_mask(policy, shape):
    plan = drawn(policy, 50, shape, lam=np.linspace(0, 1, 50))
    weights = msda.mask(plan, shape=shape).reshape(50, -1)
    share = weights.mean(1, dtype=np.float64)
    np.testing.assert_allclose(plan["weight"], share, atol=1e-6)
    np.testing.assert_array_equal(plan["weight"], (plan["count"] / np.prod(shape)).astype("f4"))


def test_a_volume_of_one_plane_and_an_image_of_one_row():
    """The same records, and the same masks, whatever the number of axes that are given."""
    for few, more in (((31,), (1, 31)), ((31,), (1, 1, 31)), ((9, 14), (1, 9, 14))):
        plan = drawn(MIXED, 7, few)
        np.testing.assert_array_equal(plan, drawn(MIXED, 7, more))
        own = msda.mask(plan, shape=few)
        np.testing.assert_array_equal(own, msda.mask(plan, shape=more).reshape(own.shape))
        images = samples(7, few)
        mixed = msda.blend(images, plan)
        again = msda.blend(images.reshape(7, *more, 3), plan)
        np.testing.assert_array_equal(mixed, again.reshape(mixed.shape))
    plan = drawn(MIXED, 7, (9, 14))
    np.testing.assert_array_equal(plan, msda.draw(MIXED, 7, 9, 14, seed=6, step=0))
    np.testing.assert_array_equal(msda.mask(plan, 9, 14), msda.mask(plan, shape=(9, 14)))


@pytest.mark.parametrize("shape", [(2,), (3,), (50,), (97,), (1000,)])
def test_the_legacy_law_makes_windows_of_sequences(shape):
    """The released code leaves one wave of a sequence: each mask is one cyclic window."""
    policy = msda.FMix(law="legacy")
    own = msda.mask(drawn(policy, 300, shape), shape=shape)
    assert ((own != np.roll(own, 1, 1)).sum(1) <= 2).all()
    assert len(np.unique(own.argmax(1))) > min(shape[0], 20) - 2  # anywhere
    if shape[0] > 90:  # the paper's law has more waves
        other = msda.mask(drawn(msda.FMix(decay=1.0), 300, shape), shape=shape)
        assert ((other != np.roll(other, 1, 1)).sum(1) > 2).any()


def test_the_legacy_law_makes_one_run_of_each_row_of_volumes():
    own = msda.mask(drawn(msda.FMix(law="legacy"), 20, (5, 6, 40)), shape=(5, 6, 40))
    assert ((own != np.roll(own, 1, 3)).sum(3) <= 2).all()


def test_masks_of_volumes_vary_along_every_axis():
    own = msda.mask(drawn(msda.FMix(), 30, (8, 9, 10), lam=0.5), shape=(8, 9, 10))
    for axis in (1, 2, 3):
        changed = (own != np.roll(own, 1, axis)).any((1, 2, 3))
        assert changed.mean() > 0.8


# --------------------------------------------------------------------------------------- the blend

WAYS = [
    ("uint8", "uint8", {}),
    ("uint8", "float32", NORMALISATION),
    ("uint8", "float16", NORMALISATION),
    ("uint8", "bfloat16", {}),
    ("float32", "float32", {}),
    ("float32", "float16", NORMALISATION),
    ("float32", "bfloat16", NORMALISATION),
]


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("source, dtype, norm", WAYS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_door_returns_the_defined_bits(shape, source, dtype, norm, layout):
    for channels, flags in ((3, None), (1, [1, 0, 0, 1, 1]), (4, [0, 1, 1, 0, 0])):
        images = samples(5, shape, channels, source)
        plan = drawn(MIXED, 5, shape, step=channels)
        each = {name: np.full(channels, value) for name, value in norm.items()}
        options = {"dtype": dtype, "layout": layout, "mirror": flags, **each}
        want = DOORS["reference"](images, plan, **options)
        axes = (channels, *shape) if layout == "CHW" else (*shape, channels)
        assert want.shape == (5, *axes)
        for door in DOORS.values():
            assert_same(door(images, plan, **options), want)


@pytest.mark.parametrize("policy", SERVED, ids=str)
@pytest.mark.parametrize("batch", [1, 4])
def test_every_policy_through_every_door(blend, batch, policy):
    for step, shape in enumerate([(61,), (3, 7, 20)]):
        images, plan = samples(batch, shape), drawn(policy, batch, shape, step)
        assert_same(blend(images, plan), DOORS["reference"](images, plan))


def test_pixels_of_a_sequence_by_hand(blend):
    images = np.arange(12, dtype=np.uint8).reshape(2, 3, 2) * 10
    plan = drawn(msda.Mixup(partner="flip"), 2, (3,), lam=[0.5, 0.25])
    want = [[[30, 40], [50, 60], [70, 80]], [[15, 25], [35, 45], [55, 65]]]
    assert_same(blend(images, plan, dtype="float32"), np.float32(want))
    flipped = blend(images, plan, dtype="float32", mirror=[1, 0])  # the order of the steps
    assert_same(flipped[0], np.float32([[50, 60], [50, 60], [50, 60]]))


def test_mirror_flips_the_last_axis_of_volumes(blend):
    images, plan = samples(3, (4, 5, 6)), drawn(msda.FMix(partner="roll"), 3, (4, 5, 6))
    turned = images.copy()
    turned[1] = turned[1, :, :, ::-1]
    assert_same(blend(images, plan, mirror=[0, 1, 0]), blend(turned, plan))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("shape", [(71_610,), (19, 23, 151)], ids=str)
def test_threads_and_instruction_sets_do_not_show(shape, layout):
    images, plan = samples(3, shape), drawn(MIXED, 3, shape)
    options = {"layout": layout, "dtype": "float16", "std": np.array([2.0, 3.0, 5.0])}
    want = plain(images, plan, **options)
    for isa, threads in itertools.product(range(len(cpu.isas())), (1, 2, 5)):
        assert_same(native(isa=isa, threads=threads)(images, plan, **options), want)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("shape", [(700_000,), (31, 101, 227)], ids=str)
def test_outputs_that_are_written_past_the_caches(shape, layout):
    images = samples(2, shape)
    for policy in (msda.FMix(modes=4), msda.Mixup()):
        plan = drawn(policy, 2, shape)
        want = plain(images, plan, dtype="float32", layout=layout)
        assert want.nbytes >= 16 << 20
        for isa in range(len(cpu.isas())):
            got = native(isa=isa, threads=2)(images, plan, dtype="float32", layout=layout)
            assert_same(got, want)


@pytest.mark.parametrize("dtype", ["uint8", "bfloat16"])
@pytest.mark.parametrize("layout, offset", [("HWC", 1), ("CHW", 3)])
def test_nothing_outside_the_output_is_written(layout, offset, dtype):
    for shape in ((5,), (1031,), (2, 3, 7), (4, 9, 33)):
        images, plan = samples(3, shape), drawn(MIXED, 3, shape)
        memory = poisoned((images.size + 128,), dtype)
        axes = (3, *shape, 3) if layout == "HWC" else (3, 3, *shape)
        out = memory[64 + offset : 64 + offset + images.size].reshape(axes)
        msda.blend(images, plan, dtype=dtype, layout=layout, out=out)
        want = plain(images, plan, dtype=dtype, layout=layout)
        assert_same(widened(out, dtype), want)
        margins = [memory[: 64 + offset], memory[64 + offset + images.size :]]
        assert (np.concatenate(margins).view(np.uint8) == 0xCD).all()


@pytest.mark.parametrize("shape", [(1,), (523,), (3, 1, 1), (6, 11, 13)], ids=str)
@pytest.mark.parametrize("policy", [msda.Mixup(scope="pair"), msda.FMix(partner="flip")], ids=str)
def test_in_place(policy, shape):
    for dtype, flags in (("uint8", None), ("float32", [0, 1, 1, 0, 1])):
        images, plan = samples(5, shape, 2, dtype), drawn(policy, 5, shape)
        want = msda.blend(images, plan, mirror=flags)
        for threads in (1, 2):
            given = images.copy()
            assert msda.blend(given, plan, mirror=flags, out=given, threads=threads) is given
            assert_same(given, want)


def test_batches_need_not_be_contiguous():
    for shape in ((11,), (3, 4, 5)):
        images, plan = samples(8, shape), drawn(MIXED, 4, shape)
        want = msda.blend(images[::2].copy(), plan)
        assert_same(msda.blend(images[::2], plan), want)
        out = np.zeros_like(images)
        msda.blend(images[::2], plan, out=out[1::2])
        assert_same(out[1::2].copy(), want)
        assert not out[::2].any()
        with pytest.raises(ValueError, match="images: expected each sample to be contiguous"):
            msda.blend(np.repeat(images, 2, axis=-2)[:4, ..., ::2, :], plan)


def test_empty_batches():
    for shape in ((7,), (2, 3, 4)):
        images, plan = samples(0, shape), drawn(MIXED, 0, shape)
        assert msda.mask(plan, shape=shape).shape == (0, *shape)
        assert msda.blend(images, plan, layout="CHW").shape == (0, 3, *shape)
        mixed, rows = msda.mix(images, np.zeros(0, int), MIXED, seed=0, step=0, num_classes=4)
        assert mixed.shape == images.shape and rows.shape == (0, 4)


@pytest.mark.parametrize("shape", [(40,), (5, 6, 7)], ids=str)
def test_mix_takes_the_shape_of_the_samples(shape):
    images, labels = samples(6, shape), np.arange(6)
    plan = drawn(MIXED, 6, shape, rank=1)
    options = {"mean": 100.0, "std": 50.0, "layout": "CHW"}
    key = {"seed": 6, "step": 0, "rank": 1, "num_classes": 6}
    mixed, rows = msda.mix(torch.from_numpy(images), labels, MIXED, **key, **options)
    assert isinstance(mixed, torch.Tensor) and mixed.shape == (6, 3, *shape)
    assert_same(mixed.numpy(), msda.blend(images, plan, **options))
    np.testing.assert_array_equal(rows, msda.targets(labels, plan, num_classes=6))


# ------------------------------------------------------------------- several interpolations of each

MULTI = [
    msda.MultiMix(msda.FMix(), 3),
    msda.MultiMix(msda.Mixup(scope="pair"), 2, "batch"),
    msda.MultiMix(msda.Choice([msda.FMix(law="legacy", max_soft=0.2), msda.Mixup()]), 4),
]


@pytest.mark.parametrize("policy", MULTI, ids=str)
@pytest.mark.parametrize("shape", [(1,), (97,), (3, 5, 1), (5, 2, 31), (3, 11, 530)], ids=str)
def test_interpolations_are_plans_of_their_own(shape, policy):
    for batch in (0, 1, 5):
        plan = drawn(policy, batch, shape)
        want = reference.draw(policy, batch, *shape, seed=6, step=0, drawn=plan)
        assert_same_plan(plan.ravel(), want.ravel())
        columns = [np.ascontiguousarray(plan[:, k]) for k in range(policy.k)]
        masks = msda.mask(plan, shape=shape)
        assert masks.shape == (batch, policy.k, *shape)
        for k, column in enumerate(columns):
            np.testing.assert_array_equal(masks[:, k], checked_weights(column, *shape))
        for dtype, layout in itertools.product(("uint8", "float32"), ("HWC", "CHW")):
            images, flags = samples(batch, shape, 3, dtype), np.arange(batch) % 2
            options = {"layout": layout, "mirror": flags, "std": np.array([2.0, 3.0, 5.0])}
            mixed = msda.blend(images, plan, dtype="float32", **options)
            for k, column in enumerate(columns):
                alone = DOORS["reference"](images, column, dtype="float32", **options)
                assert_same(mixed[:, k], alone)
        maps = np.random.default_rng(0).integers(0, 4, (batch, *shape))
        cut = msda.segmentation(maps, plan)
        for k, column in enumerate(columns):
            np.testing.assert_array_equal(cut[:, k], msda.segmentation(maps, column))


# ---------------------------------------------------------------------------- what belongs to them


@pytest.mark.parametrize("policy", SERVED, ids=str)
@pytest.mark.parametrize("shape", [(1,), (29,), (4, 1, 5), (3, 5, 7)], ids=str)
def test_maps_are_those_of_images_of_all_rows(shape, policy):
    """Read as one image that holds the rows of every plane, with the masks of the volumes."""
    plan, rng = drawn(policy, 6, shape), np.random.default_rng(0)
    maps, flags = rng.integers(0, 4, (6, *shape), dtype=np.uint8), [0, 1, 1, 0, 0, 1]
    flat = maps.reshape(6, -1, shape[-1])
    turned = np.where(np.array(flags, bool)[:, None, None], flat[..., ::-1], flat)
    sources = np.column_stack([plan["own"], plan["partner"], plan["extra"]])
    own = msda.mask(plan, shape=shape).reshape(flat.shape)
    want = np.zeros((6, 4, *flat.shape[1:]))
    for i, p in enumerate(plan):
        weights = [own[i], 1 - own[i]]
        if p["sources"] > 2:
            weights = [p["weight"], p["partner_weight"], *p["extra_weight"]]
        for k, source in enumerate(sources[i][: p["sources"]]):
            weight = 1.0 if p["sources"] == 1 else weights[k]
            want[i] += weight * (turned[source] == np.arange(4)[:, None, None])
    options = {"mirror": flags, "num_classes": 4}
    soft = msda.segmentation(maps, plan, soft=True, **options)
    assert soft.shape == (6, 4, *shape)
    np.testing.assert_allclose(soft.reshape(want.shape), want, atol=2e-7, rtol=0)
    hard = msda.segmentation(torch.from_numpy(maps), plan, **options).numpy()
    chosen = np.take_along_axis(want, hard.reshape(flat.shape)[:, None], 1)[:, 0]
    np.testing.assert_allclose(chosen, want.max(1), atol=1e-6)
    if all(isinstance(leaf, msda.FMix) and not leaf.max_soft for leaf in [policy]):
        cut = msda.blend(maps[..., None], plan, mirror=flags)[..., 0]
        np.testing.assert_array_equal(hard, cut)


def test_maps_into_memory_that_is_given():
    for shape in ((9,), (2, 3, 4)):
        plan = drawn(msda.FMix(), 3, shape)
        maps = np.random.default_rng(0).integers(0, 3, (3, *shape))
        out = np.zeros((6, 3, *shape), np.float32)
        kept = out[::2]
        result = msda.segmentation(maps, plan, num_classes=3, soft=True, out=kept)
        assert result is kept and (out[::2].sum(1) == 1).all() and not out[1::2].any()


def test_values_of_sequences_and_volumes():
    given = np.random.default_rng(0).standard_normal((4, 2))
    for shape in ((9,), (2, 3, 4)):
        plan = drawn(MIXED, 4, shape)
        np.testing.assert_allclose(msda.values(given, plan), msda.targets(given, plan), atol=1e-6)


# -------------------------------------------------------------------------------- what is refused

VOLUMES, PLAN = samples(4, (3, 6, 5)), drawn(msda.Mixup(), 4, (3, 6, 5))


def changed(**fields):
    plan = PLAN.copy()
    for name, value in fields.items():
        plan[name][2] = value
    return plan


def draw(policy=None, batch=4, *size, **options):
    return msda.draw(policy or msda.FMix(), batch, *size, **{"seed": 0, "step": 0, **options})


BOXED = (2, 4, 5, 6, 7, 8)  # every method with a box or a point
ERRORS = [
    (lambda: draw(), "height, width: expected both, or shape=, got None and None; give shape="),
    (lambda: draw(None, 4, 5), "height, width: expected both, or shape=, got 5 and None"),
    (lambda: draw(width=5), "height, width: expected both, or shape=, got None and 5"),
    (lambda: draw(None, 4, 5, 6, shape=(5, 6)), r"shape: expected None beside .* got \(5, 6\)"),
    (lambda: draw(width=6, shape=(5, 6)), "shape: expected None beside height and width"),
    (lambda: draw(shape=()), r"shape: expected \(length,\), .* got \(\)"),
    (lambda: draw(shape=(1, 2, 3, 4)), r"shape: expected \(length,\), .* got \(1, 2, 3, 4\)"),
    (lambda: draw(shape=7), r"shape: expected \(length,\), .* got 7"),
    (lambda: draw(shape=(3, 0, 5)), r"shape\[1\]: expected 1 <= .* got 0"),
    (lambda: draw(shape=(3, 4, 5.0)), r"shape\[2\]: expected a whole number, got 5.0"),
    (lambda: draw(shape=(True,)), r"shape\[0\]: expected a whole number, got True"),
    (lambda: draw(shape=(2**31,)), r"shape\[0\]: expected .* got 2147483648"),
    (lambda: draw(shape=(2**11, 2**10, 2**10)), r"shape: expected fewer than 2\*\*31 .* for FMix"),
    (lambda: draw(shape=(2**16, 2**15, 1)), r"shape: expected depth \* height < 2\*\*31"),
    (
        lambda: draw(msda.CutMix(), shape=(9,)),
        r"policy: expected Mixup or FMix .* \(9,\), got CutMix",
    ),
    (
        lambda: draw(msda.Choice([msda.Mixup(), msda.GMix()]), shape=(3, 4, 5)),
        r"policy: expected Mixup or FMix for samples of shape \(3, 4, 5\), got GMix",
    ),
    (
        lambda: draw(msda.Alternate([msda.FMix(), msda.Choice([msda.HMix()])]), shape=(1, 4, 5)),
        "policy: expected Mixup or FMix .* got HMix",
    ),
    (lambda: draw(msda.ResizeMix(), shape=(7,)), "policy: .* got ResizeMix.*give height and width"),
    (lambda: draw(msda.Cutout(), shape=(7,)), "policy: .* got Cutout"),
    (
        lambda: draw(msda.MultiMix(msda.CutMix(), 3), shape=(7,)),
        "policy: expected Mixup or FMix .* got CutMix",
    ),
    (lambda: msda.mask(PLAN, 6, 5), r"plan\[0\]: depth: expected 1, as images have, got 3"),
    (lambda: msda.mask(PLAN, 3, 6), r"plan\[0\]: depth: expected 1, as images have, got 3"),
    (
        lambda: msda.mask(PLAN, shape=(5,)),
        r"plan\[0\]: depth: expected 1, as sequences have, got 3",
    ),
    (
        lambda: msda.mask(PLAN, shape=(6, 3, 5)),
        r"depth, height, width: .* 6 x 3 x 5, got 3 x 6 x 5",
    ),
    (lambda: msda.mask(PLAN), "height, width: expected both, or shape="),
    (lambda: msda.blend(VOLUMES[:, 0], PLAN), r"plan\[0\]: depth: expected 1, as images have"),
    (lambda: msda.blend(VOLUMES[:, 0, 0], PLAN), r"expected 1, as sequences have, got"),
    (
        lambda: msda.blend(VOLUMES[:, :2], PLAN),
        r"depth, height, width: .* 2 x 6 x 5, got 3 x 6 x 5",
    ),
    (
        lambda: msda.blend(VOLUMES[None], PLAN),
        r"images: expected shape \(B, H, W, C\), .* got \(1,",
    ),
    (lambda: msda.blend(VOLUMES[..., :0], PLAN), "images: expected at least one pixel and channel"),
    (
        lambda: msda.blend(np.broadcast_to(np.uint8(0), (4, 2**16, 2**15, 1, 1)), PLAN),
        r"images: expected fewer than 2\*\*31 rows .* got",
    ),
    (
        lambda: msda.blend(np.broadcast_to(np.uint8(0), (4, 2**30, 2)), PLAN),
        r"images: expected fewer than 2\*\*31 rows in a sample and values in a row, got",
    ),
    (
        lambda: msda.blend(VOLUMES, PLAN, layout="CDHW"),
        "layout: expected 'HWC' or 'CHW', got 'CDHW'",
    ),
    (lambda: msda.blend(VOLUMES, PLAN, mean=[1, 2, 3, 4, 5]), r"mean: expected .*\(3,\)"),
    (
        lambda: msda.blend(VOLUMES, PLAN, layout="CHW", out=np.zeros_like(VOLUMES)),
        r"out: expected uint8 \(4, 3, 3, 6, 5\), got",
    ),
    (lambda: msda.blend(VOLUMES, changed(count=91, method=3)), r"plan\[2\]: count, soft: expected"),
    (lambda: msda.blend(VOLUMES, changed(method=7)), r"plan\[2\]: .*expected"),
    (
        lambda: msda.mask(huge(), shape=(2**11, 2**10, 2**10)),
        r"plan\[0\]: depth, height, width: expected fewer than 2.31 pixels for fmix",
    ),
    (
        lambda: msda.segmentation(VOLUMES, PLAN),
        r"maps: expected shape \(B, H, W\), \(B, L\) or \(B, D, H, W\), got .* leave out an axis",
    ),
    (
        lambda: msda.segmentation(
            VOLUMES[..., 0] * 0 + np.arange(5, dtype="u1"), PLAN, num_classes=3
        ),
        r"maps\[0, 0, 0, 3\]: expected 0 <= class < 3 or ignore=255, got 3",
    ),
    (
        lambda: msda.boxes([[[0, 0, 1, 1]]] * 4, [[0]] * 4, PLAN),
        r"plan\[0\]: depth: expected 1, as images have, got 3; boxes of volumes",
    ),
]


def huge():
    plan = drawn(msda.Mixup(), 1, (2**11, 2**10, 2**10))
    plan["method"] = 3
    return plan


@pytest.mark.parametrize("call, message", ERRORS, ids=[message for _, message in ERRORS])
def test_the_message(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("method", BOXED)
def test_records_with_a_box_in_a_volume_are_refused(method):
    plan = changed(method=method)
    for call in (
        lambda: msda.mask(plan, shape=(3, 6, 5)),
        lambda: msda.blend(VOLUMES, plan),
        lambda: msda.segmentation(VOLUMES[..., 0], plan),
    ):
        with pytest.raises(ValueError, match=r"plan\[2\]: (depth|method): expected"):
            call()


def test_huge_volumes_can_be_drawn_for_mixup():
    plan = drawn(msda.Mixup(), 1, (2**11, 2**10, 2**10))
    assert [plan[axis][0] for axis in ("depth", "height", "width")] == [2**11, 2**10, 2**10]
