"""What loaders draw besides plans: order, crops and flips, each a function of a seed and an index.

They are made as the plan is, from a counter, so that they depend neither on a generator nor on who
draws first; a purpose of their own keeps them apart from the plan's.
"""

from __future__ import annotations

import numpy as np

from dali_msda import cpu

PURPOSES = {"order": 253, "crop": 254, "flip": 255}
"""What a draw is for; the numbers of ``msda::Purpose`` in kernels/msda/philox.h."""

LONGEST = 2**24  # uniforms of one counter, half of what it can count


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
    fill, address, bytes_each = cpu.library().msda_uniforms, made.ctypes.data, made.strides[0]
    for slot, identity in enumerate(np.asarray(ids, np.uint64).tolist()):
        fill(address + bytes_each * slot, count, seed, identity, step, PURPOSES[purpose])
    return made


def flips(ids: object, probability: float, *, seed: int, step: int) -> np.ndarray:
    """Draw which samples of a batch are mirrored, each by its index.

    Args:
        ids: As in :func:`uniforms`; so are seed and step.
        probability: Of each, in [0, 1].
        seed: Key of all random numbers.
        step: Number of the epoch.

    Returns:
        Flags, bool ``(B,)``.
    """
    return uniforms(ids, 1, purpose="flip", seed=seed, step=step)[:, 0] < probability


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
