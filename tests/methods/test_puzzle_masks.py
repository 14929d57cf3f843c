"""The masks of Puzzle Mix cost least: against enumeration, maximum flows and the definition."""

import math

import numpy as np
import pytest

from tests.methods.puzzle_batches import grid, labels_of, noise, plan_of, solve
from tests.reference import cuts, puzzle


def small_problem(rng, side, levels):
    """Images of one pixel a block: weak to dominant edges, ties, zeros, all kinds of lambdas."""
    few = rng.integers(2)  # of few values: ties
    images = rng.random((2, side, side, 2), np.float32)
    maps = (rng.random((2, side, side)) ** rng.integers(1, 9)).astype(np.float32)
    if few:
        images = rng.integers(0, 2, images.shape).astype(np.float32)
        maps = rng.integers(0, 3, maps.shape).astype(np.float32)
    settings = dict(
        beta=rng.choice([0, 0.01, 0.3, 1.2, 8]),
        gamma=rng.choice([0, 0.5, 1]),
        eta=rng.choice([0, 1e-6, 0.2, 1]),
        levels=levels,
    )
    lam = rng.choice([0, 1e-5, 0.2, 0.5, rng.random(), 1])
    return images, maps, lam, settings


@pytest.mark.parametrize(
    "side, levels, count",
    [(2, 2, 200), (2, 3, 200), (2, 4, 200), (3, 2, 300), (3, 3, 250), (3, 4, 50)],
)
def test_masks_are_the_best_of_all(side, levels, count):
    rng = np.random.default_rng([side, levels])
    moved = 0
    for _ in range(count):
        images, maps, lam, settings = small_problem(rng, side, levels)
        plans = plan_of(2, side, side, lam=lam, partner="flip")
        cells, weights, _ = solve(plans, images, maps, blocks=side, **settings)
        for plan, found, weight in zip(plans, cells, weights, strict=True):
            problem = grid(plan, images, maps, side, **settings)
            labels = labels_of(found, levels, side)
            np.testing.assert_array_equal(labels, cuts.descend(problem, cuts.best_move_of_all))
            assert cuts.cost(problem, labels) == cuts.least_cost(problem)
            assert weight == np.float32(np.mean(1 - labels / (levels - 1)))
            moved += len(set(labels)) > 1
    assert moved > count / 4


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("side, count", [(4, 6), (5, 3), (8, 3), (11, 1), (16, 1)])
def test_no_other_mask_costs_less(side, count, levels):
    rng = np.random.default_rng([side, levels])
    for k in range(count):
        images, maps = noise(rng, 2, side, side, peaked=1 + 2 * k)
        plans = plan_of(2, side, side)
        settings = dict(levels=levels, beta=[1.2, 0.3, 4][k % 3])
        cells, *_ = solve(plans, images, maps, blocks=side, **settings)
        problem = grid(plans[0], images, maps, side, **settings)
        labels = labels_of(cells[0], levels, side)
        assert cuts.cost(problem, labels) == cuts.least_cost_by_flow(problem)
        np.testing.assert_array_equal(labels, cuts.descend(problem, cuts.best_move_by_flow))


def test_the_reference_finds_least_costs_both_ways():
    rng = np.random.default_rng(1)
    for levels in (2, 3, 4):
        images, maps, lam, settings = small_problem(rng, 3, levels)
        plan = plan_of(2, 3, 3, lam=lam)[0]
        problem = grid(plan, images, maps, 3, **settings)
        assert cuts.least_cost(problem) == cuts.least_cost_by_flow(problem)


@pytest.mark.parametrize("side", [2, 4, 8, 16])
def test_masks_of_a_pair_are_nested(side):
    """Over K lambdas in falling order no cell turns back to own: 100 000 cells in all."""
    rng = np.random.default_rng(side)
    batch, k = math.ceil(25_000 / (side * side * 6)), 6
    images, maps = noise(rng, batch, side, side, peaked=2)
    for levels in (3, 4):
        plans = plan_of(batch, side, side, k=k, partner="derangement")
        assert (np.diff(plans["lam"], axis=1) <= 0).all()
        cells, weights, _ = solve(plans, images, maps, blocks=side, levels=levels)
        steps = np.diff(cells[..., 0].astype(int), axis=1)
        assert (steps <= 0).all() and (steps < 0).any()
        assert (np.diff(weights, axis=1) <= 0).all()
        alone, one, _ = solve(plans[:, 2].copy(), images, maps, blocks=side, levels=levels)
        np.testing.assert_array_equal(cells[:, 2], alone)
        np.testing.assert_array_equal(weights[:, 2], one)


@pytest.mark.parametrize(
    "size, blocks, cell", [((24, 24), 4, 3), ((16, 64), 8, 4), ((28, 14), 2, 7)]
)
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_integer_costs_are_those_of_the_paper(size, blocks, cell, levels):
    """All but a constant of each cell, to what rounding leaves."""
    rng = np.random.default_rng(blocks)
    images, maps = noise(rng, 2, *size)
    plan = plan_of(2, *size)[0]
    settings = dict(beta=1.5, gamma=0.8, eta=0.3, levels=levels)
    made = grid(plan, images, maps, blocks, cell=cell, **settings)
    pair = [plan["own"], plan["partner"]]
    unaries, borders = puzzle.costs(
        *(images[i].astype(float) for i in pair),
        *(maps[i].astype(float) for i in pair),
        float(plan["lam"]),
        blocks=blocks,
        cell=cell,
        **settings,
    )
    unit, labels = (levels - 1) ** 2 * puzzle.COST_ONE, np.arange(levels)
    mine = np.outer(made.slopes, labels) - made.between * ((labels > 0) & (labels < levels - 1))
    np.testing.assert_allclose(
        mine / unit, unaries - unaries[:, :1], atol=1e-6 * (1 + settings["beta"])
    )
    for (p, q, weight), (near, far, real) in zip(made.borders, borders, strict=True):
        assert (p, q) == (near, far)
        # w (z_p - z_q)^2 with z in steps of 1 / d
        assert weight / puzzle.COST_ONE == pytest.approx(real, abs=1e-6)
