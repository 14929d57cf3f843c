"""Questions that both backends ask about the records of a plan."""

from __future__ import annotations

import numpy as np

from dali_msda.policy import has_trait


def interpolations(plans: np.ndarray) -> int:
    """Number of records that a sample has: k of a plan ``(B, k)``."""
    return plans.shape[1] if plans.ndim > 1 else 1


def weighed(plans: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The records with other label weights, own ones of their shape; of two sources at most."""
    plans = plans.copy()
    plans["weight"] = own
    plans["partner_weight"] = np.where(plans["sources"] > 1, 1 - own, 0)
    return plans


def pairs_of(plans: np.ndarray, samples: int) -> np.ndarray | None:
    """The other sample of each, int32 ``(B,)``, if a batch can be mixed pair by pair, in place.

    None if it cannot: an output would replace pixels that a third sample has yet to read.
    """
    slots = np.arange(samples, dtype=np.int32)
    in_order = plans.shape == slots.shape and (plans["own"] == slots).all()
    # A method that shrinks the partner reads other rows than those it writes.
    if not in_order or (plans["sources"] > 2).any() or has_trait(plans, "shrinks").any():
        return None
    partner = np.where(plans["sources"] > 1, plans["partner"], slots).astype(np.int32)
    pairs, alone = partner.copy(), partner == slots
    named = np.flatnonzero(~alone)
    # An unmixed sample whose partner still reads it belongs to that pair.
    free = named[alone[partner[named]]]
    pairs[partner[free]] = free
    return pairs if (pairs[pairs] == slots).all() else None
