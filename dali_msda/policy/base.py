"""What a policy is: the base of the methods (methods.py) and of their compositions.

A policy says what is drawn for a batch. Policies are frozen, validated, comparable and plain to
print.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from dali_msda.policy.cards import METHODS

SCOPES = {"sample": 0, "pair": 1, "batch": 2}
PARTNERS = {"permutation": 0, "derangement": 1, "flip": 2, "roll": 3}
BOXES = {"clip": 0, "inside": 1, "wrap": 2, "minmax": 3}
MODES = {  # by method; the numbers of MsdaMode
    "mixup": {"plain": 0, "average": 1},
    "hmix": {"exact": 0, "nominal": 1},
    "gmix": {"code": 0, "paper": 1, "exact": 2},
    "fmix": {"paper": 0, "legacy": 1},
}
SHARES = {"pair": 0, "batch": 1}
ROUNDINGS = {"nearest": 0, "stochastic": 1, "coin": 2}

LEAF_DTYPE = np.dtype(
    [(name, "<i4") for name in "method scope partner box sources stage count choice".split()]
    + [(name, "<f8") for name in "share alpha prob min_side max_side r r_gamma".split()]
    + [(name, "<f8") for name in "decay max_soft".split()]
    + [(name, "<i4") for name in "mode rounding reformulate modes length padding".split()]
)
"""One leaf of a policy as the kernels read it (``MsdaLeaf`` in kernels/msda/policy.h)."""


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


class Policy:
    """What to draw for a batch: one of the classes below, or a composition of them.

    Attributes:
        interpolations: Records drawn for each sample; None for a plan with one and no axis for it.
        shares_lam: Whether all samples of a batch have the same lambdas.
    """

    interpolations: ClassVar[int | None] = None
    shares_lam: ClassVar[bool] = False

    @property
    def needs_peaks(self) -> bool:
        """Whether a method's box follows the pixels, so that the peaks of the images are needed."""
        return bool((self.leaves()["method"] == METHODS["saliencymix"].code).any())

    def leaves(self) -> np.ndarray:
        """The policy as the kernels read it, one record of :data:`LEAF_DTYPE` per leaf."""
        raise NotImplementedError


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
    scope: str = "sample"
    partner: str = "permutation"
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
        leaf = np.zeros(1, LEAF_DTYPE)
        leaf["method"] = METHODS[self.method].code
        leaf["scope"], leaf["partner"] = SCOPES[self.scope], PARTNERS[self.partner]
        leaf["alpha"], leaf["prob"] = self.alpha, self.prob
        leaf["sources"], leaf["count"], leaf["share"] = 2, 1, 1.0
        return leaf


def settings(policy: Leaf) -> dict[str, object]:
    """Arguments of a policy by name, as its constructor takes them."""
    return {field.name: getattr(policy, field.name) for field in fields(policy)}
