"""Maps of classes and second images: pixel by pixel what the plan did to the images."""

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.annotations import sources
from dali_msda.policy import METHODS
from tests.support.annotated import CLASSES, CUTOUT, RESIZEMIX, VARIANTS, plan_of
from tests.support.variants import IN_LOADERS

HARD = [msda.CutMix(), msda.SaliencyMix(), msda.FMix(), msda.ResizeMix(), msda.CutMix(box="wrap")]
SHAPES = [(6, 7, 12), (5, 13, 5), (2, 1, 1), (1, 9, 4), (3, 1, 17)]


def maps_of(shape, dtype=np.uint8, classes=CLASSES, ignored=0.2, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, classes, shape).astype(dtype)
    if ignored:
        maps[rng.random(shape) < ignored] = 255
    return maps


def weights_at(record, own):
    """Weight of each source where the own one has ``own``."""
    if record["sources"] == 1:
        return [1.0]
    if record["sources"] == 2:
        return [float(own), float(np.float32(1) - own)]
    weights = [record["weight"], record["partner_weight"], *record["extra_weight"]]
    return [float(weight) for weight in weights[: record["sources"]]]


def values_at(maps, mirror, record, y, x):
    """Value of each source that belongs at pixel (y, x) of the output."""
    height, width = maps.shape[1:]
    found = []
    named = [record["own"], record["partner"], *record["extra"]]
    for k, index in enumerate(named[: record["sources"]]):
        row, column = y, x
        in_box = record["y0"] <= y < record["y1"] and record["x0"] <= x < record["x1"]
        if k == 1 and record["method"] == RESIZEMIX and in_box:
            row = min(int(np.float32(y - record["y0"]) * record["falloff"][1]), height - 1)
            column = min(int(np.float32(x - record["x0"]) * record["falloff"][2]), width - 1)
        found.append(maps[index][row][width - 1 - column if mirror[index] else column])
    return found


def pixels(maps, plan, mirror):
    """Every pixel of the output: its place, its record, the sources' values and weights."""
    own = msda.mask(plan, *maps.shape[1:])
    for i, y, x in np.ndindex(own.shape):
        record = plan[i]
        yield (i, y, x), values_at(maps, mirror, record, y, x), weights_at(record, own[i, y, x])


def hard_by_pixel(maps, plan, mirror):
    result = np.empty((len(plan), *maps.shape[1:]), maps.dtype)
    for place, values, weights in pixels(maps, plan, mirror):
        mass = [
            sum(w for w, v in zip(weights, values, strict=True) if v == value) for value in values
        ]
        result[place] = values[int(np.argmax(mass))]  # the first of equals
    return result


def soft_by_pixel(maps, plan, mirror, ignore=255):
    result = np.zeros((len(plan), CLASSES, *maps.shape[1:]))
    for (i, y, x), values, weights in pixels(maps, plan, mirror):
        for value, weight in zip(values, weights, strict=True):
            if value != ignore:
                result[i, value, y, x] += weight
    return result


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_maps_follow_the_mask(policy, shape):
    for step in range(2):
        plan, maps = plan_of(policy, shape, step), maps_of(shape, seed=step)
        mirror = np.random.default_rng(step).integers(0, 2, shape[0])
        hard = msda.segmentation(maps, plan, mirror=mirror)
        assert hard.dtype == np.uint8
        np.testing.assert_array_equal(hard, hard_by_pixel(maps, plan, mirror))
        soft = msda.segmentation(maps, plan, mirror=mirror, num_classes=CLASSES, soft=True)
        assert soft.dtype == np.float32
        want = soft_by_pixel(maps, plan, mirror)
        np.testing.assert_allclose(soft, want, atol=2e-7, rtol=0)


def test_every_method_is_among_the_variants():
    drawn = {int(code) for policy in VARIANTS for code in plan_of(policy, (9, 8, 8))["method"]}
    assert {METHODS[name].code for name in IN_LOADERS} <= drawn


@pytest.mark.parametrize("policy", HARD, ids=str)
@pytest.mark.parametrize("mirror", [None, [0, 1, 1, 0, 1, 0, 0]])
def test_a_hard_cut_is_what_blend_does(policy, mirror):
    shape = (7, 22, 15)
    plan, maps = plan_of(policy, shape), maps_of(shape)
    want = msda.blend(maps[..., None], plan, mirror=mirror)[..., 0]
    np.testing.assert_array_equal(msda.segmentation(maps, plan, mirror=mirror), want)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_a_hard_map_is_where_the_soft_one_is_greatest(policy):
    shape = (6, 11, 10)
    plan, maps = plan_of(policy, shape), maps_of(shape, ignored=0)
    hard = msda.segmentation(maps, plan)
    soft = msda.segmentation(maps, plan, num_classes=CLASSES, soft=True)
    np.testing.assert_array_equal(
        np.take_along_axis(soft, hard[:, None].astype(int), 1)[:, 0], soft.max(1)
    )
    np.testing.assert_allclose(soft.sum(1), 1, atol=2e-7)
    if (plan["sources"] <= 2).all():
        np.testing.assert_array_equal(soft.sum(1), 1)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_soft_maps_of_whole_samples_average_to_the_label_weights(policy):
    """A map that is one class everywhere is a label."""
    shape = (7, 13, 18)
    plan = plan_of(policy, shape)
    labels = np.arange(7) % CLASSES
    maps = np.broadcast_to(labels[:, None, None], shape)
    soft = msda.segmentation(maps, plan, num_classes=CLASSES, soft=True)
    if isinstance(policy, msda.HMix):
        # Its label weight is lambda, which a box that was rounded up may leave no room for.
        means = msda.mask(plan, 13, 18).mean((1, 2), dtype=np.float64)
        plan["weight"] = np.where(plan["sources"] == 2, means, 1)
        plan["partner_weight"] = 1 - plan["weight"]
    rows = msda.targets(labels, plan, num_classes=CLASSES)
    np.testing.assert_allclose(soft.mean((2, 3), dtype=np.float64), rows, atol=1e-6)


def test_the_loss_of_soft_maps_is_the_mean_of_the_sources_losses():
    shape = (4, 6, 5)
    plan, maps = plan_of(msda.Mixup(partner="roll"), shape), maps_of(shape).astype(np.int64)
    logits = torch.randn(4, CLASSES, 6, 5, dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy
    soft = msda.segmentation(torch.from_numpy(maps), plan, num_classes=CLASSES, soft=True)
    terms = {"reduction": "none", "ignore_index": 255}
    own = loss(logits, torch.from_numpy(maps), **terms)
    partner = loss(logits, torch.from_numpy(maps[plan["partner"]]), **terms)
    weight = torch.from_numpy(plan["weight"].astype(np.float64))[:, None, None]
    want = weight * own + (1 - weight) * partner
    got = loss(logits, soft.double(), reduction="none")
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_nothing_is_made_up(policy):
    shape = (6, 9, 8)
    plan = plan_of(policy, shape)
    maps = np.random.default_rng(0).integers(-(2**40), 2**40, shape)
    hard = msda.segmentation(maps, plan, ignore=None)
    for i, record in enumerate(plan):
        named = [record["own"], record["partner"], *record["extra"]][: record["sources"]]
        assert np.isin(hard[i], maps[named]).all()
    same = np.broadcast_to(maps[:1], shape)
    if (plan["method"] != RESIZEMIX).all():
        np.testing.assert_array_equal(msda.segmentation(same, plan), same)


def test_of_equal_weights_the_earlier_source_decides():
    shape = (5, 4, 6)
    maps = maps_of(shape)
    plan = plan_of(msda.Mixup(partner="roll"), shape, lam=0.5)
    np.testing.assert_array_equal(msda.segmentation(maps, plan), maps)
    plan = plan_of(msda.Mixup(n=4, partner="roll"), shape)
    plan["weight"] = plan["partner_weight"] = plan["extra_weight"] = 0.25
    np.testing.assert_array_equal(msda.segmentation(maps, plan), hard_by_pixel(maps, plan, [0] * 5))


def test_a_partner_is_never_read_past_its_border():
    shape = (4, 12, 9)
    plan, maps = plan_of(msda.ResizeMix(tau=(0.5, 0.9), partner="roll"), shape), maps_of(shape)
    plan["falloff"] = 0, 5.5, 7.0
    want = msda.blend(maps[..., None], plan)[..., 0]
    np.testing.assert_array_equal(msda.segmentation(maps, plan), want)


@pytest.mark.parametrize("policy", [msda.CutMix(), msda.Mixup(), msda.FMix(), msda.HMix()], ids=str)
def test_nothing_changes_at_lambda_1(policy):
    shape = (5, 8, 11)
    plan, maps = plan_of(policy, shape, lam=1.0), maps_of(shape)
    np.testing.assert_array_equal(msda.segmentation(maps, plan), maps)


def test_cutout_keeps_the_classes_or_not():
    shape = (5, 16, 12)
    plan, maps = plan_of(msda.Cutout(length=6), shape), maps_of(shape, ignored=0)
    gone = msda.mask(plan, 16, 12) == 0
    assert gone.any()
    np.testing.assert_array_equal(msda.segmentation(maps, plan), maps)
    erased = msda.segmentation(maps, plan, erased=255)
    np.testing.assert_array_equal(erased, np.where(gone, 255, maps))
    soft = msda.segmentation(maps, plan, erased=255, num_classes=CLASSES, soft=True)
    np.testing.assert_array_equal(soft.sum(1), ~gone)
    soft = msda.segmentation(maps, plan, erased=0, num_classes=CLASSES, soft=True)
    np.testing.assert_array_equal(soft[:, 0], gone | (maps == 0))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "bool"])
def test_types_and_kinds(dtype):
    shape = (4, 6, 7)
    plan = plan_of(msda.CutMix(), shape)
    maps = maps_of(shape, classes=2, ignored=0).astype(dtype)
    want = hard_by_pixel(maps, plan, [0] * 4)
    tensor = msda.segmentation(torch.from_numpy(maps), plan)
    assert isinstance(tensor, torch.Tensor) and str(tensor.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(tensor.numpy(), want)
    strided = np.repeat(maps, 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(msda.segmentation(strided, plan), want)
    out = np.zeros(shape, dtype)
    assert msda.segmentation(maps, plan, out=out) is out
    np.testing.assert_array_equal(out, want)
    soft = torch.full((4, 2, 6, 7), 9.0)
    got = msda.segmentation(torch.from_numpy(maps), plan, num_classes=2, soft=True, out=soft)
    assert got is soft
    np.testing.assert_array_equal(soft[:, 1].numpy(), want)


def test_ignored_classes_may_be_negative_or_absent():
    shape = (3, 5, 5)
    plan, maps = plan_of(msda.Mixup(), shape), maps_of(shape, np.int32)
    negative = np.where(maps == 255, -100, maps)
    options = {"num_classes": CLASSES, "soft": True}
    np.testing.assert_array_equal(
        msda.segmentation(negative, plan, ignore=-100, **options),
        msda.segmentation(maps, plan, **options),
    )
    with pytest.raises(ValueError, match="num_classes must cover"):
        msda.segmentation(maps, plan, ignore=None, **options)


def test_empty_batches_and_single_samples():
    plan = plan_of(msda.CutMix(), (0, 4, 5))
    assert msda.segmentation(np.zeros((0, 4, 5), int), plan).shape == (0, 4, 5)
    options = {"num_classes": 3, "soft": True}
    assert msda.segmentation(np.zeros((0, 4, 5), int), plan, **options).shape == (0, 3, 4, 5)


def test_the_masks_are_made_in_parts(monkeypatch):
    shape = (7, 6, 5)
    plan, maps = plan_of(msda.Choice([msda.FMix(), msda.GMix()]), shape), maps_of(shape)
    want = msda.segmentation(maps, plan)
    monkeypatch.setattr(sources, "WEIGHTS_AT_ONCE", 70)
    np.testing.assert_array_equal(msda.segmentation(maps, plan), want)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_a_second_image_is_mixed_like_the_first(policy):
    """A depth map, or another view: :func:`blend` with the same plan."""
    shape = (5, 9, 14)
    plan = plan_of(policy, shape)
    rng = np.random.default_rng(0)
    colours, mirror = rng.random((*shape, 3), np.float32), [1, 0, 0, 1, 1]
    depth = np.ascontiguousarray(colours[..., 1:2])
    mixed = msda.blend(depth, plan, mirror=mirror)
    np.testing.assert_array_equal(mixed[..., 0], msda.blend(colours, plan, mirror=mirror)[..., 1])
    if not np.isin(plan["method"], [CUTOUT]).any():
        for place, values, weights in pixels(depth[..., 0], plan, mirror):
            assert mixed[place] == pytest.approx(np.dot(values, weights), abs=1e-6)


# ----------------------------------------------------------------------------------------- errors

PLAN = plan_of(msda.Mixup(), (4, 6, 5))
MAPS = np.zeros((4, 6, 5), np.uint8)


def segmentation(maps=MAPS, plan=PLAN, **options):
    return msda.segmentation(maps, plan, **options)


ERRORS = [
    (lambda: segmentation(MAPS[0, 0]), r"maps: expected shape \(B, H, W\), .* got \(5,\)"),
    (lambda: segmentation(MAPS[0]), r"plan\[0\]: height: expected 1, as sequences have, got 6"),
    (lambda: segmentation(MAPS[..., None]), r"maps: expected .*got \(4, 6, 5, 1\); leave out"),
    (lambda: segmentation(MAPS * 1.0), "maps: expected an integer type, got float64; real"),
    (lambda: segmentation(MAPS[:, :0]), "maps: expected at least one pixel"),
    (lambda: segmentation(MAPS.tolist()), "maps: expected a NumPy array or a torch tensor"),
    (lambda: segmentation(MAPS[:, :5]), "height, width: expected the images' 5 x 5"),
    (lambda: segmentation(MAPS[:3]), r"plan\[\d\]: .*expected indices in \[0, 3\)"),
    (lambda: segmentation(plan=None), "plan: expected"),
    (lambda: segmentation(soft=True), "num_classes: expected a number .* got None"),
    (lambda: segmentation(num_classes=0), "num_classes: expected at least 1, got 0"),
    (lambda: segmentation(num_classes=2.0), "num_classes: expected a whole number, got 2.0"),
    (lambda: segmentation(num_classes=True), "num_classes: expected a whole number, got True"),
    (
        lambda: segmentation(MAPS + np.arange(5, dtype=np.uint8), num_classes=3),
        r"maps\[0, 0, 3\]: expected 0 <= class < 3 or ignore=255, got 3; num_classes",
    ),
    (lambda: segmentation(ignore=0.5), "ignore: expected a class .* got 0.5"),
    (lambda: segmentation(erased=True), "erased: expected a class .* got True"),
    (lambda: segmentation(erased=256), "erased: expected a class that uint8 holds, got 256"),
    (lambda: segmentation(erased=7, num_classes=3), "erased: expected 0 <= class < 3 or ignore"),
    (lambda: segmentation(mirror=[1, 0]), "mirror: expected 4 flags"),
    (lambda: segmentation(out=MAPS.astype(int)), "out: expected uint8 .* got int64"),
    (lambda: segmentation(out=MAPS), "out: expected memory apart from the maps'"),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message for _, message in ERRORS])
def test_the_message(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
