"""The theory that the self-check compares with gives the published numbers."""

import itertools
import math
import re

import numpy as np
import pytest

from dali_msda import CutMix, Cutout, FMix, GMix, HMix, ResizeMix
from dali_msda.selfcheck import boxes as checks
from dali_msda.selfcheck import command as command
from dali_msda.selfcheck import laws as laws
from dali_msda.selfcheck import rows as rows
from tests.reference import mixing as reference


def all_masks(policy, height, width, lam=0.5):
    return np.concatenate([*checks.law(policy, height, width, lam)])


# Per axis at lambda = 0.5, times the number of positions.
COVERAGE = {
    ("clip", 4): "2 1 0 0  1 2 1 0  0 1 2 1  0 0 1 1",
    ("inside", 4): "1 1 1 0  1 2 2 1  1 2 2 1  0 1 1 1",
    ("wrap", 4): "3 2 2 2  2 3 2 2  2 2 3 2  2 2 2 3",
    ("clip", 8): """33210000 34321000 23432100 12343210
                    01234321 00123432 00012332 00001222""",
    ("inside", 8): """11111100 12222210 12333321 12333321
                      12333321 12333321 01222221 00111111""",
}


@pytest.mark.parametrize("box, n", COVERAGE)
def test_coverage_is_the_printed_one(box, n):
    axis = np.array([int(digit) for digit in re.sub(r"\s", "", COVERAGE[box, n])]).reshape(n, n)
    positions = {"clip": n, "wrap": n, "inside": 2 if n == 4 else 3}[box]
    masks = all_masks(CutMix(box=box), n, n).reshape(-1, n * n)
    np.testing.assert_allclose(
        masks.T @ masks / len(masks), np.kron(axis, axis) / positions**2, atol=1e-15
    )


@pytest.mark.parametrize("box", ["clip", "inside", "wrap"])
@pytest.mark.parametrize("height, width, lam", [(5, 9, 0.3), (16, 7, 0.85), (1, 12, 0.6)])
def test_coverage_is_that_of_the_reference(box, height, width, lam):
    masks = all_masks(CutMix(box=box), height, width, lam).reshape(-1, height * width)
    axes = reference.coverage(height, lam, box), reference.coverage(width, lam, box)
    np.testing.assert_allclose(masks.T @ masks / len(masks), np.kron(*axes), atol=1e-12)


SMALL = {  # n = 4, lambda = 0.5, computed from the definitions by an independent program
    HMix(): (0.3514739229, 0.3672108844, 0.3116213152, 0.2838775510, 0.2189342404),
    HMix(mode="nominal", box="inside"): (
        17 / 81,
        0.5061728395,
        0.2345679012,
        0.3580246914,
        13 / 81,
    ),
    GMix(mode="paper"): (0.2285535303, 0.4090700562, 0.2505087849, 0.3578316930, 0.0743859007),
    GMix(): (0.1406256533, 0.2388985992, 0.1403343767, 0.1663003626, 0.0071864903),
}


@pytest.mark.parametrize("policy", SMALL, ids=["hmix", "hmix nominal", "gmix paper", "gmix code"])
def test_small_exact_values(policy):
    masks = all_masks(policy, 4, 4)
    pairs = [
        ((0, 0), (0, 0)),
        ((1, 1), (1, 1)),
        ((0, 0), (0, 1)),
        ((1, 1), (2, 2)),
        ((0, 0), (3, 3)),
    ]
    found = [(masks[(..., *j)] * masks[(..., *k)]).mean() for j, k in pairs]
    np.testing.assert_allclose(found, SMALL[policy], atol=6e-11)


# Figure 4 of arXiv:2208.09913, recomputed by that program: n = 64, lambda = 0.5, by displacement.
FIGURE_4 = {
    "mixup": ".25000 .25000 .25000 .25000 .25000 .25000 .25000 .25000 .25000",
    "cutmix, clip": ".32414 .32025 .30780 .28912 .24241 .10675 .25787 .18129 .03516",
    "cutmix, inside": ".49438 .49107 .48047 .46456 .42480 .28564 .43654 .36502 .16504",
    "cutmix, wrap": ".49438 .48340 .45044 .40649 .31860 .28564 .33423 .20532 .16504",
    "stochastic": ".28707 .28513 .27890 .26956 .24621 .17838 .25394 .21564 .14258",
    "hmix r=.5, paper": ".33333 .33323 .33221 .32900 .31425 .22222 .32814 .31042 .22222",
    "hmix r=.5, code": ".31037 .30941 .30602 .30017 .28244 .23397 .29255 .26795 .23398",
    "hmix r=.75, paper": ".39648 .39583 .39300 .38687 .36406 .24414 .38050 .34533 .18945",
    "hmix r=.75, code": ".33894 .33771 .33345 .32629 .30533 .23936 .31596 .28387 .21931",
    "gmix, paper": ".30032 .30186 .30498 .30553 .29431 .23162 .31083 .28842 .17864",
    "gmix, code": ".17679 .17776 .17892 .17630 .15793 .09202 .17580 .14108 .04790",
}


@pytest.mark.parametrize("name", FIGURE_4)
def test_figure_4(name):
    policy = {**checks.FIGURE, "stochastic": checks.STOCHASTIC}[name]
    sums = rows.displaced(checks.DISPLACEMENTS)
    mean, _, _ = rows.moments(checks.law(policy, 64, 64, 0.5), sums)
    np.testing.assert_allclose(mean, np.array(FIGURE_4[name].split(), float), atol=6e-6)


def test_the_figure_shows_the_same_numbers():
    policy = HMix()
    grid = command._theory(policy, 64, 0.5)
    expected = np.array(FIGURE_4["hmix r=.5, code"].split(), float)
    found = [grid[command.REACH + y, command.REACH + x] for y, x in checks.DISPLACEMENTS]
    np.testing.assert_allclose(found, expected, atol=6e-6)
    np.testing.assert_allclose(grid, grid[::-1, ::-1], atol=1e-12)


def test_exact_widths_give_the_mean():
    for policy in (GMix(mode="exact"), HMix(), HMix(box="wrap")):
        means = all_masks(policy, 6, 9, 0.3).mean((1, 2))
        np.testing.assert_allclose(means, 0.7, atol=1e-12)


def test_means_of_weights():
    assert laws.clipped_share(32) == pytest.approx(0.29925, abs=5e-6)
    assert laws.clipped_share(224) == pytest.approx(0.31778, abs=5e-6)
    assert laws.clipped_share(100_000) == pytest.approx(77 / 240, abs=2e-5)
    assert all_masks(CutMix(), 32, 32).mean() == pytest.approx(0.3241, abs=5e-5)
    assert all_masks(GMix(), 4, 4).mean() == pytest.approx(0.3122901710, abs=1e-9)
    assert laws.resized_area(10**6, 0.1, 0.8) == pytest.approx(0.73 / 3, abs=2e-6)
    middle = [int(224 * tau) ** 2 / 224**2 for tau in np.linspace(0.1, 0.8, 700_001)]
    assert laws.resized_area(224, 0.1, 0.8) == pytest.approx(np.mean(middle), abs=1e-5)
    assert laws.beta_moments(0.5, 0.5) == pytest.approx((1 / 2, 3 / 8, 5 / 16))


def test_eq_11_is_gmix_in_the_middle_of_a_large_image():
    policy, n, lam, middle = GMix(mode="paper"), 64, 0.98, 28
    masks = all_masks(policy, n, n, lam)
    for y, x in ((0, 0), (0, 3), (5, 4)):
        found = (masks[:, middle, middle] * masks[:, middle + y, middle + x]).mean()
        assert found == pytest.approx(laws.eq_11(lam, n, y, x), rel=1e-7)


def test_resized_boxes_are_shifted_inside():
    expected = [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(laws.places(5, 3, "shift"), expected)
    assert len(all_masks(ResizeMix(), 5, 5)) == 25
    assert all_masks(Cutout(length=3), 5, 5).sum((1, 2)).max() == 4
    with pytest.raises(TypeError, match="policy: expected a method with masks to be counted"):
        next(laws.shares(FMix(), 4, 4, 0.5))


@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("height, width", [(1, 4), (4, 1), (2, 2)])
def test_patterns_of_the_smallest_fields(height, width, decay, draws=40_000):
    masks = laws.field_masks(np.random.default_rng(0), draws, height, width, decay).reshape(-1, 4)
    odd = masks[:, 0] == masks[:, 3 if height == width else 2]
    chance = laws.chance_of_odd_pattern(2 ** (-decay if height == width else -2 * decay))
    assert abs(odd.mean() - chance) < 5 * math.sqrt(chance * (1 - chance) / draws)
    assert laws.ratio_of_odd_pattern(laws.chance_of_odd_pattern(0.3)) == pytest.approx(0.3)


def test_numpys_masks_have_the_known_statistics():
    """From 20 000 masks of an independent program: 32 x 32, lambda = 0.5, decay 3."""
    masks = laws.field_masks(np.random.default_rng(1), 6000, 32, 32, 3.0)
    assert (masks.sum((1, 2)) == 512).all()
    changes = (masks != np.roll(masks, 1, 2)).sum(2).mean(1)
    error = changes.std() / math.sqrt(len(masks))
    assert abs(changes.mean() - 1.642) < 5 * math.hypot(error, 0.004)
    for (y, x), known in {(0, 1): 0.4743, (0, 8): 0.3171, (16, 16): 0.1123}.items():
        both = (masks * np.roll(masks, (-y, -x), (1, 2))).mean((1, 2))
        assert abs(both.mean() - known) < 5 * math.hypot(both.std() / math.sqrt(6000), 5e-4)
        assert laws.both_own(32, 32, 3.0)[y, x] == pytest.approx(known, abs=0.004)


def test_legacy_masks_have_one_run_a_row():
    masks = laws.field_masks(np.random.default_rng(2), 300, 9, 14, 3.0, "legacy", 0.4)
    assert (masks.sum((1, 2)) == round(0.4 * 9 * 14)).all()
    assert (masks > np.roll(masks, 1, 2)).sum(2).max() == 1


def test_variance_is_that_of_all_batches():
    """Every batch of two pairs with two lambdas each, out of three pairs and three lambdas."""
    values = np.array([[1.0, 4.0, 2.0], [0.5, 0.0, 3.0], [7.0, 2.0, 1.0]])
    chance = np.array([0.5, 0.2, 0.3])
    for share in ("pair", "batch"):
        mean = square = total = 0.0
        for pairs in itertools.product(range(3), repeat=2):
            for lams in itertools.product(range(3), repeat=4 if share == "pair" else 2):
                weight = chance[list(lams)].prod() / 9
                first, second = lams[:2], lams[-2:]
                found = (values[pairs[0], first] + values[pairs[1], second]).mean() / 2
                total, mean = total + weight, mean + weight * found
                square += weight * found**2
        assert total == pytest.approx(1)
        found = laws.variance_of_mean(values, chance, 2, 2, share)
        assert found == pytest.approx(square - mean**2, rel=1e-12)


def test_statistics_of_pairs():
    images = np.random.default_rng(4).random((3, 2, 5, 5))
    values, chance = laws.mixup_statistic(images)
    lam = np.linspace(0, 1, 20_001)[:, None, None]
    own, partner = images[1]
    exact = ((lam * own + (1 - lam) * partner) ** 2).mean((1, 2))
    assert values[1] @ chance == pytest.approx(exact.mean(), rel=1e-4)
    assert values[1] ** 2 @ chance == pytest.approx((exact**2).mean(), rel=1e-4)
    values, chance = laws.cutmix_statistic(images)
    assert chance.sum() == pytest.approx(1)
    middle = chance @ [
        np.mean(all_masks(CutMix(), 5, 5, 1 - (k / 5) ** 2 - 1e-9)) for k in range(5)
    ]
    assert middle == pytest.approx(laws.clipped_share(5))
    boxes = all_masks(CutMix(), 5, 5, 1 - 0.81).reshape(25, 5, 5)  # sides of four pixels
    shown = np.where(boxes > 0, images[2, 1], images[2, 0])
    np.testing.assert_allclose(values[50:75, 4], (shown**2).mean((1, 2)))
    np.testing.assert_allclose(values[:25, 1], (images[0, 0] ** 2).mean())
