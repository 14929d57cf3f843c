"""FMix: the masks are those of the definition, pixel for pixel; counts, ramps and roundings."""

import itertools
import os
import signal
import threading

import numpy as np
import pytest
from scipy import special, stats

import dali_msda as msda
from tests.reference.fields import field_mask, normals
from tests.support.fmix_plans import LAWS, masks, ramped, records
from tests.support.oracle import assert_follows_field

SHAPES = [
    *((1, 1, n) for n in (1, 2, 7, 64, 97, 1000)),
    *((1, n, 1) for n in (2, 5, 64, 97)),
    *((1, *size) for size in ((2, 2), (4, 4), (7, 11), (31, 53), (53, 31), (31, 48), (48, 31))),
    *((1, *size) for size in ((32, 32), (30, 42), (3, 60), (224, 224), (225, 223))),
    *((2, 1, 1), (2, 3, 4), (3, 4, 5), (4, 6, 8), (8, 8, 8), (5, 7, 6), (16, 9, 25)),
    *((7, 1, 9), (9, 5, 1), (3, 31, 2)),
]
LAMBDAS = [0.0, 0.003, 0.37, 0.5, 0.98, 1.0]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_masks_equal_the_definition(shape, law):
    plan = records(3 if np.prod(shape) > 9999 else 6, shape, lam=0.5, **LAWS[law])
    plan["count"] = np.rint(np.prod(shape) * np.resize(LAMBDAS[2:] + LAMBDAS[:2], len(plan)))
    for mask, p in zip(masks(plan), plan, strict=True):
        np.testing.assert_array_equal(mask, field_mask(p))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(1, 1, 301), (1, 45, 64), (1, 224, 224), (6, 10, 15)], ids=str)
def test_the_order_of_all_pixels_is_that_of_the_definition(shape, law):
    """A ramp over all of them tells the rank of each."""
    half = int(np.prod(shape)) // 2
    plan = records(2, shape, lam=half / np.prod(shape), soft=half, **LAWS[law])
    for weights, p in zip(ramped(plan), plan, strict=True):
        assert_follows_field(weights, p, tolerance=4e-6)


@pytest.mark.parametrize("shape", [(9, 5, 1), (200, 31, 1), (40, 151, 1)], ids=str)
def test_equal_values_are_taken_in_the_order_of_the_pixels(shape):
    """This law has waves along one axis only, so that each value occurs on a whole plane."""
    pixels = int(np.prod(shape))
    counts = [0, 1, shape[0] - 1, shape[0], shape[0] + 1, pixels // 3, pixels // 2, pixels - 1]
    plan = records(len(counts), shape, legacy=True)
    plan["count"] = counts
    for mask, p in zip(masks(plan), plan, strict=True):
        np.testing.assert_array_equal(mask, field_mask(p))


def test_a_sample_that_says_little_of_the_threshold():
    """Every 1024th of 512 x 1024 pixels lies in one column, along which little changes."""
    plan = records(3, (1, 512, 1024), lam=[0.2, 0.5, 0.9], decay=3.0)
    for mask, p in zip(masks(plan), plan, strict=True):
        assert_follows_field(mask, p)


def test_fields_differ_in_every_word_of_their_seed():
    seeds = [(0, 0), (1, 0), (0, 1), (2**32 - 1, 0), (0, 2**32 - 1)]
    drawn = np.array([normals(seed, 100) for seed in seeds])
    assert len(np.unique(drawn)) == drawn.size
    plan = records(len(seeds), (1, 16, 16))
    plan["field_seed"] = seeds
    assert len(np.unique(masks(plan).reshape(len(seeds), -1), axis=0)) == len(seeds)


@pytest.mark.parametrize("change", [{"seed": 1}, {"step": 1}, {"rank": 1}, {"seed": 2**32}])
def test_every_sample_has_a_field_of_its_own(change):
    key = {"seed": 0, "step": 0, "rank": 0}
    a = msda.draw(msda.FMix(), 64, 16, 16, **key)["field_seed"]
    b = msda.draw(msda.FMix(), 64, 16, 16, **{**key, **change})["field_seed"]
    assert len(np.unique(np.concatenate([a, b]), axis=0)) == 128


@pytest.mark.parametrize("settings", [{}, {"law": "legacy"}, {"modes": 2}, {"rounding": "coin"}])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (13, 7), (31, 53), (100, 101)], ids=str)
def test_exactly_the_counted_pixels_stay_own(size, settings):
    lam = np.concatenate([[0, 1, 1e-30, 1 - 2**-24], np.random.default_rng(0).random(40)])
    plan = msda.draw(msda.FMix(**settings), len(lam), *size, seed=1, step=0, lam=lam)
    own = msda.mask(plan, *size)
    assert set(np.unique(own)) <= {0.0, 1.0}
    np.testing.assert_array_equal(own.sum((1, 2)), plan["count"])
    pixels = size[0] * size[1]
    np.testing.assert_array_equal(plan["weight"], (plan["count"] / pixels).astype(np.float32))
    assert (np.abs(plan["count"] - plan["lam"].astype(float) * pixels) <= 1).all()
    assert plan["count"][:2].tolist() == [0, pixels]


@pytest.mark.parametrize("law", ["paper", "legacy"])
def test_masks_of_one_field_are_nested(law):
    lam = np.linspace(0, 1, 60)
    plan = msda.draw(msda.FMix(law=law, scope="batch"), 60, 40, 31, seed=2, step=0, lam=lam)
    assert (plan["field_seed"] == plan["field_seed"][0]).all()
    own = msda.mask(plan, 40, 31)
    assert (np.diff(own, axis=0) >= 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 23), (64, 80)], ids=str)
@pytest.mark.parametrize("max_soft", [0.02, 0.3, 0.5])
def test_ramps_keep_the_count(size, max_soft):
    lam = np.concatenate([[0, 1, 0.5, 1e-4, 0.999], np.random.default_rng(1).random(15)])
    policy = msda.FMix(max_soft=max_soft, rounding="stochastic")
    plan = msda.draw(policy, len(lam), *size, seed=3, step=0, lam=lam)
    pixels, own = size[0] * size[1], msda.mask(plan, *size)
    for weights, p in zip(own, plan, strict=True):
        count, soft, lam = int(p["count"]), int(p["soft"]), float(p["lam"])
        assert soft <= pixels * min(max_soft, lam, 1 - lam) < soft + 2  # 2: by a rounded count
        np.testing.assert_allclose(weights.sum(dtype=np.float64), count, rtol=1e-6)
        values = np.sort(weights, None)[::-1]
        assert (values[: count - soft] == 1).all() and (values[count + soft :] == 0).all()
        np.testing.assert_allclose(
            values[count - soft : count + soft], np.linspace(1, 0, 2 * soft), atol=1e-7
        )
        assert_follows_field(weights, p)


def test_ramped_and_plain_masks_in_one_batch():
    policy = msda.Choice([msda.FMix(), msda.FMix(max_soft=0.4), msda.CutMix()])
    plan = msda.draw(policy, 40, 20, 30, seed=4, step=0)
    alone = [msda.mask(plan[i : i + 1], 20, 30)[0] for i in range(40)]
    np.testing.assert_array_equal(msda.mask(plan, 20, 30), alone)


def counts(rounding, lam, draws=100_000, size=(3, 7)):
    policy = msda.FMix(rounding=rounding)
    return msda.draw(policy, draws, *size, seed=5, step=0, lam=lam)["count"]


@pytest.mark.parametrize("lam", [0.01, 0.3, 0.5, 0.9])
def test_stochastic_rounding_keeps_lambda_on_average(lam):
    own = counts("stochastic", lam)
    exact = 21 * float(np.float32(lam))
    assert set(own.tolist()) == {int(exact), int(exact) + 1}
    assert abs(own.mean() - exact) < 5 * own.std() / len(own) ** 0.5


@pytest.mark.parametrize("lam", [0.01, 0.3, 0.5, 0.9])
def test_a_coin_rounds_up_as_often_as_down(lam):
    own = counts("coin", lam)
    up = own - int(21 * lam)
    assert set(up.tolist()) == {0, 1}
    assert abs(up.mean() - 0.5) < 2.5 / len(own) ** 0.5


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "coin"])
def test_whole_numbers_are_not_rounded(rounding):
    for lam, want in ((0.0, 0), (0.25, 6), (0.5, 12), (1.0, 24)):
        assert (counts(rounding, lam, 1000, (4, 6)) == want).all()


def test_the_nearest_number_a_half_to_even():
    for lam, want in ((1 / 16, 0), (3 / 16, 2), (5 / 16, 2), (7 / 16, 4), (0.3, 2), (0.32, 3)):
        assert (counts("nearest", lam, 10, (2, 4)) == want).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_reformulated_lambda_and_labels(alpha, draws=100_000):
    """Lambda is Beta(alpha + 1, alpha), and the label is the own one whatever lambda is."""
    policy = msda.FMix(alpha=alpha, reformulate=True)
    plan = msda.draw(policy, draws, 8, 8, seed=6, step=0)
    assert (plan["weight"] == 1).all() and (plan["partner_weight"] == 0).all()
    rest = 1 - plan["lam"].astype(np.float64)
    moments = alpha / (2 * alpha + 1), alpha / (2 * (2 * alpha + 1))
    for power, moment in enumerate(moments, 1):
        values = rest**power
        assert abs(values.mean() - moment) < 5 * values.std() / draws**0.5
    law = lambda x: special.betainc(alpha + 1, alpha, x)  # noqa: E731
    if alpha >= 1:  # below, many are the same float
        assert stats.kstest(plan["lam"].astype(np.float64), law).pvalue > 1e-6
    np.testing.assert_array_equal(msda.mask(plan[:500], 8, 8).sum((1, 2)), plan["count"][:500])


@pytest.mark.parametrize("n, modes, share", [
    (224, 4, 0.0075), (224, 8, 0.0021), (224, 16, 0.00057), (224, 32, 0.00015),
    (32, 4, 0.0084), (32, 8, 0.0025),
])  # fmt: skip
def test_how_little_the_high_frequencies_matter(n, modes, share):
    """Of the pixels of a mask so many change where only -modes .. modes are kept on each axis."""
    plan = records(60 if n == 224 else 1500, (1, n, n))
    cut = plan.copy()
    cut["modes"] = modes
    changed = (masks(plan) != masks(cut)).mean((1, 2, 3))
    assert abs(changed.mean() - share) < 5 * changed.std() / len(plan) ** 0.5


def test_all_modes_are_no_modes():
    for shape in ((1, 9, 16), (3, 5, 8)):
        plan = records(4, shape)
        cut = plan.copy()
        cut["modes"] = 8
        np.testing.assert_array_equal(masks(plan), masks(cut))


@pytest.mark.parametrize("law", ["paper", "legacy"])
def test_the_partner_never_enters_where_pixels_stay_own(law):
    images = np.stack([np.full((20, 30, 3), 7.0), np.full((20, 30, 3), np.nan)]).astype(np.float32)
    plan = msda.draw(msda.FMix(law=law, partner="flip"), 2, 20, 30, seed=7, step=0)
    own = msda.mask(plan, 20, 30).astype(bool)
    mixed = msda.blend(images, plan)
    assert (mixed[0][own[0]] == 7).all() and np.isnan(mixed[0][~own[0]]).all()
    assert (mixed[1][~own[1]] == 7).all() and np.isnan(mixed[1][own[1]]).all()


@pytest.mark.parametrize("field, value", [
    ("depth", 2), ("decay", np.nan), ("decay", 1e30), ("decay", -1), ("count", -1), ("count", 31),
    ("soft", -1), ("soft", 20),
])  # fmt: skip
def test_records_that_fit_no_image_are_refused(field, value):
    plan = msda.draw(msda.FMix(), 3, 5, 6, seed=8, step=0, lam=0.5)
    plan[field][1] = value
    with pytest.raises(ValueError, match=rf"plan\[1\]: .*{field}.*expected"):
        msda.blend(np.zeros((3, 5, 6, 3), np.uint8), plan)


def test_a_ramp_below_the_first_pixel_is_refused():
    plan = msda.draw(msda.FMix(), 3, 5, 6, seed=8, step=0, lam=0.5)
    plan["count"][1], plan["soft"][1] = 3, 4
    with pytest.raises(ValueError, match=r"plan\[1\]: count, soft: expected .*, got 3, 4"):
        msda.blend(np.zeros((3, 5, 6, 3), np.uint8), plan)


def test_more_pixels_than_a_count_can_hold_are_refused():
    with pytest.raises(ValueError, match=r"height, width: expected .*2\*\*31.* got 65536 x 65536"):
        msda.draw(msda.FMix(), 1, 2**16, 2**16, seed=0, step=0)
    assert msda.draw(msda.CutMix(), 1, 2**16, 2**16, seed=0, step=0)["width"] == 2**16


def test_any_memory_between_the_images(law="paper"):
    """Blends of one batch after another of other sizes share what the thread keeps."""
    sizes = [(40, 41), (3, 3), (64, 10), (1, 1)]
    plans = [msda.draw(msda.FMix(law=law), 5, *size, seed=9, step=0) for size in sizes]
    first = [msda.mask(plan, *size) for plan, size in zip(plans, sizes, strict=True)]
    for k in itertools.islice(itertools.cycle((3, 0, 2, 1)), 12):
        np.testing.assert_array_equal(msda.mask(plans[k], *sizes[k]), first[k])


def test_a_fork_in_the_midst_of_new_tables_can_make_masks():
    """Another thread holds the lock at almost every fork. A child that waits for it is killed."""
    sizes = [(1, 300, 300 + n) for n in range(20)]  # more than are kept
    plans = [records(1, size, lam=0.5) for size in sizes]
    stop = threading.Event()

    def build():
        while not stop.is_set():
            for plan in plans:
                masks(plan)

    builder = threading.Thread(target=build)
    builder.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # seconds, many times what it takes
                masks(records(1, (1, 9, 9), lam=0.5))
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        builder.join()
