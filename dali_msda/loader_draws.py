"""What is drawn besides plans: order, crops and flips, each a function of a seed and an index.

The numbers come from a counter, as those of a plan do. So they depend neither on the state of a
generator nor on who draws first. The purpose enters the counter: no number serves twice.
"""

from __future__ import annotations

import math

import numpy as np

from dali_msda.backends import cpu

PURPOSES = {"blocks": 10, "style": 249, "paste": 250, "direction": 251, "layer": 252}
PURPOSES |= {"order": 253, "crop": 254, "flip": 255}
"""What a draw is for; the numbers of ``msda::Purpose`` in kernels/msda/philox.h."""

ATTEMPTS = 100  # to draw a crop that fits into its image
FIRST = 8  # attempts that are drawn at first; more are hardly ever needed

LONGEST = 2**24  # numbers that are drawn from one counter, half of what it can count


def uniforms(ids: object, count: int, *, purpose: str, seed: int, step: int) -> np.ndarray:
    """Draw numbers for each sample of a batch.

    Args:
        ids: Identity of each sample, ``(B,)``, integers below 2**64: its index in the dataset.
        count: Numbers per sample.
        purpose: One of :data:`PURPOSES`.
        seed: Key of all random numbers, below 2**64.
        step: Number of the epoch, below 2**32.

    Returns:
        float64 ``(B, count)`` in the open interval (0, 1).
    """
    made = np.empty((len(ids), count), np.float64)
    fill, address, bytes_each = cpu.library().msda_uniforms, cpu.address_of(made), made.strides[0]
    for slot, identity in enumerate(np.asarray(ids, np.uint64).tolist()):
        fill(address + bytes_each * slot, count, seed, identity, step, PURPOSES[purpose])
    return made


def flips(ids: object, probability: float, *, seed: int, step: int) -> np.ndarray:
    """Draw which samples of a batch are mirrored; each copy of a sample has its own draw.

    Args:
        ids: As in :func:`uniforms`; so are seed and step.
        probability: That a sample is mirrored, in [0, 1].
        seed: Key of all random numbers.
        step: Number of the epoch.

    Returns:
        Flags, bool ``(B,)``.
    """
    numbers = uniforms(cpu.told_apart(ids), 1, purpose="flip", seed=seed, step=step)
    return numbers[:, 0] < probability


def order(samples: int, *, seed: int, step: int) -> np.ndarray:
    """Draw the order of the samples in an epoch.

    Args:
        samples: Number of samples.
        seed: Key of all random numbers, below 2**64.
        step: Number of the epoch, below 2**32.

    Returns:
        A permutation, int64 ``(samples,)``.
    """
    rows = uniforms(
        range(-(-samples // LONGEST)), min(samples, LONGEST), purpose="order", seed=seed, step=step
    )
    return np.argsort(rows.ravel()[:samples], kind="stable")


def crops(
    ids: object,
    heights: object,
    widths: object,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    seed: int,
    step: int,
) -> np.ndarray:
    """Draw a part of each image of a batch, for a random resized crop.

    The area is uniform in ``area``; the logarithm of the aspect ratio is uniform between those of
    ``ratio``. The first of 100 attempts that fits into the image is taken. If none does, the part
    is the largest one with such a ratio, in the middle of the image.

    Args:
        ids: As in :func:`uniforms`; so are seed and step.
        heights: Of the images, in pixels, ``(B,)``.
        widths: Likewise.
        area: Least and greatest area, as shares of the image, in (0, 1].
        ratio: Least and greatest ratio of width to height.
        seed: Key of all random numbers.
        step: Number of the epoch.

    Returns:
        ``y0, x0, y1, x1`` of each, half-open, in pixels: int64 ``(B, 4)``.
    """
    ids = cpu.told_apart(ids)
    heights, widths = (np.asarray(sides, np.int64) for sides in (heights, widths))
    found = np.empty((len(ids), 4), np.int64)
    left, attempts = np.arange(len(ids)), FIRST
    while len(left):
        sizes = heights[left], widths[left]
        numbers = uniforms(ids[left], 4 * attempts, purpose="crop", seed=seed, step=step)
        boxes, fits = _tried(numbers.reshape(-1, attempts, 4), *sizes, area, ratio)
        done = fits.any(1)
        found[left[done]] = boxes[done, fits.argmax(1)[done]]
        if attempts == ATTEMPTS:
            found[left[~done]] = _largest(*(sides[~done] for sides in sizes), ratio)
            break
        left, attempts = left[~done], ATTEMPTS  # the first few come out as before
    return found


def _tried(
    numbers: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes ``(B, attempts, 4)`` made of as many uniforms, and which of them fit their images."""
    heights, widths = heights[:, None], widths[:, None]
    pixels = (area[0] + (area[1] - area[0]) * numbers[..., 0]) * widths * heights
    low, high = (math.log(value) for value in ratio)
    ratios = np.exp(low + (high - low) * numbers[..., 1])
    w, h = (np.maximum(np.rint(np.sqrt(p)), 1) for p in (pixels * ratios, pixels / ratios))
    x, y = (
        np.floor(u * (n - m + 1))
        for u, n, m in ((numbers[..., 2], widths, w), (numbers[..., 3], heights, h))
    )
    return np.stack([y, x, y + h, x + w], -1), (w <= widths) & (h <= heights)


def _largest(heights: np.ndarray, widths: np.ndarray, ratio: tuple[float, float]) -> np.ndarray:
    """For each image, the largest box of such a ratio in its middle."""
    w = np.maximum(np.rint(np.minimum(widths, heights * ratio[1])), 1).astype(np.int64)
    h = np.maximum(np.rint(np.minimum(heights, widths / ratio[0])), 1).astype(np.int64)
    y, x = (heights - h + 1) // 2, (widths - w + 1) // 2
    return np.stack([y, x, y + h, x + w], -1)
