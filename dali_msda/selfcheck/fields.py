"""The checks of FMix: its counts, its spectrum, and where its regions lie."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dali_msda.policy import FMix
from dali_msda.selfcheck import laws, rows
from dali_msda.selfcheck.rows import Row, Run

SIZES = ((32, 32), (17, 23), (64, 40), (1, 37), (37, 1), (1, 1))
DISPLACEMENTS = ((0, 1), (0, 4), (4, 0), (0, 8), (0, 16), (8, 8), (16, 16))
ARCSINE = 0.003
"""How far the arcsine law may be off: it lets the count of own pixels vary, and masks do not."""

SLOPE = 0.02
"""Relative error that a full run may have in the slope, about 5 standard errors."""


def own(run: Run, *what: object, **more: object) -> np.ndarray:
    """Masks of :meth:`Run.plans`, ``(T, H, W)`` of 0 and 1, where 1 is a pixel that stays own."""
    return np.concatenate([*run.masks(*what, **more)])


def counts(run: Run) -> Iterator[Row]:
    """Pixels that stay own: exactly as many as lambda asks for, by each way of rounding."""
    for law in ("paper", "legacy"):
        check = f"fmix, {law}: pixels of each mask are round(lam n)"
        expected, measured = [], []
        for height, width in SIZES:
            for plan in run.plans(check, FMix(law=law), height, width, 500):
                masks = rows.mask(plan, height, width)
                expected.append(np.rint(plan["lam"].astype(np.float64) * height * width))
                measured.append(np.count_nonzero(masks == 1, axis=(1, 2)))
        yield rows.equal(check, np.concatenate(expected), np.concatenate(measured))
    for rounding, mean in (("stochastic", 0.35 * 15), ("coin", 5.5)):
        check = f"fmix, {rounding} rounding: E of the pixels, 3x5, lam 0.35"
        masks = own(run, check, FMix(rounding=rounding), 3, 5, 20_000, lam=0.35)
        yield rows.mean_of(check, mean, masks.sum((1, 2)))
    check = "fmix, soft edges: sum of each mask is its count, 17x23"
    (plan,) = run.plans(check, FMix(max_soft=0.3), 17, 23, 1000)
    total = rows.mask(plan, 17, 23).sum((1, 2), dtype=np.float64)
    yield rows.equal(check, plan["count"], total, tolerance=1e-3)
    check = "fmix: masks of one field are nested in lambda, 17x23"
    small, large = (own(run, check, FMix(), 17, 23, 1000, lam=lam) for lam in (0.3, 0.6))
    yield rows.equal(check, 0, np.count_nonzero(small > large))


def slopes(run: Run) -> Iterator[Row]:
    """The slope of the power over frequency, -2 decay, from the smallest fields.

    With a field of four pixels, the share of masks that show its highest frequency gives the ratio
    of two powers exactly (laws.chance_of_odd_pattern), and so the slope between them.
    """
    for height, width in ((1, 4), (4, 1), (2, 2)):
        octaves = 0.5 if height == width else 1.0  # from the lowest frequency to the highest
        pattern = np.array([1, 0, 0, 1] if height == width else [1, 0, 1, 0])
        for decay in (1.5, 3.0) if height != width else (1.5, 3.0, 5.0):
            check = f"fmix: slope of the power, {height}x{width}, decay {decay:g}"
            full = 1_000_000 if height == width else 300_000
            masks = own(run, check, FMix(decay=decay), height, width, full, lam=0.5)
            flat = masks.reshape(-1, 4)
            odd = np.mean((flat == pattern).all(1) | (flat == 1 - pattern).all(1))
            chance = laws.chance_of_odd_pattern(2 ** (-2 * decay * octaves))
            error = math.sqrt(chance * (1 - chance) / len(flat))
            row = rows.estimate(check, chance, odd, error)
            ratio = laws.ratio_of_odd_pattern(row.measured)
            slope = math.log2(ratio) / octaves if ratio > 0 else -math.inf
            near = run.share < 1 or abs(slope / (-2 * decay) - 1) <= SLOPE
            yield Row(check, -2 * decay, slope, row.sigma, row.passed and near)


def stationary(run: Run) -> Iterator[Row]:
    """All pixels are alike, and so are all pairs of pixels at one displacement."""
    for height, width in ((16, 16), (9, 14)):
        check = f"fmix, paper: E of every pixel, {height}x{width}"
        masks = own(run, check, FMix(), height, width, 5000, lam=0.4)
        mean = round(0.4 * height * width) / (height * width)
        error = math.sqrt(mean * (1 - mean) / len(masks))
        yield rows.estimate(check, mean, masks.mean(0, dtype=np.float64), error)
    check = "fmix: a_jk alike at every j, 16x16"
    masks = own(run, check, FMix(), 16, 16, 10_000, lam=0.5)
    for y, x in ((0, 1), (3, 0), (2, 5)):
        both = (masks * np.roll(masks, (-y, -x), (1, 2))).mean(0, dtype=np.float64)
        mean = both.mean()
        error = math.sqrt(mean * (1 - mean) / len(masks))
        yield rows.estimate(f"{check}, j - k = ({y}, {x})", mean, both, error)


def _together(masks: np.ndarray) -> np.ndarray:
    """Share of own pairs in each mask at each displacement, and the changes along its axes."""
    size = masks[0].size
    values = [
        np.einsum("thw,thw->t", masks, np.roll(masks, shift, (1, 2))) / size
        for shift in DISPLACEMENTS
    ]
    changes = [(masks != np.roll(masks, 1, axis)).sum(axis).mean(1) for axis in (2, 1)]
    return np.stack([*values, *changes]).astype(np.float64)


def regions(run: Run) -> Iterator[Row]:
    """Masks of 32 x 32 pixels, compared with those that NumPy draws from the definition."""
    n = 32
    for law, decay in (*(("paper", decay) for decay in (1.0, 2.0, 3.0, 5.0)), ("legacy", 3.0)):
        check = f"fmix, {law}: {n}x{n}, decay {decay:g}"
        drawn = _together(own(run, check, FMix(law=law, decay=decay), n, n, 10_000, lam=0.5))
        model = laws.field_masks(run.rng(check), run.draws(10_000), n, n, decay, law)
        known = _together(model.astype(np.float32))
        error = np.sqrt(drawn.var(1) / drawn.shape[1] + known.var(1) / known.shape[1])
        drawn, known = drawn.mean(1), known.mean(1)
        yield rows.estimate(f"{check}: changes per row", known[-2], drawn[-2], error[-2])
        yield rows.estimate(f"{check}: changes per column", known[-1], drawn[-1], error[-1])
        yield rows.estimate(f"{check}: a_jk beside NumPy's", known[:-2], drawn[:-2], error[:-2])
        if law == "paper" and decay == 3:
            exact = laws.both_own(n, n, decay)
            exact = [exact[shift] for shift in DISPLACEMENTS]
            check = f"fmix, {law}: arcsine law, {n}x{n}, within {ARCSINE:g}"
            yield rows.estimate(check, exact, drawn[:-2], error[:-2], tolerance=ARCSINE)


def odd_sizes(run: Run) -> Iterator[Row]:
    """Each pixel, compared with NumPy's masks; the legacy law does not make all pixels alike."""
    height, width, lam = 9, 14, 0.4
    for law in ("paper", "legacy"):
        check = f"fmix, {law}: E of every pixel beside NumPy's, {height}x{width}"
        drawn = own(run, check, FMix(law=law), height, width, 20_000, lam=lam)
        model = laws.field_masks(run.rng(check), len(drawn), height, width, 3.0, law, lam)
        known = model.mean(0)
        error = np.sqrt(2 * known * (1 - known) / len(drawn))
        yield rows.estimate(check, known, drawn.mean(0, dtype=np.float64), error)


def runs(run: Run) -> Iterator[Row]:
    """The authors' code has one wave in a row, so no row of its masks has more than one run."""
    check = "fmix, legacy: most runs in a row, 31x20"
    masks = own(run, check, FMix(law="legacy"), 31, 20, 2000)
    yield rows.equal(check, 1, np.count_nonzero(masks > np.roll(masks, 1, 2), axis=2).max())
    check = "fmix, legacy: runs of a line, 1x50"
    masks = own(run, check, FMix(law="legacy"), 1, 50, 5000, lam=0.4)
    yield rows.equal(check, 1, np.count_nonzero(masks > np.roll(masks, 1, 2), axis=(1, 2)))


CHECKS = (counts, slopes, stationary, regions, odd_sizes, runs)
