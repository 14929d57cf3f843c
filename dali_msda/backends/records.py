"""What is asked of the records of a plan."""

from __future__ import annotations

import functools

import numpy as np

from dali_msda.policy import codes


def has_trait(plans: np.ndarray, trait: str) -> np.ndarray:
    """Which records are of a method with this trait, a word of :data:`dali_msda.policy.TRAITS`."""
    return _methods_with(trait)[plans["method"]]


@functools.cache
def _methods_with(trait: str) -> np.ndarray:
    """For every number that a record's ``method`` can hold, whether that method has the trait."""
    table = np.zeros(256, bool)
    table[codes(trait)] = True
    return table


def interpolations(plans: np.ndarray) -> int:
    """Number of records that a sample has: k of a plan ``(B, k)``."""
    return plans.shape[1] if plans.ndim > 1 else 1
