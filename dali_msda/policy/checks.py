"""Checks of the settings that a user types: numbers, whole numbers and words."""

from __future__ import annotations

import numpy as np


def known(name: str, value: object, choices: dict[str, int]) -> None:
    """Raise ValueError unless ``value`` is one of the names in ``choices``."""
    if not isinstance(value, str) or value not in choices:
        names = ", ".join(repr(key) for key in choices)
        raise ValueError(f"{name}: expected one of {names}, got {value!r}")


def number(name: str, value: object, low: float, high: float, what: str) -> None:
    """Raise TypeError or ValueError unless ``value`` is a number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected {what}, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {what}, got {value!r}")


def whole(name: str, value: object, low: int, high: int, what: str = "") -> int:
    """The value as an int; raise TypeError or ValueError unless it lies in [low, high).

    ``what`` says in words what is expected.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected {what or 'a whole number'}, got {value!r}")
    if not low <= value < high:
        raise ValueError(f"{name}: expected {what or f'{low} <= {name} < {high}'}, got {value}")
    return int(value)


def shares(name: str, value: object) -> tuple[float, float]:
    """A pair of shares of an image's side; raise TypeError or ValueError unless it is one."""
    what = "a pair (low, high) with 0 < low <= high <= 1"
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name}: expected {what}, got {value!r}")
    for side in value:
        number(name, side, 0.0, 1.0, what)
    if not 0 < value[0] <= value[1]:
        raise ValueError(f"{name}: expected {what}, got {value!r}")
    return float(value[0]), float(value[1])
