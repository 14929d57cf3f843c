"""Where the boxes of CutMix fall: the exact tables for n = 4 and 8, and E[w].

A clipped box covers the border less, and its first row or column more than its last: it is so in
every published implementation, and expected here.
"""

import numpy as np
import pytest

import dali_msda as msda
from tests.reference import mixing as reference

# P(pixels j and k of one axis are both in the box) at lambda = 0.5, times the number of positions.
CLIP_8 = """
    3 3 2 1 0 0 0 0
    3 4 3 2 1 0 0 0
    2 3 4 3 2 1 0 0
    1 2 3 4 3 2 1 0
    0 1 2 3 4 3 2 1
    0 0 1 2 3 4 3 2
    0 0 0 1 2 3 3 2
    0 0 0 0 1 2 2 2"""
INSIDE_8 = """
    1 1 1 1 1 1 0 0
    1 2 2 2 2 2 1 0
    1 2 3 3 3 3 2 1
    1 2 3 3 3 3 2 1
    1 2 3 3 3 3 2 1
    1 2 3 3 3 3 2 1
    0 1 2 2 2 2 2 1
    0 0 1 1 1 1 1 1"""
CLIP_4 = "2 1 0 0  1 2 1 0  0 1 2 1  0 0 1 1"
INSIDE_4 = "1 1 1 0  1 2 2 1  1 2 2 1  0 1 1 1"
# A box of side c that wraps: c - d of n positions cover both of two pixels d apart on the shorter
# way round, plus those that cover them the other way.
WRAP_4 = "3 2 2 2  2 3 2 2  2 2 3 2  2 2 2 3"
WRAP_8 = " ".join(" ".join("65444445"[(k - j) % 8] for k in range(8)) for j in range(8))
TABLES = {
    ("clip", 4): (CLIP_4, 4),
    ("clip", 8): (CLIP_8, 8),
    ("inside", 4): (INSIDE_4, 2),
    ("inside", 8): (INSIDE_8, 3),
    ("wrap", 4): (WRAP_4, 4),
    ("wrap", 8): (WRAP_8, 8),
}


def table(box, n):
    text, positions = TABLES[box, n]
    return np.array(text.split(), float).reshape(n, n) / positions


@pytest.mark.parametrize("box, n", TABLES)
def test_the_oracle_gives_the_printed_tables(box, n):
    np.testing.assert_allclose(reference.coverage(n, 0.5, box), table(box, n), atol=1e-15)


@pytest.mark.parametrize("box, n", TABLES)
def test_pairs_of_pixels_are_covered_as_often_as_they_should_be(box, n, draws=40_000):
    plan = msda.draw(msda.CutMix(box=box), draws, n, n, seed=1, step=0, lam=0.5)
    covered = (1 - msda.mask(plan, n, n)).reshape(draws, n * n)
    share = covered.T @ covered / draws
    axis = table(box, n)
    exact = np.kron(axis, axis)
    deviation = np.sqrt(exact * (1 - exact) / draws)
    assert (np.abs(share - exact) <= 5 * deviation + 1e-9).all()


@pytest.mark.parametrize("box", ["clip", "inside", "wrap"])
@pytest.mark.parametrize("height, width, lam", [(5, 9, 0.3), (16, 7, 0.85), (1, 12, 0.6)])
def test_coverage_of_other_shapes(box, height, width, lam, draws=40_000):
    plan = msda.draw(msda.CutMix(box=box), draws, height, width, seed=2, step=0, lam=lam)
    share = (1 - msda.mask(plan, height, width)).mean(0, dtype=np.float64)
    lam = plan["lam"][0]
    exact = np.outer(
        np.diag(reference.coverage(height, lam, box)), np.diag(reference.coverage(width, lam, box))
    )
    deviation = np.sqrt(exact * (1 - exact) / draws)
    assert (np.abs(share - exact) <= 5 * deviation + 1e-6).all()


def expected_partner_weight(n):
    """E[1 - w] of the clipped box for uniform lambda, exactly.

    The cut is k where ``(k / n)^2 <= 1 - lambda < ((k + 1) / n)^2``; a box of half side h keeps
    ``2 h - h^2 / n`` pixels of an axis on average.
    """
    cut = np.arange(n)
    half = cut // 2
    kept = (2 * half - half**2 / n) / n
    return float(np.sum((2 * cut + 1) / n**2 * kept**2))


def test_expected_label_weight_is_not_a_half():
    assert expected_partner_weight(32) == pytest.approx(0.29925, abs=5e-6)
    assert expected_partner_weight(224) == pytest.approx(0.31778, abs=5e-6)
    assert expected_partner_weight(100_000) == pytest.approx(77 / 240, abs=2e-5)


@pytest.mark.parametrize("n", [32, 224])
def test_mean_label_weight_of_a_run(n, draws=200_000):
    weight = msda.draw(msda.CutMix(), draws, n, n, seed=3, step=0)["partner_weight"]
    assert (
        abs(weight.mean(dtype=np.float64) - expected_partner_weight(n))
        < 5 * weight.std() / draws**0.5
    )


@pytest.mark.parametrize("box", ["inside", "wrap"])
def test_whole_boxes_keep_the_nominal_weight(box):
    plan = msda.draw(msda.CutMix(box=box), 2000, 224, 224, seed=4, step=0)
    # Each side is off by at most half a pixel.
    assert np.abs(plan["weight"] - plan["lam"]).max() <= (224 + 0.25) / 224**2


def test_minmax_sides_reach_both_ends_and_every_corner(n=10, draws=20_000):
    plan = msda.draw(msda.CutMix(minmax=(0.25, 0.55)), draws, n, n, seed=5, step=0)
    for low, high in (("y0", "y1"), ("x0", "x1")):
        side = plan[high] - plan[low]
        assert set(side.tolist()) == {2, 3, 4, 5}
        for s in (2, 5):  # the last valid corner too
            assert set(plan[low][side == s].tolist()) == set(range(n - s + 1))
    area = (plan["y1"] - plan["y0"]) * (plan["x1"] - plan["x0"])
    np.testing.assert_array_equal(plan["lam"], (1 - area / n**2).astype(np.float32))
