"""Which samples show in a record of a plan, and with what weight at every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from dali_msda.backends.checks import MAX_COUNT
from dali_msda.backends.shapes import AXES
from dali_msda.ops import mask
from dali_msda.plan import check

WEIGHTS_AT_ONCE = 2**23  # pixels whose weights are in memory at a time


def own_weights(plan: np.ndarray) -> Iterator[np.ndarray]:
    """Own weight of every pixel, record by record, since all records may not fit into memory.

    Each is ``(rows, W)``: a volume has the rows of all its planes, a sequence has one row.

    Raises:
        ValueError: If the records are of several sizes, or of one that no image has.
    """
    if not len(plan):
        return
    shape = tuple(int(plan[axis][0]) for axis in AXES)
    if prod(shape) >= MAX_COUNT:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"plan[0]: size: expected fewer than 2**31 pixels, got {sizes}")
    check(plan, MAX_COUNT, shape)
    records = max(1, WEIGHTS_AT_ONCE // prod(shape))
    for first in range(0, len(plan), records):
        for weights in mask(plan[first : first + records], shape=shape):
            yield weights.reshape(-1, shape[-1])


def sources_of(record: np.void) -> list[int]:
    """Samples that take part in a record, the own one first."""
    named = [record["own"], record["partner"], *record["extra"]]
    return [int(index) for index in named[: record["sources"]]]


def source_weights(record: np.void, own: np.ndarray) -> list[np.ndarray]:
    """Weight of each source at every pixel."""
    if record["sources"] == 1:
        return [np.ones_like(own)]
    if record["sources"] == 2:
        return [own, 1 - own]
    weights = [record["weight"], record["partner_weight"], *record["extra_weight"]]
    return [np.full_like(own, weight) for weight in weights[: record["sources"]]]
