"""Several interpolations of a pair: drawn in order, nested, and the same as each by itself."""

import itertools

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.backends import cpu
from dali_msda.policy import METHODS
from tests.reference import mixing as reference
from tests.support.doors import DOORS, POISON, assert_same, widened
from tests.support.fmix_plans import fields_of
from tests.support.oracle import assert_same_plan
from tests.support.variants import CASES, draw_any, make, name_of, peaks_for

INTERPOLATES = [
    case for case in CASES if not {"n", "minmax"} & case[1].keys() and case[0] != "cutout"
]
BOXES = [case for case in INTERPOLATES if case[0] in ("cutmix", "hmix", "resizemix", "saliencymix")]
RNG = np.random.default_rng(0)
EVERY = pytest.mark.parametrize("case", INTERPOLATES, ids=name_of)


def draw(policy, batch=7, height=19, width=26, *, k=5, share="pair", seed=1, step=3, **key):
    multi = msda.MultiMix(policy, k, share)
    return draw_any(multi, batch, height, width, seed=seed, step=step, **key)


# ------------------------------------------------------------------------------------ what is drawn


@pytest.mark.parametrize("size, batch", [((1, 1), 1), ((7, 5), 2), ((13, 17), 3), ((31, 224), 4)])
@pytest.mark.parametrize("share", ["pair", "batch"])
@EVERY
def test_every_record_follows_the_definitions(case, share, size, batch):
    for step, scope in enumerate(("sample", "pair", "batch")):
        multi = msda.MultiMix(make(case, scope=scope, prob=(1.0, 0.5, 1.0)[step]), 3, share)
        plan = draw_any(multi, batch, *size, seed=3, step=step, rank=2)
        assert plan.shape == (batch, 3)
        key = dict(seed=3, step=step, rank=2, peaks=peaks_for(multi, batch, *size))
        want = reference.draw(multi, batch, *size, drawn=plan, **key)
        assert_same_plan(plan.ravel(), want.ravel())


@pytest.mark.parametrize("share", ["pair", "batch"])
@pytest.mark.parametrize("policy", [msda.Mixup(alpha=0.3), msda.FMix(reformulate=True)], ids=str)
def test_lambdas_are_sorted_draws(policy, share):
    plan = draw(policy, 9, share=share, seed=5, step=2)
    for i, lam in enumerate(plan["lam"]):
        identity = 0 if share == "batch" else i
        want = reference.nominal_lambda(policy, seed=5, step=2, identity=identity, k=5)
        np.testing.assert_allclose(lam, want, rtol=1e-6)


@EVERY
def test_lambda_falls_and_the_rest_is_shared(case):
    plan = draw(make(case))
    assert (np.diff(plan["lam"]) < 0).all()
    first = plan[:, :1]
    for name in ("own", "partner", "method", "sources", "leaf", "point", "field_seed"):
        assert (plan[name] == first[name]).all()
    apart = draw(make(case), share="batch")
    assert (apart["lam"] == apart["lam"][0]).all() and (plan["lam"][0] == apart["lam"][0]).all()
    if case[0] != "mixup":  # a box, point or field of its own nevertheless
        places = apart[["y0", "x0", "point", "field_seed"]][:, 0]
        assert len({tuple(map(str, place)) for place in places}) > 3


@pytest.mark.parametrize("case", BOXES, ids=name_of)
def test_boxes_are_nested(case):
    for step in range(20):
        plan = draw(make(case), 50, 23, 31, step=step)
        for axis in "yx":
            assert (np.diff(plan[axis + "0"]) <= 0).all() or case[1].get("box") == "wrap"
            assert (np.diff(plan[axis + "1"]) >= 0).all()
        if case[0] != "hmix":
            assert (np.diff(plan["weight"]) <= 0).all()


@pytest.mark.parametrize(
    "case", [c for c in INTERPOLATES if c[0] in ("cutmix", "fmix")], ids=name_of
)
def test_masks_are_nested_and_their_means_are_the_weights(case):
    plan = draw(make(case), 6)
    masks = msda.mask(plan, 19, 26)
    assert masks.shape == (6, 5, 19, 26)
    assert "max_soft" in case[1] or (np.diff(masks, axis=1) <= 0).all()  # ramps may cross
    assert (np.diff(masks.mean((2, 3))) <= 0).all() and masks.std() > 0.1
    if not case[1].get("reformulate"):
        np.testing.assert_allclose(masks.mean((2, 3)), plan["weight"], atol=1e-6)


def test_one_interpolation_of_many_is_the_plain_draw_of_its_lambda():
    policy = msda.Choice([msda.CutMix(), msda.FMix(), msda.GMix()])
    plan = draw(policy, 30, 20, 20)
    assert len(np.unique(plan["method"])) == 3
    for k in range(5):
        alone = msda.draw(policy, 30, 20, 20, seed=1, step=3, lam=plan["lam"][:, k])
        np.testing.assert_array_equal(plan[:, k], alone)


def test_stages_alternate():
    policy = msda.Alternate([msda.CutMix(), msda.Mixup()])
    methods = [set(draw(policy, step=step)["method"].ravel().tolist()) for step in range(4)]
    assert methods == [{METHODS["cutmix"].code}, {METHODS["mixup"].code}] * 2


def test_samples_that_are_not_mixed_are_repeated():
    plan = draw(msda.CutMix(prob=0.5), 40, distinct=30)
    alone = plan["sources"] == 1
    assert (alone == alone[:, :1]).all() and 5 < alone[:30, 0].sum() < 25 and alone[30:].all()
    assert (plan["partner"][:30] < 30).all()
    images = RNG.integers(0, 256, (40, 19, 26, 3), dtype=np.uint8)
    mixed = msda.blend(images, plan)
    for i in np.flatnonzero(alone[:, 0]):
        assert (mixed[i] == images[i]).all()


@pytest.mark.parametrize("shape", [(), (5,), (7, 5)])
def test_given_lambda(shape):
    lam = RNG.random(shape)
    plan = draw(msda.CutMix(), lam=lam)
    np.testing.assert_array_equal(plan["lam"], np.broadcast_to(np.float32(lam), (7, 5)))


def test_nothing_is_drawn_for_nobody():
    plan = draw(msda.FMix(), 0)
    assert plan.shape == (0, 5)
    assert msda.blend(np.zeros((0, 19, 26, 3), np.uint8), plan).shape == (0, 5, 19, 26, 3)
    assert msda.targets(np.zeros(0, int), plan, num_classes=4).shape == (0, 5, 4)
    assert msda.mask(plan, 19, 26).shape == (0, 5, 19, 26)


# ------------------------------------------------------------------------------------ what is mixed

MEAN, STD = np.array([100.0, 120.0, 90.0]), np.array([50.0, 60.0, 70.0])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@EVERY
def test_blend_equals_one_blend_for_each(case, layout, dtype):
    images = RNG.integers(0, 256, (7, 19, 26, 3), dtype=np.uint8)
    mirror = RNG.integers(0, 2, 7)
    plan = draw(make(case, prob=0.8))
    options = dict(mirror=mirror, dtype=dtype, layout=layout)
    if dtype != "uint8":
        options |= dict(mean=MEAN, std=STD)
    want = np.stack([DOORS["plain"](images, plan[:, k].copy(), **options) for k in range(5)], 1)
    for threads, isa in itertools.product((1, 2, 3), range(len(cpu.isas()))):
        out = np.full(
            (*want.shape,), 0, {"uint8": "u1", "float16": "f2", "bfloat16": "u2"}.get(dtype, "f4")
        )
        out.view(np.uint8)[:] = POISON
        scale, shift = (
            (None, None) if dtype == "uint8" else (np.float32(1 / STD), np.float32(-MEAN / STD))
        )
        # fmt: off
        cpu.blend(out, images, plan, out_dtype=dtype, layout=layout, scale=scale, shift=shift,
                  mirror=np.uint8(mirror), fields=fields_of(plan), threads=threads, isa=isa)
        # fmt: on
        assert_same(widened(out, dtype), want)
    assert_same(widened(msda.blend(images, plan, **options), dtype), want)


@pytest.mark.parametrize(
    "channels, kind", [(1, np.uint8), (4, np.uint8), (3, np.float32), (2, np.float32)]
)
def test_other_channels_and_floats(channels, kind):
    images = (RNG.random((5, 11, 7, channels)) * 255).astype(kind)
    for case in INTERPOLATES:
        plan = draw(make(case), 5, 11, 7, k=3)
        want = np.stack([msda.blend(images, plan[:, k]) for k in range(3)], 1)
        assert_same(msda.blend(images, plan), want)


@pytest.mark.parametrize(
    "case", [("cutmix", {}), ("fmix", {}), ("gmix", {}), ("mixup", {})], ids=name_of
)
def test_a_batch_that_is_written_past_the_caches(case):
    images = RNG.integers(0, 256, (8, 160, 161, 3), dtype=np.uint8)
    plan = draw(make(case), 8, 160, 161, k=7)
    mixed = msda.blend(images, plan, mean=MEAN, std=STD, layout="CHW", mirror=[1, 0] * 4)
    assert mixed.nbytes > 16 << 20
    for k in range(7):
        alone = msda.blend(images, plan[:, k], mean=MEAN, std=STD, layout="CHW", mirror=[1, 0] * 4)
        np.testing.assert_array_equal(mixed[:, k], alone)


def test_records_of_a_row_need_not_be_alike():
    """Made by hand: other partners, methods and numbers of sources in one row."""
    images = RNG.integers(0, 256, (7, 19, 26, 3), dtype=np.uint8)
    policies = [msda.Mixup(), msda.CutMix(), msda.Mixup(n=3), msda.FMix(), msda.ResizeMix()]
    policies += [msda.Cutout(), msda.Mixup(prob=0)]
    columns = [msda.draw(p, 7, 19, 26, seed=1, step=i) for i, p in enumerate(policies)]
    options = dict(mean=MEAN, std=STD, layout="CHW", mirror=[1, 0, 0, 1, 0, 0, 1])
    other = msda.draw(msda.FMix(), 7, 19, 26, seed=1, step=9)
    shrunk = columns[4].copy()  # of the partners that come before and after it
    shrunk["partner"] = columns[0]["partner"]
    alike = [columns[0], shrunk, columns[0]]
    for rows in (columns, columns[:2], [columns[1], columns[3]], [columns[3], other], alike):
        plan = np.stack(rows, 1)
        mixed = msda.blend(images, plan, **options)
        flat = np.concatenate([msda.blend(images, one, **options) for one in plan.reshape(-1, 1)])
        np.testing.assert_array_equal(mixed.reshape(flat.shape), flat)


def test_batches_flatten_without_a_copy():
    images, labels = np.zeros((7, 19, 26, 3), np.uint8), np.arange(7)
    multi = msda.MultiMix(msda.CutMix(), 5)
    mixed, rows = msda.mix(images, labels, multi, num_classes=9, seed=0, step=0, layout="CHW")
    flat = mixed.reshape(35, 3, 19, 26)
    assert np.shares_memory(flat, mixed) and np.shares_memory(rows.reshape(35, 9), rows)
    tensors = msda.mix(
        torch.from_numpy(images), torch.from_numpy(labels), multi, num_classes=9, seed=0, step=0
    )
    assert tensors[0].flatten(0, 1).data_ptr() == tensors[0].data_ptr()
    assert tensors[0].shape == (7, 5, 19, 26, 3) and tensors[1].shape == (7, 5, 9)


def test_out_with_a_gap_between_samples():
    images = RNG.integers(0, 256, (7, 19, 26, 3), dtype=np.uint8)
    plan = draw(msda.CutMix())
    room = np.full((7, 6, 19, 26, 3), POISON, np.uint8)
    assert msda.blend(images, plan, out=room[:, :5]) is not None
    np.testing.assert_array_equal(room[:, :5], msda.blend(images, plan))
    assert (room[:, 5] == POISON).all()


def test_targets_in_the_order_of_the_images():
    plan = draw(msda.FMix())
    labels = np.array([3, 1, 4, 1, 5, 2, 6])
    rows = msda.targets(labels, plan, num_classes=7, smoothing=0.1)
    pairs, weights = msda.targets(labels, plan, compact=True)
    assert rows.shape == (7, 5, 7) and pairs.shape == weights.shape == (7, 5, 2)
    for k in range(5):
        alone = plan[:, k].copy()
        np.testing.assert_array_equal(
            rows[:, k], msda.targets(labels, alone, num_classes=7, smoothing=0.1)
        )
        np.testing.assert_array_equal(pairs[:, k], msda.targets(labels, alone, compact=True)[0])
        np.testing.assert_array_equal(weights[:, k], msda.targets(labels, alone, compact=True)[1])
    soft = RNG.random((7, 6)).astype(np.float32)
    np.testing.assert_array_equal(msda.targets(soft, plan)[:, 2], msda.targets(soft, plan[:, 2]))


def test_registered_targets():
    plan = draw(msda.CutMix())
    maps = RNG.integers(0, 4, (7, 19, 26))
    ages = RNG.random((7, 2))
    found = [np.array([[0.0, 0.0, 9.0, 9.0]])] * 7
    cut = msda.segmentation(maps, plan)
    soft = msda.segmentation(maps, plan, num_classes=4, soft=True)
    kinds = msda.boxes(found, [np.array([i]) for i in range(7)], plan)
    assert cut.shape == (7, 5, 19, 26) and soft.shape == (7, 5, 4, 19, 26) and len(kinds[0]) == 35
    for k in range(5):
        alone = plan[:, k].copy()
        np.testing.assert_array_equal(cut[:, k], msda.segmentation(maps, alone))
        np.testing.assert_array_equal(
            soft[:, k], msda.segmentation(maps, alone, num_classes=4, soft=True)
        )
        np.testing.assert_array_equal(msda.values(ages, plan)[:, k], msda.values(ages, alone))
        boxes = msda.boxes(found, [np.array([i]) for i in range(7)], alone)
        for i in range(7):
            np.testing.assert_array_equal(kinds[0][5 * i + k], boxes[0][i])


def test_saved_and_loaded(tmp_path):
    plan = draw(msda.FMix())
    msda.save(tmp_path / "plan.npy", plan)
    np.testing.assert_array_equal(msda.load(tmp_path / "plan.npy"), plan)


@pytest.mark.parametrize("soft", [0.0, 0.4])
def test_interpolations_that_a_batch_shares(soft):
    """Copied from pair to pair, but for the pair whose masks are others."""
    plan = draw(msda.FMix(scope="batch", max_soft=soft))
    assert (plan[["field_seed", "count"]] == plan[["field_seed", "count"]][:1]).all()
    plan["count"][4, 2] -= 1
    plan["soft"][4, 2] = min(plan["soft"][4, 2], plan["count"][4, 2])
    masks = msda.mask(plan, 19, 26)
    for i, k in np.ndindex(plan.shape):
        np.testing.assert_array_equal(masks[i, k], msda.mask(plan[i, k : k + 1], 19, 26)[0])


@pytest.mark.parametrize("soft", [0.0, 0.4])
def test_masks_that_are_shared_are_made_once_and_alike(soft):
    """A batch with one mask takes copies; so must records among which others lie."""
    shared = msda.draw(msda.FMix(scope="batch", max_soft=soft), 9, 19, 26, seed=2, step=0)
    want = msda.mask(shared[:1], 19, 26)
    np.testing.assert_array_equal(msda.mask(shared, 19, 26), np.repeat(want, 9, 0))
    others = msda.draw(msda.FMix(max_soft=soft), 9, 19, 26, seed=2, step=1)
    mixed = np.stack([shared, others, shared, shared], 1).ravel()
    mixed["count"][::7] = 100
    mixed["soft"][::7] = 0
    alone = np.concatenate([msda.mask(record, 19, 26) for record in mixed[:, None]])
    np.testing.assert_array_equal(msda.mask(mixed, 19, 26), alone)


# -------------------------------------------------------------------------------------------- LaMix


def test_lamix_alternates_originals_and_averages():
    images = RNG.integers(0, 256, (50, 9, 8, 3), dtype=np.uint8)
    for step in range(4):
        plan = msda.draw(msda.LaMix(), 50, 9, 8, seed=0, step=step)
        mixed = msda.blend(images, plan, dtype="float32")
        if step % 2 == 0:
            assert (plan["sources"] == 1).all() and (plan["weight"] == 1).all()
            np.testing.assert_array_equal(mixed, images)
            continue
        assert (plan["sources"] == 2).all() and (plan["weight"] == plan["lam"]).all()
        partner = images[plan["partner"]].astype(np.float32)
        np.testing.assert_array_equal(mixed, (images + partner) / 2)
        np.testing.assert_array_equal(msda.mask(plan, 9, 8), 0.5)
        rows = msda.targets(np.arange(50), plan, num_classes=50)
        two = np.flatnonzero(plan["partner"] != plan["own"])
        np.testing.assert_array_equal(rows[two, two], plan["lam"][two])


def test_lamix_labels_are_uniform():
    drawn = np.sort(msda.draw(msda.LaMix(), 4000, 1, 1, seed=0, step=1)["weight"])
    assert np.abs(drawn - (np.arange(4000) + 0.5) / 4000).max() < 1.95 / np.sqrt(4000)


# ------------------------------------------------------------------------------------------- errors

PLAN = draw(msda.CutMix(), 4, 8, 8, k=3)
IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
WRONG = PLAN.copy()
WRONG["partner"][2, 1] = 4


K = "k: expected 2 to 64 interpolations, a whole number, "


@pytest.mark.parametrize("call, message", [
    (lambda: msda.MultiMix(msda.CutMix(), 1), K + "got 1"),
    (lambda: msda.MultiMix(msda.CutMix(), 65), K + "got 65"),
    (lambda: msda.MultiMix(msda.CutMix(), 2.0), K + "got 2.0"),
    (lambda: msda.MultiMix(msda.CutMix(), True), K + "got True"),
    (lambda: msda.MultiMix(msda.CutMix(), 3, "all"), "share: expected one of 'pair', 'batch', got"),
    (lambda: msda.MultiMix("cutmix"), "policy: expected a method, Choice or Alternate, got 'cutm"),
    (lambda: msda.MultiMix(msda.MultiMix(msda.CutMix())), "policy: expected a method, Choice or A"),
    (lambda: msda.MultiMix(msda.LaMix()), "policy: expected a method, Choice or Alternate, got La"),
    (lambda: msda.MultiMix(msda.Cutout()), "policy: expected methods that mix .* leave out Cutout"),
    (lambda: msda.MultiMix(msda.Mixup(n=3)), "policy: expected methods that mix two samples by a"),
    (lambda: msda.MultiMix(msda.CutMix(minmax=(0.1, 0.5))), "policy: expected methods that mix"),
    (lambda: msda.Choice([msda.MultiMix(msda.CutMix())]), r"policies\[0\]: expected a method, got"),
    (lambda: msda.Alternate([msda.LaMix()]), r"policies\[0\]: expected a method or Choice, got L"),
    (lambda: msda.LaMix(partner="me"), "partner: expected one of 'permutation', .* got 'me'"),
    (lambda: draw(msda.CutMix(), lam=np.zeros(7)), r"lam: expected .* shape \(7, 5\), .*\(7,\)"),
    (lambda: draw(msda.CutMix(), lam=np.full((7, 5), 2)), r"lam: expected values in \[0, 1\]"),
    (lambda: msda.blend(IMAGES, PLAN, out=IMAGES), "out: expected uint8 .4, 3, 8, 8, 3., g"),
    (lambda: msda.blend(IMAGES, PLAN, out=np.zeros((12, 8, 8, 3), np.uint8)), "out: expected uin"),
    (lambda: msda.blend(IMAGES, WRONG), r"plan\[7\]: sources: expected indices in \[0, 4\), got"),
    (lambda: msda.blend(IMAGES, PLAN[None]), r"plan: .* shape \(B,\) or \(B, k\), .* \(1, 4, 3\)"),
])  # fmt: skip
def test_the_message(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
