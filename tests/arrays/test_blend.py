"""Pixels: every way into the blend equals the definition, to the bit."""

import functools
import itertools

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import cpu
from tests.support.batches import (
    OUTPUTS,
    every_kind_of_record,
    normalisation,
    random_images,
)
from tests.support.doors import DOORS, assert_same, by_reference, native, plain, poisoned, widened
from tests.support.doors import blend as blend  # a fixture
from tests.support.oracle import checked_weights
from tests.support.variants import CASES, draw_any, make, name_of

# Odd, prime and tiny; rows of a block and one more; more rows than a block holds.
SHAPES = [
    (1, 1, 1, 1),
    (2, 7, 5, 3),
    (3, 1, 513, 2),
    (5, 131, 17, 4),
    (2, 9, 511, 1),
    (2, 5, 1023, 3),
    (2, 3, 1030, 3),
    (4, 16, 33, 5),
    (3, 40, 31, 3),
    (3, 300, 2, 6),
    (2, 1100, 1, 3),
]


@functools.cache
def cases(source, dtype, norm, layout):
    """Arguments of the blend and what the definition makes of them."""
    made = []
    for seed, shape in enumerate(SHAPES * 2):
        images = random_images(shape, source, seed)
        plan = every_kind_of_record(*shape[:3], seed=seed)
        flags = np.random.default_rng(seed).random(len(images)) < 0.5
        mirror = flags if seed >= len(SHAPES) else None
        options = {"mirror": mirror, "dtype": dtype, "layout": layout}
        options |= normalisation(shape[3], norm)
        made.append((images, plan, options, DOORS["reference"](images, plan, **options)))
    return made


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("source, dtype, norm", OUTPUTS)
def test_every_door_returns_the_defined_bits(blend, source, dtype, norm, layout):
    for images, plan, options, want in cases(source, dtype, norm, layout):
        assert_same(blend(images, plan, **options), want)


@pytest.mark.parametrize("source, dtype, norm", OUTPUTS)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_method_through_every_door(case, source, dtype, norm):
    for layout, shape in (("HWC", (5, 13, 19, 3)), ("CHW", (4, 9, 70, 3)), ("HWC", (3, 21, 8, 2))):
        images = random_images(shape, source)
        plan = draw_any(make(case), *shape[:3], seed=4, step=0)
        mirror = [i % 3 == 1 for i in range(len(plan))]
        options = {"dtype": dtype, "layout": layout, "mirror": mirror}
        options |= normalisation(shape[3], norm)
        want = DOORS["reference"](images, plan, **options)
        for name, door in DOORS.items():
            if name != "reference":
                assert_same(door(images, plan, **options), want)


@pytest.mark.parametrize(
    "w, own, partner, expected",
    [
        (0.5, 0, 1, 0),  # a half rounds to even ...
        (0.5, 1, 2, 2),  # ... whichever way that is
        (0.5, 254, 255, 254),
        (0.5, 255, 0, 128),
        (1.0, 255, 0, 255),
        (0.0, 255, 0, 0),
        (0.25, 2, 0, 0),
        (0.75, 2, 0, 2),
        (float.fromhex("0x1.555554p-2"), 3, 0, 1),  # nearly a third of 3
        (float.fromhex("0x1.fffffep-2"), 1, 0, 0),
        (float.fromhex("0x1.000002p-1"), 1, 0, 1),  # just above a half: 0.50000006
    ],
)
def test_rounding_is_pinned(blend, w, own, partner, expected):
    images = np.array([own, partner], np.uint8).reshape(2, 1, 1, 1)
    plan = msda.draw(msda.Mixup(partner="flip"), 2, 1, 1, seed=0, step=0, lam=[w, 1 - w])
    assert blend(images, plan)[0] == expected


def test_every_pair_of_bytes_is_rounded_right(blend):
    """All 65536 pairs at some weights, against whole-number arithmetic."""
    own, partner = np.divmod(np.arange(65536, dtype=np.int64), 256)
    images = np.stack([own, partner]).astype(np.uint8).reshape(2, 256, 256, 1)
    for lam in (0.5, 0.25, 0.3, 1 / 3, 0.999, 2**-20, 1 - 2**-24):
        plan = msda.draw(msda.Mixup(partner="flip"), 2, 256, 256, seed=0, step=0, lam=lam)
        w = int(np.float64(np.float32(lam)) * 2**44)
        exact = w * own + (2**44 - w) * partner  # in units of 2^-44
        whole, rest = np.divmod(exact, 2**44)
        # float32 keeps 24 bits: what is within half a unit of a half may be rounded to that half.
        near = np.abs(rest - 2**43) <= 2**44 // 2**17
        want = whole + (rest > 2**43)
        got = blend(images, plan)[0].ravel()
        np.testing.assert_array_equal(got[~near], want[~near])
        assert (np.abs(got[near].astype(int) - exact[near] / 2**44) <= 0.5 + 2**-16).all()


@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_a_source_of_no_weight_never_enters(blend, source):
    """NaN and inf of the partner stay on their side of the box's edge."""
    if source == "uint8":
        images = np.stack([np.full((20, 30, 3), 7), np.full((20, 30, 3), 250)]).astype(source)
    else:
        images = np.stack([np.full((20, 30, 3), 7.0), np.full((20, 30, 3), np.nan)]).astype(source)
        images[1, ::2] = np.inf
    for box, lam in itertools.product(("clip", "inside", "wrap"), (0.0, 0.3, 1.0)):
        plan = msda.draw(msda.CutMix(box=box, partner="flip"), 2, 20, 30, seed=1, step=0, lam=lam)
        own = msda.mask(plan, 20, 30).astype(bool)
        mixed = blend(images, plan)
        np.testing.assert_array_equal(mixed[0], np.where(own[0, ..., None], images[0], images[1]))
        np.testing.assert_array_equal(mixed[1], np.where(own[1, ..., None], images[1], images[0]))


def test_more_sources_skip_those_of_no_weight(blend):
    images = np.array([1.0, np.nan, 5.0, np.inf], np.float32).reshape(4, 1, 1, 1)
    plan = msda.draw(msda.Mixup(n=4, partner="roll"), 4, 1, 1, seed=0, step=0)
    plan["weight"], plan["partner_weight"], plan["extra_weight"] = 0.5, 0, [0.5, 0]
    assert plan["extra"][0, 0] == 2 and plan["partner"][0] == 3
    assert blend(images, plan)[[0, 2], 0, 0, 0].tolist() == [3.0, 3.0]
    plan["weight"], plan["partner_weight"], plan["extra_weight"] = 0, 0, [0.0, 1]
    assert blend(images, plan)[[1, 3], 0, 0, 0].tolist() == [5.0, 1.0]  # the first is NaN, inf


@pytest.mark.parametrize("n", [3, 4])
def test_more_sources_are_a_weighted_mean(blend, n):
    images = random_images((9, 8, 7, 3), "uint8")
    plan = msda.draw(msda.Mixup(n=n), 9, 8, 7, seed=2, step=0)
    sources = np.column_stack([plan["own"], plan["partner"], plan["extra"]])[:, :n]
    weights = np.column_stack([plan["weight"], plan["partner_weight"], plan["extra_weight"]])[:, :n]
    exact = np.einsum("bk,bkyxc->byxc", weights.astype(np.float64), images[sources].astype(float))
    np.testing.assert_allclose(blend(images, plan, dtype="float32"), exact, atol=1e-4)


def test_mirror_flips_each_source_by_its_own_flag(blend):
    """The box stays where it is: the mask belongs to the output."""
    images = np.arange(2 * 1 * 4, dtype=np.uint8).reshape(2, 1, 4, 1)
    plan = msda.draw(msda.CutMix(partner="flip"), 2, 1, 4, seed=0, step=0, lam=0.5)
    plan["y0"], plan["y1"], plan["x0"], plan["x1"] = 0, 1, 0, 1
    cases = {
        (0, 0): [[4, 1, 2, 3], [0, 5, 6, 7]],
        (1, 0): [[4, 2, 1, 0], [3, 5, 6, 7]],
        (0, 1): [[7, 1, 2, 3], [0, 6, 5, 4]],
        (1, 1): [[7, 2, 1, 0], [3, 6, 5, 4]],
    }
    for mirror, want in cases.items():
        assert blend(images, plan, mirror=list(mirror))[:, 0, :, 0].tolist() == want


def assert_walks_agree(images, threads, **options):
    plan = every_kind_of_record(*images.shape[:3])
    options["mirror"] = [i % 2 for i in range(len(images))]
    want = plain(images, plan, **options)
    for isa, count in itertools.product(range(len(cpu.isas())), threads):
        assert_same(native(isa=isa, threads=count)(images, plan, **options), want)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("source, dtype, norm", OUTPUTS)
def test_threads_and_instruction_sets_do_not_show(source, dtype, norm, layout):
    images = random_images((7, 131, 163, 3), source)
    options = {"dtype": dtype, "layout": layout, **normalisation(3, norm)}
    assert_walks_agree(images, (1, 2, 3, 7), **options)


@pytest.mark.parametrize(
    "source, dtype, layout, shape",
    [
        ("uint8", "uint8", "HWC", (3, 803, 2333, 3)),
        ("uint8", "float32", "CHW", (3, 803, 587, 3)),
        ("uint8", "float32", "HWC", (3, 803, 587, 3)),
        ("uint8", "float16", "CHW", (3, 803, 1171, 3)),
        ("uint8", "bfloat16", "HWC", (3, 803, 1171, 3)),
        ("float32", "float32", "CHW", (3, 803, 440, 4)),
        ("uint8", "float32", "CHW", (28, 224, 224, 3)),  # 224 x 224: whole vectors, all aligned
        ("uint8", "float32", "HWC", (28, 224, 224, 3)),
        ("uint8", "float32", "CHW", (330, 64, 68, 3)),  # the planes are, their rows are not
        ("uint8", "float16", "CHW", (56, 224, 224, 3)),
        ("uint8", "float16", "CHW", (71, 200, 208, 3)),  # rows are whole vectors, but odd ones
        ("uint8", "bfloat16", "CHW", (330, 64, 144, 3)),
        ("uint8", "uint8", "CHW", (130, 224, 208, 3)),
        ("uint8", "bfloat16", "HWC", (56, 224, 224, 3)),
        ("float32", "float32", "CHW", (28, 224, 224, 3)),
    ],
)
def test_nor_do_they_in_outputs_that_are_written_past_the_caches(source, dtype, layout, shape):
    """From 16 MiB on."""
    images = random_images(shape, "uint8").astype(source)
    norm = normalisation(shape[3], "none" if dtype == source else "mean and std")
    assert_walks_agree(images, (2,), dtype=dtype, layout=layout, **norm)


@pytest.mark.parametrize("layout, offset", [("HWC", 1), ("CHW", 0), ("CHW", 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_nothing_outside_the_output_is_written(dtype, layout, offset):
    """Small and large outputs, at addresses that suit no vector."""
    for shape in ((3, 5, 7, 3), (1, 2371, 2399, 3) if dtype == "uint8" else (1, 1187, 1999, 3)):
        size = int(np.prod(shape))
        memory = poisoned((size + 128,), dtype)
        out_shape = shape if layout == "HWC" else (shape[0], 3, *shape[1:3])
        out = memory[64 + offset : 64 + offset + size].reshape(out_shape)
        images = random_images(shape, "uint8")
        plan = every_kind_of_record(*shape[:3])
        msda.blend(images, plan, dtype=dtype, layout=layout, out=out)
        want = plain(images, plan, dtype=dtype, layout=layout)
        assert_same(widened(out, dtype), want)
        margins = np.concatenate([memory[: 64 + offset], memory[64 + offset + size :]])
        assert (margins.view(np.uint8) == 0xCD).all()


def test_mask_is_the_weight_that_the_blend_applies():
    plan = every_kind_of_record(300, 13, 9)
    plan = plan[plan["sources"] <= 2]
    weights = checked_weights(plan, 13, 9)
    images = np.zeros((len(plan) * 2, 13, 9, 1), np.float32)
    images[: len(plan)] = 1
    plan["own"], plan["partner"] = np.arange(len(plan)), np.arange(len(plan)) + len(plan)
    np.testing.assert_array_equal(msda.blend(images, plan)[..., 0], weights)


def test_pixel_share_equals_label_weight():
    """Mixing white into black, the mean of an image is the weight of its label."""
    for box, shape in itertools.product(("clip", "inside", "wrap"), ((40, 24), (7, 13), (1, 1))):
        plan = msda.draw(msda.CutMix(box=box), 200, *shape, seed=2, step=0)
        share = msda.mask(plan, *shape).mean((1, 2), dtype=np.float64)
        np.testing.assert_array_equal(plan["weight"], share.astype(np.float32))


@pytest.mark.parametrize("layout, dtype", [("HWC", "uint8"), ("CHW", "float16")])
def test_sources_without_weight(blend, layout, dtype):
    some = np.array(list(itertools.product((0, 1), repeat=3)), np.float32)
    some[0, 2] = 1  # the next test has none at all
    weights = some / some.sum(1, keepdims=True)
    images = random_images((8, 5, 37, 3), "uint8")
    plan = msda.draw(msda.Mixup(n=3), 8, 5, 37, seed=0, step=0)
    plan["weight"], plan["partner_weight"], plan["extra_weight"][:, 0] = weights.T
    mixed = blend(images, plan, layout=layout, dtype=dtype)
    assert_same(mixed, by_reference(images, plan, layout=layout, dtype=dtype))


def test_records_without_any_weight_read_their_last_source():
    images = random_images((3, 2, 40, 3), "uint8")
    plan = msda.draw(msda.Mixup(n=3, partner="roll"), 3, 2, 40, seed=0, step=0)
    for name in ("weight", "partner_weight", "extra_weight"):
        plan[name] = 0
    for door in ("numpy", "torch"):
        with pytest.raises(
            ValueError, match="weights: expected values that sum to 1 .* a sum of 0"
        ):
            DOORS[door](images, plan)
    kernels = set(DOORS) - {"reference", "numpy", "torch"}
    for layout, door in itertools.product(("HWC", "CHW"), kernels):
        mixed = DOORS[door](images, plan, layout=layout)
        np.testing.assert_array_equal(
            mixed if layout == "HWC" else mixed.transpose(0, 2, 3, 1), images[plan["extra"][:, 0]]
        )


def test_a_source_that_takes_no_part_is_never_looked_up():
    images = random_images((3, 6, 5, 2), "uint8")
    plan = msda.draw(msda.ResizeMix(), 3, 6, 5, seed=0, step=0)
    plan["sources"], plan["weight"], plan["partner"] = 1, 1.0, 2**30
    np.testing.assert_array_equal(msda.blend(images, plan, mirror=[0, 0, 0]), images)


def test_partners_follow_each_other_in_the_order_of_the_blend():
    plan = msda.draw(msda.CutMix(), 61, 4, 4, seed=0, step=0)
    order = cpu.order(plan)
    assert sorted(order) == list(range(61)) and order[0] == 0
    done = set()
    for here, after in itertools.pairwise(order.tolist()):
        done.add(here)
        partner = int(plan["partner"][here])
        assert after == partner or partner in done  # a cycle ends: the first that is left follows
        assert after == partner or after == min(set(range(61)) - done)


def test_order_of_plans_without_partners_and_of_several_interpolations():
    alone = msda.draw(msda.Mixup(prob=0), 5, 4, 4, seed=0, step=0)
    assert cpu.order(alone).tolist() == [0, 1, 2, 3, 4]
    flipped = msda.draw(msda.MultiMix(msda.Mixup(partner="flip"), k=3), 5, 4, 4, seed=0, step=0)
    assert cpu.order(flipped).tolist() == [0, 4, 1, 3, 2]
    flipped["partner"] = 2**30  # of a larger batch, say: there is nothing to follow
    assert cpu.order(flipped).tolist() == [0, 1, 2, 3, 4]
    assert cpu.order(flipped[:0]).tolist() == []
