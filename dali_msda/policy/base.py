"""What a policy is: the base of the methods (methods.py) and of their compositions.

A policy says what is drawn for a batch. Policies are frozen, validated, comparable and plain to
print. They form a tree: a composition holds other policies, and the leaves of the tree are methods
with their settings. The kernels read a policy as one record for each leaf.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from dali_msda.policy.cards import METHODS, codes
from dali_msda.policy.checks import known, number
from dali_msda.policy.words import PARTNERS, SCOPES, Partner, Scope

TRAIT_BITS = {"any_shape": 1, "erases": 2, "needs_field": 4, "needs_peaks": 8}
"""The traits of a method that the kernels read, by the numbers of ``MsdaTrait``."""

POLICY_VERSION = 1

LEAF_DTYPE = np.dtype(
    [(name, "<u2") for name in "version method".split()]
    + [(name, "<i4") for name in "scope partner box sources stage count choice".split()]
    + [(name, "<f8") for name in "share alpha prob min_side max_side r r_gamma".split()]
    + [(name, "<f8") for name in "decay max_soft".split()]
    + [(name, "<i4") for name in "mode rounding reformulate modes length traits".split()]
)
"""A leaf as the kernels read it, 128 bytes; ``MsdaLeaf`` in kernels/msda/policy.h says what each
field means."""


def has_trait(records: np.ndarray | np.void, trait: str) -> np.ndarray:
    """Which records of a plan, or leaves of a policy, are of a method with a trait.

    Args:
        records: Anything that has a field ``method`` with the number of a method.
        trait: A word of :data:`dali_msda.policy.TRAITS`.
    """
    return _methods_with(trait)[records["method"]]


@functools.cache
def _methods_with(trait: str) -> np.ndarray:
    """For every number that a record's ``method`` can hold, whether that method has the trait."""
    table = np.zeros(256, bool)
    table[codes(trait)] = True
    return table


class Policy:
    """What to draw for a batch: one of the classes below, or a composition of them."""

    @property
    def interpolations(self) -> int | None:
        """Records drawn for each sample; None for a plan with one and no axis for it."""
        return None

    @property
    def shares_lam(self) -> bool:
        """Whether all samples of a batch have the same lambdas."""
        return False

    @cached_property
    def needs_peaks(self) -> bool:
        """Whether a method places its box by the peaks of the images, which must then be given."""
        return bool(has_trait(self.leaves(), "needs_peaks").any())

    @cached_property
    def needs_gradients(self) -> bool:
        """Whether a method mixes in the training step only, by the gradients of the model."""
        return bool(has_trait(self.leaves(), "needs_gradients").any())

    @cached_property
    def max_sources(self) -> int:
        """The greatest number of samples that a method mixes into one, 2 to 4."""
        return int(self.leaves()["sources"].max())

    @cached_property
    def takes_turns(self) -> bool:
        """Whether different methods serve different batches, as in :class:`Alternate`."""
        return bool(self.leaves()["stage"].any())

    def leaves(self) -> np.ndarray:
        """The policy as the kernels read it: a record of :data:`LEAF_DTYPE` for each leaf."""
        raise NotImplementedError


def expect_loader_policy(policy: object) -> None:
    """Raise TypeError or ValueError unless it is a policy that a loader can mix by."""
    if not isinstance(policy, Policy):
        raise TypeError(f"policy: expected a policy such as CutMix(), got {policy!r}")
    if policy.needs_gradients:
        raise ValueError(
            f"policy: expected methods that need no gradients of the model, got {policy!r}; mix in "
            "the training step, with dali_msda.torch.PuzzleMix or the training program's policy "
            "{puzzlemix: ...}"
        )


@dataclass(frozen=True, kw_only=True)
class Leaf(Policy):
    """A method with its settings; base of the policies that name one.

    Attributes:
        alpha: Shape of the Beta(alpha, alpha) that lambda is drawn from, 0.01 to 100.
        scope: Who shares a draw of lambda and box: each ``"sample"`` has its own, the two of a
            ``"pair"`` share one (needs a partner rule that makes pairs: ``"flip"``, or
            ``"permutation"``, which then pairs at random), or the whole ``"batch"`` does.
        partner: Who is mixed with whom: a random ``"permutation"`` (fixed points allowed), a random
            ``"derangement"`` (none, from two samples on), ``"flip"`` (B - 1 - i) or ``"roll"``
            (i - 1).
        prob: Probability that mixing happens at all, drawn once per scope.
    """

    method: ClassVar[str]
    alpha: float = 1.0
    scope: Scope = "sample"
    partner: Partner = "permutation"
    prob: float = 1.0

    def __post_init__(self) -> None:
        number("alpha", self.alpha, 0.01, 100.0, "a number in [0.01, 100]")
        known("scope", self.scope, SCOPES)
        known("partner", self.partner, PARTNERS)
        number("prob", self.prob, 0.0, 1.0, "a probability in [0, 1]")
        if self.scope == "pair" and self.partner not in ("permutation", "flip"):
            raise ValueError(
                "partner: expected 'permutation' or 'flip' with scope='pair', since the two of a "
                f"pair must name each other, got {self.partner!r}"
            )

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        card = METHODS[self.method]
        fields = {
            "version": POLICY_VERSION,
            "method": card.code,
            "traits": sum(bit for trait, bit in TRAIT_BITS.items() if trait in card.traits),
            "scope": SCOPES[self.scope],
            "partner": PARTNERS[self.partner],
            "alpha": self.alpha,
            "prob": self.prob,
            "sources": 2,
            "count": 1,
            "share": 1.0,
        }
        leaf = np.zeros(1, LEAF_DTYPE)
        for name, value in (fields | self._fields()).items():
            leaf[name] = value
        return leaf

    def _fields(self) -> dict[str, float]:
        """The record's fields that a method has settings for."""
        return {}
