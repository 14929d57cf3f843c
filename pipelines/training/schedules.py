"""What changes from epoch to epoch: the learning rate, and the size of the images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dali_msda.pipelines.training.config import Config

Points = tuple[tuple[float, float], ...]


def learning_rate(config: Config, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step, counted from 0: a linear warm-up, then the schedule."""
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.warmup_lr + (config.lr - config.warmup_lr) * step / warmup
    if config.schedule == "linear":
        return config.lr * interpolated(config.points, step / steps_per_epoch)
    if config.schedule == "step":
        decays = sum(step >= round(epoch * steps_per_epoch) for epoch in config.milestones)
        return config.lr * config.gamma**decays
    done = (step - warmup) / (config.epochs * steps_per_epoch - warmup)
    return config.final_lr + (config.lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * done))


def interpolated(points: Points, at: float) -> float:
    """Value of a line through points ``(x, y)``. Of two points at one ``x`` the second counts.

    Args:
        points: As :func:`checked_points` returns them. After the last the line is flat.
        at: Where, at least 0.
    """
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 <= at < x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return points[-1][1]


def checked_points(value: Any) -> Points:
    """Points of a line, ``[[epoch, share], ...]``, as tuples.

    Raises:
        ValueError: If it is something else, does not begin at epoch 0, or goes back.
    """
    pairs = isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_number, pair))
        for pair in value
    )
    if not pairs or not value:
        raise ValueError(
            f"points: expected [[epoch, share of lr], ...], numbers of at least 0, got {value!r}"
        )
    epochs = [epoch for epoch, _ in value]
    if epochs[0] != 0 or epochs != sorted(epochs):
        raise ValueError(f"points: expected epochs that rise from 0, got {epochs}")
    return tuple((float(epoch), float(share)) for epoch, share in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def checked_sizes(value: Any) -> dict[int, int]:
    """Sizes from later epochs on, ``{epoch: pixels}``, by rising epoch; None is none.

    Raises:
        ValueError: If it is something else, or an epoch or a size is less than 1.
    """
    if value is None:
        return {}
    whole = isinstance(value, Mapping) and all(
        type(number) is int and number >= 1 for pair in value.items() for number in pair
    )
    if not whole:
        raise ValueError(
            f"sizes: expected {{epoch: pixels}}, whole numbers of at least 1, got {value!r}"
        )
    return dict(sorted(value.items()))


def size_at(sizes: Mapping[int, int], epoch: int) -> int:
    """Size in an epoch, of sizes by the epoch from which they hold; one of them is 0."""
    return sizes[max(start for start in sizes if start <= epoch)]
