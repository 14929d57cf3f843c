"""What a policy is, and how policies are composed; the methods themselves: leaves.py.

A policy says what is drawn for a batch. Policies are frozen, validated, comparable and plain to
print.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from dali_msda.methods import METHODS

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
"""One leaf of a policy as the kernels read it (``MsdaLeaf`` in kernels/cpu.h)."""


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


def _policies(name: str, policies: object, allowed: tuple[type, ...]) -> tuple[Policy, ...]:
    if not isinstance(policies, list | tuple) or not policies:
        raise TypeError(f"{name}: expected a non-empty list of policies, got {policies!r}")
    for index, policy in enumerate(policies):
        if not isinstance(policy, allowed):
            names = " or ".join(kind.__name__.replace("Leaf", "a method") for kind in allowed)
            raise TypeError(f"{name}[{index}]: expected {names}, got {policy!r}")
    return tuple(policies)


def _listed(name: str, values: object, default: tuple) -> tuple:
    if values is None:
        return default
    if not isinstance(values, list | tuple):
        raise TypeError(f"{name}: expected a list, one entry per policy, got {values!r}")
    return tuple(values)


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
        weights = _listed("weights", self.weights, (1.0,) * count)
        if len(weights) != count:
            raise ValueError(f"weights: expected {count}, one per policy, got {len(weights)}")
        for weight in weights:
            number("weights", weight, 0.0, math.inf, "finite numbers > 0")
            if not 0 < weight < math.inf:
                raise ValueError(f"weights: expected finite numbers > 0, got {weight!r}")
        object.__setattr__(self, "weights", tuple(float(weight) for weight in weights))
        known("scope", self.scope, SCOPES)
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
        counts = _listed("counts", self.counts, (1,) * len(self.policies))
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


@dataclass(frozen=True)
class MultiMix(Policy):
    """Several interpolations of every pair: ``k`` values of lambda, in falling order.

    The interpolations of a pair share everything but lambda, so boxes are nested around one centre,
    and so are the masks of one field. A plan has the shape ``(B, k)``, and whatever is mixed with
    it has these axes in front: ``(B, k, H, W, C)``; ``reshape(-1, H, W, C)`` makes the batch of
    ``B * k`` that a model is trained on, without a copy. A sample that is not mixed (``prob``,
    padding) is repeated.

    Attributes:
        policy: Method, choice or alternation to interpolate with: any that mixes two samples and
            draws lambda.
        k: Number of interpolations, 2 to 64.
        share: ``"pair"``: each unit of the method's scope draws its own lambdas, which has less
            variance; ``"batch"``: all samples have the same ones, as in the paper.

    Reference:
        Shen et al., Mixup Augmentation with Multiple Interpolations, arXiv:2406.01417, section III.
    """

    policy: Leaf | Choice | Alternate
    k: int = 5
    share: str = "pair"

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Leaf | Choice | Alternate):
            raise TypeError(f"policy: expected a method, Choice or Alternate, got {self.policy!r}")
        if isinstance(self.k, bool) or not isinstance(self.k, int | np.integer):
            raise TypeError(f"k: expected a whole number of interpolations, got {self.k!r}")
        if not 2 <= self.k <= 64:
            raise ValueError(f"k: expected 2 to 64 interpolations, got {self.k}")
        known("share", self.share, SHARES)
        leaves = self.policy.leaves()
        fits = (leaves["sources"] == 2) & (leaves["box"] != BOXES["minmax"])
        if not (fits & (leaves["method"] != METHODS["cutout"].code)).all():
            raise ValueError(
                "policy: expected methods that mix two samples by a lambda, got "
                f"{self.policy!r}; leave out Cutout, minmax and n > 2"
            )

    @property
    def interpolations(self) -> int:
        """See :class:`Policy`."""
        return int(self.k)

    @property
    def shares_lam(self) -> bool:
        """See :class:`Policy`."""
        return self.share == "batch"

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        return self.policy.leaves()


def settings(policy: Leaf) -> dict[str, object]:
    """Arguments of a policy by name, as its constructor takes them."""
    return {field.name: getattr(policy, field.name) for field in fields(policy)}
