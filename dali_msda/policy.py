"""Policies: what is drawn for a batch. Frozen, validated, comparable, and plain to print."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from dali_msda.methods import METHODS

SCOPES = {"sample": 0, "pair": 1, "batch": 2}
PARTNERS = {"permutation": 0, "derangement": 1, "flip": 2, "roll": 3}
BOXES = {"clip": 0, "inside": 1, "wrap": 2, "minmax": 3}

LEAF_DTYPE = np.dtype(
    [(name, "<i4") for name in "method scope partner box sources stage count choice".split()]
    + [(name, "<f8") for name in "share alpha prob min_side max_side".split()]
)
"""One leaf of a policy as the kernels read it (``MsdaLeaf`` in kernels/cpu.h)."""


def _known(name: str, value: object, known: dict[str, int]) -> None:
    if value not in known:
        choices = ", ".join(repr(key) for key in known)
        raise ValueError(f"{name}: expected one of {choices}, got {value!r}")


def _number(name: str, value: object, low: float, high: float, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected {what}, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {what}, got {value!r}")


class Policy:
    """What to draw for a batch: one of the classes below, or a composition of them."""

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
        _number("alpha", self.alpha, 0.01, 100.0, "a number in [0.01, 100]")
        _known("scope", self.scope, SCOPES)
        _known("partner", self.partner, PARTNERS)
        _number("prob", self.prob, 0.0, 1.0, "a probability in [0, 1]")
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


@dataclass(frozen=True, kw_only=True)
class Mixup(Leaf):
    """Weighted mean of ``n`` images: ``lam * own + (1 - lam) * partner``.

    With three or four sources the weights are Dirichlet(alpha, ..., alpha). Pairs have two.

    Attributes:
        n: Number of sources, 2 to 4.

    Reference:
        Zhang et al., mixup, ICLR 2018, arXiv:1710.09412, eq. 1.
    """

    method: ClassVar[str] = "mixup"
    n: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n not in (2, 3, 4) or isinstance(self.n, bool | float):
            raise ValueError(f"n: expected 2, 3 or 4 sources, got {self.n!r}")
        if self.n > 2 and (self.scope == "pair" or self.partner == "flip"):
            raise ValueError(
                f"n: expected 2 with scope='pair' or partner='flip', which name one partner, got "
                f"{self.n}; use partner='permutation', 'derangement' or 'roll'"
            )

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        leaf = super().leaves()
        leaf["sources"] = self.n
        return leaf


@dataclass(frozen=True, kw_only=True)
class CutMix(Leaf):
    """A box of the partner, pasted. The label weight is the exact share of pixels that stay own.

    Attributes:
        box: ``"clip"``: centred on any pixel and cut off at the border, as the authors' code does
            (mean own weight 0.68 at alpha 1); ``"inside"``: wholly inside; ``"wrap"``: round the
            border, so that every pixel is covered equally often and nothing is cut off.
        minmax: Bounds ``(low, high)`` in (0, 1] of the box sides as shares of the image's; sides
            and position are then uniform, the box lies inside, and lambda is not drawn.

    Reference:
        Yun et al., CutMix, ICCV 2019, arXiv:1905.04899, eq. 1 and 2.
    """

    method: ClassVar[str] = "cutmix"
    box: str = "clip"
    minmax: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _known("box", self.box, {key: code for key, code in BOXES.items() if key != "minmax"})
        if self.minmax is None:
            return
        what = "a pair (low, high) with 0 < low <= high <= 1"
        if not isinstance(self.minmax, tuple | list) or len(self.minmax) != 2:
            raise TypeError(f"minmax: expected {what}, got {self.minmax!r}")
        low, high = self.minmax
        for side in (low, high):
            _number("minmax", side, 0.0, 1.0, what)
        if not 0 < low <= high:
            raise ValueError(f"minmax: expected {what}, got {self.minmax!r}")
        object.__setattr__(self, "minmax", (float(low), float(high)))

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        leaf = super().leaves()
        leaf["box"] = BOXES["minmax" if self.minmax else self.box]
        if self.minmax:
            leaf["min_side"], leaf["max_side"] = self.minmax
        return leaf


def _policies(name: str, policies: object, allowed: tuple[type, ...]) -> tuple[Policy, ...]:
    if not isinstance(policies, list | tuple) or not policies:
        raise TypeError(f"{name}: expected a non-empty list of policies, got {policies!r}")
    for index, policy in enumerate(policies):
        if not isinstance(policy, allowed):
            names = " or ".join(kind.__name__.replace("Leaf", "a method") for kind in allowed)
            raise TypeError(f"{name}[{index}]: expected {names}, got {policy!r}")
    return tuple(policies)


@dataclass(frozen=True)
class Choice(Policy):
    """One of several methods, chosen at random.

    Attributes:
        policies: Methods to choose from.
        weights: Relative weight of each, > 0; equal by default.
        scope: Who shares a choice: ``"sample"``, ``"pair"`` (all methods must then make the same
            pairs) or ``"batch"``.
    """

    policies: tuple[Leaf, ...]
    weights: tuple[float, ...] | None = None
    scope: str = "sample"

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", _policies("policies", self.policies, (Leaf,)))
        count = len(self.policies)
        weights = tuple(self.weights) if self.weights is not None else (1.0,) * count
        if len(weights) != count:
            raise ValueError(f"weights: expected {count}, one per policy, got {len(weights)}")
        for weight in weights:
            _number("weights", weight, 0.0, math.inf, "finite numbers > 0")
            if not 0 < weight < math.inf:
                raise ValueError(f"weights: expected finite numbers > 0, got {weight!r}")
        object.__setattr__(self, "weights", tuple(float(weight) for weight in weights))
        _known("scope", self.scope, SCOPES)
        if self.scope == "pair":
            rules = {(policy.scope, policy.partner) for policy in self.policies}
            if len(rules) > 1 or next(iter(rules))[0] != "pair":
                raise ValueError(
                    "scope: expected 'sample' or 'batch', or methods that all have scope='pair' "
                    "and the same partner rule, got 'pair'"
                )

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        leaves = np.concatenate([policy.leaves() for policy in self.policies])
        leaves["share"] = np.array(self.weights) / sum(self.weights)
        leaves["choice"] = SCOPES[self.scope]
        return leaves


@dataclass(frozen=True)
class Alternate(Policy):
    """Policies that take turns, each for a number of batches in a row.

    Attributes:
        policies: Methods or choices, in order.
        counts: Batches in a row of each, at least 1; 1 by default.

    Reference:
        Harris et al., FMix, arXiv:2002.12047 (FMix and Mixup in turns, batch by batch).
    """

    policies: tuple[Leaf | Choice, ...]
    counts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", _policies("policies", self.policies, (Leaf, Choice)))
        counts = tuple(self.counts) if self.counts is not None else (1,) * len(self.policies)
        if len(counts) != len(self.policies):
            raise ValueError(
                f"counts: expected {len(self.policies)}, one per policy, got {len(counts)}"
            )
        for count in counts:
            if isinstance(count, bool) or not isinstance(count, int | np.integer):
                raise TypeError(f"counts: expected whole numbers of batches, got {count!r}")
            if not 1 <= count < 2**24:
                raise ValueError(f"counts: expected at least 1 batch and < 2**24, got {count}")
        object.__setattr__(self, "counts", tuple(int(count) for count in counts))

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        stages = [policy.leaves() for policy in self.policies]
        for stage, (leaves, count) in enumerate(zip(stages, self.counts, strict=True)):
            leaves["stage"], leaves["count"] = stage, count
        return np.concatenate(stages)


POLICIES: dict[str, type[Leaf]] = {kind.method: kind for kind in (Mixup, CutMix)}
"""Policy class by the name of its method."""


def settings(policy: Leaf) -> dict[str, object]:
    """Arguments of a policy by name, as its constructor takes them."""
    return {field.name: getattr(policy, field.name) for field in fields(policy)}
