"""The checks of Puzzle Mix: masks of least cost, nested in lambda, and what follows from them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np

from dali_msda import puzzle
from dali_msda.policy import MultiMix, Policy, PuzzleMix
from dali_msda.selfcheck import rows
from dali_msda.selfcheck.rows import Row, Run

GRIDS = [(2, 2), (2, 3), (2, 4), (3, 2), (3, 3)]
"""Blocks along each side, and levels: few enough to try all masks."""

BLOCK, CELL, K = 4, 2, 5
FIXED = 1e-5
"""How far costs may be off, because the kernels have saliency and contrast in steps of 2^-24."""


def optimality(run: Run) -> Iterator[Row]:
    """No mask of small grids costs less than the one that is found."""
    for blocks, levels in GRIDS:
        for what, beta, peak in (("usual", 1.2, 1.0), ("peaked", 1.2, 3.0), ("rigid", 8.0, 1.0)):
            check = f"puzzle mix, {what}: least cost, {blocks}x{blocks}, {levels} levels"
            how = dict(cell=CELL, levels=levels, beta=beta, transport=False)
            policy = PuzzleMix(blocks=(blocks,), **how)
            images, maps, plan = _batch(run, check, policy, BLOCK * blocks, run.draws(400), peak)
            found = puzzle.solve(images, maps, plan, settings=policy)
            steps = levels - 1 - found.cells[..., 0].reshape(len(plan), -1).astype(int)
            own = np.ravel_multi_index(steps.T, [levels] * blocks**2)
            factors = _factors(images, maps, plan, blocks, policy)
            costs = factors @ _terms(blocks, levels).T
            yield rows.equal(check, costs.min(1), np.take_along_axis(costs, own[:, None], 1)[:, 0],
                             tolerance=FIXED)  # fmt: skip


def weights(run: Run) -> Iterator[Row]:
    """Masks are nested over lambda, label weights are their means, and pixels follow them."""
    for blocks in (4, 8, 16):
        check, size = f"puzzle mix, {blocks}x{blocks}", BLOCK * blocks
        policy = PuzzleMix(blocks=(blocks,))
        images, maps, plan = _batch(run, check, MultiMix(policy, K), size, run.draws(400), 1.0)
        found = puzzle.solve(images, maps, plan, settings=policy)
        masks = found.mask(size, size)
        rising = np.count_nonzero(np.diff(masks, axis=1) > 0)
        yield rows.equal(f"{check}: own weights that rise with k", 0, rising)
        yield rows.weight_is_mean(f"{check}: w is the mean of the mask", found.plan, masks)
        partner = plan["partner"][:, 0]
        white = np.ones_like(images)
        white[1::2] = 0
        mixed = puzzle.blend(white, found)
        own, other = (white[:, None], white[partner][:, None])
        expected = masks[..., None] * own + (1 - masks[..., None]) * other
        check = f"{check}: white and black blended as the mask has it"
        yield rows.equal(check, expected, mixed, tolerance=1e-6)


def _batch(
    run: Run, check: str, policy: Policy, size: int, batch: int, peak: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random images, saliency maps and a plan."""
    rng = run.rng(check)
    images = rng.random((batch, size, size, 3), np.float32)
    maps = np.exp(peak * rng.standard_normal((batch, size, size))).astype(np.float32)
    return images, maps, run.plan(check, policy, batch, size, size)


@functools.cache
def _borders(blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks above or left of each border, and those beyond it: first the rows' borders."""
    at = np.arange(blocks**2).reshape(blocks, blocks)
    near, far = (at[:-1], at[:, :-1]), (at[1:], at[:, 1:])
    return tuple(np.concatenate([part.ravel() for part in parts]) for parts in (near, far))


@functools.cache
def _terms(blocks: int, levels: int) -> np.ndarray:
    """What each mask has of each factor: labels count up from all own weight."""
    labels = np.array(list(itertools.product(range(levels), repeat=blocks**2)))
    shown = 1 - labels / (levels - 1)
    near, far = _borders(blocks)
    unlike = (shown[:, near] - shown[:, far]) ** 2
    ways = np.log([math.comb(levels - 1, label) for label in range(levels)])[labels].sum(1)
    return np.concatenate([shown, unlike, np.ones((len(labels), 1)), -ways[:, None]], 1)


def _factors(
    images: np.ndarray,
    maps: np.ndarray,
    plan: np.ndarray,
    blocks: int,
    settings: PuzzleMix,
) -> np.ndarray:
    """Weights of the terms for each pair, by the definition: arXiv:2009.06962, equation 3."""
    partner, eta = plan["partner"], settings.eta
    share = _pooled(maps[..., None].astype(np.float64), BLOCK)[..., 0].reshape(len(maps), -1)
    share /= share.sum(1, keepdims=True)
    shows_own, shows_other = share[partner], share.copy()  # what either hides
    each = _pooled(images.astype(np.float64), CELL)
    near, far = _borders(blocks)
    border = settings.beta / (16 * blocks)
    contrast = {
        (u, v): settings.gamma * border * _contrast(*(each if s else each[partner] for s in (u, v)))
        for u, v in itertools.product((0, 1), repeat=2)
    }
    half = {key: value / 2 for key, value in contrast.items()}
    for place in range(len(near)):
        p, q = near[place], far[place]
        shows_own[:, p] += half[1, 0][:, place] + half[1, 1][:, place]
        shows_other[:, p] += half[0, 1][:, place] + half[0, 0][:, place]
        shows_own[:, q] += half[0, 1][:, place] + half[1, 1][:, place]
        shows_other[:, q] += half[1, 0][:, place] + half[0, 0][:, place]
    unlike = half[1, 0] + half[0, 1] - half[1, 1] - half[0, 0] + border
    lam, scale, last = plan["lam"].astype(np.float64), eta / blocks**2, settings.levels - 1
    lam = lam.clip(2.0**-13, 1 - 2.0**-13)[:, None]
    prior = scale * last * (np.log(1 - lam) - np.log(lam))  # of own weight 1 over that of 0
    base = shows_other.sum(1, keepdims=True) - eta * last * np.log(1 - lam)
    return np.concatenate([shows_own - shows_other + prior, unlike, base, scale + 0 * lam], 1)


def _pooled(values: np.ndarray, size: int) -> np.ndarray:
    """Means over squares, ``(B, H / size, W / size, C)``."""
    batch, height, width, channels = values.shape
    parts = values.reshape(batch, height // size, size, width // size, size, channels)
    return parts.mean((2, 4))


def _contrast(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean differences across the borders of blocks, ``(B, borders)``, in their order."""
    each = BLOCK // CELL
    down = np.abs(first[:, each - 1 : -1 : each] - second[:, each::each]).mean(3)
    right = np.abs(first[:, :, each - 1 : -1 : each] - second[:, :, each::each]).mean(3)
    batch, blocks = len(first), first.shape[1] // each
    down = down.reshape(batch, blocks - 1, blocks, each).mean(3)
    right = right.reshape(batch, blocks, each, blocks - 1).mean(2)
    return np.concatenate([down.reshape(batch, -1), right.reshape(batch, -1)], 1)


CHECKS = (optimality, weights)
