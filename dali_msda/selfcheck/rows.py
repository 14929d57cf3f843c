"""Draws of the real kernels, and their comparison with what theory says: one row per comparison."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dali_msda.ops import mask
from dali_msda.plan import draw
from dali_msda.policy import Policy

LIMIT = 5.0
"""How many standard errors a measured value may lie from the expected one."""

ROUNDING = 1e-6
"""How far float32 masks and weights may be off."""

CHUNK = 2**20
"""How many pixels are drawn at a time."""

Sums = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From masks, ``(T, H, W)``: sums over T of the values that are compared, and of their squares."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        check: What is compared.
        expected: By theory; of several values, the one that lies farthest off.
        measured: With the kernels.
        sigma: Standard errors between the two; ``None`` where they must be equal.
        passed: Whether they agree.
    """

    check: str
    expected: float
    measured: float
    sigma: float | None
    passed: bool


def equal(check: str, expected: object, measured: object, tolerance: float = 0.0) -> Row:
    """Compare values that must be equal, up to a tolerance."""
    expected, measured = np.broadcast_arrays(
        np.asarray(expected, np.float64), np.asarray(measured, np.float64)
    )
    off = np.abs(expected - measured)
    worst = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
    return Row(
        check,
        float(expected[worst]),
        float(measured[worst]),
        None,
        bool(off[worst] <= tolerance),
    )


def estimate(
    check: str, expected: object, measured: object, error: object, tolerance: float = ROUNDING
) -> Row:
    """Compare expectations with means that have standard errors.

    Args:
        check: What is compared.
        expected: Expectations, an array or a number.
        measured: Means of the same shape.
        error: Their standard errors.
        tolerance: How far the expectations themselves may be off.
    """
    expected, measured, error = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (expected, measured, error))
    )
    off = np.maximum(np.abs(measured - expected) - tolerance, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.where(off > 0, off / error, 0.0)
    sigma = np.where(np.isnan(measured) | np.isnan(sigma), np.inf, sigma)
    worst = np.unravel_index(np.argmax(sigma), sigma.shape)
    far = float(sigma[worst])
    return Row(check, float(expected[worst]), float(measured[worst]), far, far <= LIMIT)


def mean_of(check: str, expected: float, values: np.ndarray, tolerance: float = ROUNDING) -> Row:
    """Compare an expectation with the mean of independent values."""
    values = np.asarray(values, np.float64)
    error = values.std() / math.sqrt(len(values))
    return estimate(check, expected, values.mean(), error, tolerance)


def moments_of(check: str, expected: tuple[float, float, float], values: np.ndarray) -> Row:
    """Compare E x, E x^2 and E x^3 with those of independent values."""
    values = np.asarray(values, np.float64)
    powers = np.stack([values, values**2, values**3])
    error = powers.std(1) / math.sqrt(len(values))
    return estimate(check, expected, powers.mean(1), error)


def weight_is_mean(check: str, plan: np.ndarray, masks: np.ndarray) -> Row:
    """Compare label weights with the means of the masks, ``(*plan.shape, H, W)``."""
    mean = masks.mean((-2, -1), dtype=np.float64)
    return equal(check, mean, plan["weight"], tolerance=5e-6)


def moments(chunks: Iterable[np.ndarray], sums: Sums) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and standard deviation of what ``sums`` adds up, and the number of masks."""
    total, squares, count = 0.0, 0.0, 0
    for chunk in chunks:
        first, second = sums(chunk)
        total, squares, count = total + first, squares + second, count + len(chunk)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0)), count


def compare(check: str, law: Iterable[np.ndarray], drawn: Iterable[np.ndarray], sums: Sums) -> Row:
    """Compare the masks that were drawn with all the masks of a law."""
    expected, deviation, _ = moments(law, sums)
    measured, _, count = moments(drawn, sums)
    return estimate(check, expected, measured, deviation / math.sqrt(count))


def pairs(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of every two pixels (:data:`Sums`)."""
    flat = masks.reshape(len(masks), -1)
    squares = flat**2
    return flat.T @ flat, squares.T @ squares


def displaced(displacements: Iterable[tuple[int, int]]) -> Sums:
    """Products of pixels at each displacement (dy, dx), averaged over the image."""

    def sums(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = masks.shape[1:]
        values = np.stack(
            [
                (masks[:, : height - y, : width - x] * masks[:, y:, x:]).mean((1, 2))
                for y, x in displacements
            ]
        )
        return values.sum(1), (values**2).sum(1)

    return sums


@dataclass(frozen=True)
class Run:
    """How much is drawn.

    Attributes:
        seed: Key of all random numbers.
        share: Share of the draws of a full run.
    """

    seed: int = 0
    share: float = 1.0

    def draws(self, full: int) -> int:
        """Draws of a check that takes ``full`` of them in a full run."""
        return max(100, round(full * self.share))

    def rng(self, check: str) -> np.random.Generator:
        """NumPy's random numbers for a check."""
        return np.random.default_rng([self.seed, zlib.crc32(check.encode())])

    def plan(
        self,
        check: str,
        policy: Policy,
        batch: int,
        height: int,
        width: int,
        step: int = 0,
        lam: object = None,
        peaks: np.ndarray | None = None,
    ) -> np.ndarray:
        """The plan of one batch; every check has random numbers of its own."""
        keys = dict(seed=self.seed, step=step, rank=zlib.crc32(check.encode()))
        return draw(policy, batch, height, width, **keys, lam=lam, peaks=peaks)

    def plans(
        self,
        check: str,
        policy: Policy,
        height: int,
        width: int,
        full: int,
        lam: float | None = None,
    ) -> Iterator[np.ndarray]:
        """Records that a policy draws, in chunks."""
        left, step = self.draws(full), 0
        chunk = max(1, CHUNK // (height * width))
        while left > 0:
            batch = min(left, chunk)
            yield self.plan(check, policy, batch, height, width, step, lam)
            left, step = left - batch, step + 1

    def records(self, *what: object, **more: object) -> np.ndarray:
        """All records of :meth:`plans`, in one array."""
        return np.concatenate([*self.plans(*what, **more)])

    def masks(self, *what: object, **more: object) -> Iterator[np.ndarray]:
        """Own weight of each pixel in the records of :meth:`plans`, in chunks."""
        for plan in self.plans(*what, **more):
            yield mask(plan, int(plan["height"][0]), int(plan["width"][0]))

    def shares(self, *what: object, **more: object) -> Iterator[np.ndarray]:
        """Partner's share of each pixel in the records of :meth:`plans`, float64, in chunks."""
        for weights in self.masks(*what, **more):
            yield 1 - weights.astype(np.float64)
