"""Puzzle Mix: transport, whole images against the definition, and what is refused."""

import itertools
import math
import re

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends.puzzle import cpu_puzzle
from tests.methods.puzzle_batches import USUAL, blended, grid, labels_of, noise, plan_of, solve
from tests.reference import cuts, puzzle

# -------------------------------------------------------------------------------------- transport


@pytest.mark.parametrize("side", range(2, 17))
def test_transport_is_the_released_iterations(side):
    rng = np.random.default_rng(side)
    moves = 0
    for peaked, move_cost in [(0.5, 0.8), (2, 0.8), (3, 0.05), (2, 0)]:
        images, maps = noise(rng, 4, side, side, peaked=peaked)
        maps[3] = rng.integers(0, 3, maps[3].shape)  # ties, and blocks of share 0
        maps[3, 0, 0] = 1
        plans = plan_of(4, side, side, partner="roll")
        cells, *_ = solve(plans, images, maps, blocks=side, move_cost=move_cost, eta=0.02)
        for plan, found in zip(plans, cells.reshape(4, -1, 3), strict=True):
            for sample, visible, sources in [
                (plan["own"], found[:, 0] > 0, found[:, 1]),
                (plan["partner"], found[:, 0] < 2, found[:, 2]),
            ]:
                shares = puzzle.shares(maps[sample], side)[0]
                expected = puzzle.released_transport(visible, shares, move_cost)
                empty = expected < 0
                assert (shares[empty & visible] == 0).all()
                expected[empty] = np.flatnonzero(empty)
                np.testing.assert_array_equal(sources[visible], expected[visible])
                here = np.flatnonzero(~visible)
                np.testing.assert_array_equal(sources[here], here)
                assert len(set(sources[visible])) == visible.sum()  # a block is shown once
                moves += (sources[visible] != np.flatnonzero(visible)).sum()
    assert moves > 0


@pytest.mark.parametrize("blocks, places", [(2, 8), (4, 8), (3, 15), (8, 16), (5, 5)])
def test_finer_parts_than_the_masks_may_move(blocks, places):
    rng = np.random.default_rng(places)
    images, maps = noise(rng, 3, 2 * places, places, peaked=2)
    plans = plan_of(3, 2 * places, places, partner="roll")
    how = dict(blocks=blocks, places=places, cell=1)
    cells, *_ = solve(plans, images, maps, **how, move_cost=0.05)
    still, *_ = solve(plans, images, maps, **how, transport=False)
    np.testing.assert_array_equal(
        still[..., 1:].reshape(3, -1, 2), [[[k, k] for k in range(places**2)]] * 3
    )
    np.testing.assert_array_equal(still[..., 0], cells[..., 0])
    assert (still != cells).any()
    for plan, found in zip(plans, cells, strict=True):
        problem = grid(plan, images, maps, **how)
        labels = labels_of(found, 3, blocks)
        np.testing.assert_array_equal(labels, cuts.descend(problem, cuts.best_move_by_flow))
        shares, visible = puzzle.shares(maps[plan["own"]], places)[0], found[..., 0].ravel() > 0
        expected = puzzle.released_transport(visible, shares, 0.05)
        np.testing.assert_array_equal(found[..., 1].ravel()[visible], expected[visible])


# --------------------------------------------------------------------------------------- saliency


def bad_maps(good):
    """Maps that say nothing, by what is wrong with them."""
    made = {name: good.copy() for name in ("zero", "nan", "inf", "negative", "minus inf")}
    made["zero"][:] = 0
    for name, value in [
        ("nan", np.nan),
        ("inf", np.inf),
        ("negative", -1e-30),
        ("minus inf", -np.inf),
    ]:
        made[name][3, 5] = value
    return made


def test_maps_that_say_nothing_are_taken_to_be_uniform():
    rng = np.random.default_rng(0)
    images, maps = noise(rng, 6, 16, 16)
    for index, bad in enumerate(bad_maps(maps[0]).values()):
        maps[index] = bad
    plans = plan_of(6, 16, 16, partner="roll")
    cells, weights, uniform = solve(plans, images, maps, blocks=4)
    assert uniform.tolist() == [1, 1, 1, 1, 1, 0]
    maps[:5] = 1
    expected = solve(plans, images, maps, blocks=4)
    np.testing.assert_array_equal(cells, expected[0])
    np.testing.assert_array_equal(weights, expected[1])
    assert not expected[2].any()


@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-120, 2.0**-30, 2.0**100])
def test_the_scale_of_saliency_does_not_matter(scale):
    rng = np.random.default_rng(1)
    images, maps = noise(rng, 4, 8, 8)
    maps = np.rint(maps * 16).astype(np.float32)
    maps[:, 0, 0] = -0.0
    plans = plan_of(4, 8, 8)
    expected = solve(plans, images, maps, blocks=8, cell=1)
    for got, want in zip(
        solve(plans, images, (maps * np.float64(scale)).astype(np.float32), blocks=8, cell=1),
        expected,
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


# ----------------------------------------------------------------------------------- whole images


def defined_cells(plan, images, maps, blocks, places, **how):
    """The cells of one output by the reference alone."""
    problem = grid(plan, images, maps, blocks, places, **how)
    weights = problem.levels - 1 - cuts.descend(problem, cuts.best_move_by_flow)
    ratio = places // blocks
    weights = np.kron(weights.reshape(blocks, blocks), np.ones((ratio, ratio), int)).ravel()
    sources = []
    for sample, visible in [
        (plan["own"], weights > 0),
        (plan["partner"], weights < problem.levels - 1),
    ]:
        shares = puzzle.shares(maps[sample], places)[0]
        moved = puzzle.released_transport(visible, shares, USUAL["move_cost"])
        sources.append(np.where(visible & (moved >= 0), moved, np.arange(places**2)))
    return np.stack([weights, *sources], 1).reshape(places, places, 3)


CASES = [  # height, width, channels, blocks, places, cell, levels, batch
    (32, 32, 3, 4, 8, 4, 3, 3),
    (16, 16, 1, 2, 2, 8, 2, 1),
    (24, 48, 3, 8, 8, 3, 3, 5),
    (20, 12, 1, 4, 4, 1, 4, 4),
    (112, 112, 3, 16, 16, 7, 3, 2),
    (45, 30, 4, 3, 15, 5, 4, 7),
]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_whole_images_are_as_defined(case, planar, dtype):
    height, width, channels, blocks, places, cell, levels, batch = case
    images, maps = noise(np.random.default_rng(case), batch, height, width, channels, peaked=2)
    normalised = {}
    if dtype == "uint8":
        images = (images * 255).astype(np.uint8)
    else:
        images = (images - 0.5) * 4
        scale, shift = np.full(channels, 0.25, np.float32), np.full(channels, 0.5, np.float32)
        normalised = dict(scale=scale, shift=shift)
    if planar:
        images = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 3, 1)), 1, 3)
    plans = plan_of(batch, height, width)
    how = dict(blocks=blocks, places=places, levels=levels, cell=cell)
    found = [
        solve(plans, images, maps, planar=planar, threads=threads, **how, **normalised)
        for threads in (1, 3)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    cells, weights, _ = found[0]
    outs = blended(images, plans, cells, levels, planar, "float32")
    for i, plan in enumerate(plans[:3]):
        if normalised:
            how |= dict(scale=0.25, shift=0.5)
        expected = defined_cells(plan, images, maps, **how)
        np.testing.assert_array_equal(cells[i], expected)
        assert weights[i] == np.float32(expected[..., 0].mean() / (levels - 1))
        pair = images[plan["own"]], images[plan["partner"]]
        mixed = puzzle.mixed(*pair, expected, levels)
        np.testing.assert_allclose(outs[i], mixed, rtol=3e-7, atol=1e-7 * np.abs(mixed).max())


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_outputs_are_those_of_any_blend(source, planar):
    """Normalised, rounded to bytes and to halves: moved images, mixed by FMix's soft mask."""
    images, maps = noise(np.random.default_rng(5), 3, 16, 24, peaked=2)
    images = (images * 255).astype(source)
    if planar:
        images = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 3, 1)), 1, 3)
    plans = plan_of(3, 16, 24, k=2, partner="roll")
    levels = 4
    cells, *_ = solve(plans, images, maps, blocks=8, cell=1, levels=levels, move_cost=0.05)
    normalised = dict(scale=np.float32([0.01, 0.02, 0.03]), shift=np.float32([-1, -2, -3]))
    wanted = [("float32", {}), *itertools.product(["float16", "bfloat16", "float32"], [normalised])]
    if source == "uint8":
        wanted.append(("uint8", {}))
    for dtype, how in wanted:
        outs = blended(images, plans, cells, levels, planar, dtype, **how)
        for i, k in np.ndindex(plans.shape):
            pair = images[plans[i, k]["own"]], images[plans[i, k]["partner"]]
            mixed = puzzle.mixed(*pair, cells[i, k], levels)
            if how:
                mixed = mixed * how["scale"] + how["shift"]
            assert_rounds_to(outs[i, k], mixed, dtype)


def assert_rounds_to(got, real, dtype):
    """Whether values are real numbers that were rounded to a type."""
    if dtype == "uint8":
        assert np.abs(got - real).max() <= 0.5 + 1e-4
        return
    if dtype == "bfloat16":
        got = (got.astype(np.uint32) << 16).view(np.float32)
    if dtype == "float16":
        got = got.view(np.float16)
    digits = {"bfloat16": 8, "float16": 11, "float32": 24}[dtype]
    noise = 2.0**-22 * np.abs(real).max()  # of float32, before the last rounding
    assert (np.abs(got - real) <= np.abs(real) * 2.0**-digits + noise).all()


def test_what_is_not_mixed_stays():
    """Padding, and what the policy leaves alone."""
    images, maps = noise(np.random.default_rng(2), 4, 8, 8)
    plans = msda.draw(msda.Mixup(partner="derangement"), 4, 8, 8, seed=0, step=0, distinct=2)
    cells, weights, _ = solve(plans, images, maps, blocks=4, cell=2)
    outs = blended(images, plans, cells, 3, False, "float32")
    np.testing.assert_array_equal(outs[2:], images[2:])
    assert weights[2:].tolist() == [1, 1] and (outs[:2] != images[:2]).any()


def test_a_source_that_is_not_shown_is_not_read():
    """Its NaN stays out."""
    images, maps = noise(np.random.default_rng(2), 2, 8, 8)
    maps[:] = 0
    maps[0, :, :4] = maps[1, :, 4:] = 1
    plans = plan_of(2, 8, 8, lam=0.5, partner="flip")
    cells, *_ = solve(plans, images, maps, blocks=2)
    assert cells[0, ..., 0].tolist() == [[2, 0], [2, 0]]
    images[0, :, 4:] = images[1, :, :4] = np.nan
    outs = blended(images, plans, cells, 3, False, "float32")
    np.testing.assert_array_equal(outs[0, :, :4], images[0, :, :4])
    np.testing.assert_array_equal(outs[0, :, 4:], images[1, :, 4:])


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "how, text",
    [
        (dict(blocks=1), "blocks: expected 2 to 16 along each side, got 1"),
        (dict(blocks=17), "blocks: expected 2 to 16"),
        (dict(blocks=5), "images: expected sides that are multiples of 5, .* got 16 x 32"),
        (dict(blocks=4, places=6), "places: expected a multiple of the 4 blocks, up to 16, got 6"),
        (
            dict(blocks=2, places=32),
            "places: expected a multiple of the 2 blocks, up to 16, got 32",
        ),
        (dict(blocks=2, cell=3), "cell: expected a size that divides the blocks' 8 x 16 pixels"),
        (dict(blocks=2, cell=0), "cell: expected 1 to 64 pixels, got 0"),
        (dict(blocks=2, cell=65), "cell: expected 1 to 64 pixels, got 65"),
        (dict(levels=5), "levels: expected 2 to 4, got 5"),
        (dict(levels=1), "levels: expected 2 to 4, got 1"),
        (dict(beta=-0.1), r"beta: expected a number in \[0, 8\], got -0.1"),
        (dict(beta=math.nan), "beta: expected .* got nan"),
        (dict(gamma=1.1), r"gamma: expected a number in \[0, 1\], got 1.1"),
        (dict(eta=1.5), r"eta: expected a number in \[0, 1\], got 1.5"),
        (dict(move_cost=math.inf), r"move_cost: expected a number in \[0, 16\], got inf"),
    ],
)
def test_what_is_refused(how, text):
    images, maps = noise(np.random.default_rng(0), 2, 16, 32)
    how = USUAL | dict(blocks=2, cell=4, transport=True) | how
    how.setdefault("places", how["blocks"])
    given = cpu_puzzle.arguments(plan_of(2, 16, 32), images, maps, **how)
    assert re.match(text, cpu_puzzle.check(given))


def test_sizes_that_an_int32_cannot_hold_are_refused():
    """Their products are taken in 64 bits."""
    given = cpu_puzzle.arguments(
        *(plan_of(2, 4, 4), *noise(np.random.default_rng(0), 2, 4, 4)),
        **USUAL | dict(blocks=2, places=2, cell=4, transport=True),
    )
    for height, width, channels in [
        (1 << 16, 1 << 15, 1),
        (1 << 30, 1 << 30, 64),
        (1 << 20, 1, 2048),
    ]:
        given.height, given.width, given.channels = height, width, channels
        assert cpu_puzzle.check(given).startswith("images: expected at least one pixel and channel")
    given.height, given.width, given.channels = 1 << 20, 1 << 10, 1
    assert cpu_puzzle.check(given) is None
