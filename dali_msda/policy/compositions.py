"""Policies made of policies: a random choice, turns, and several interpolations of a pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dali_msda.policy.base import Leaf, Policy, has_trait
from dali_msda.policy.checks import known, number, whole
from dali_msda.policy.words import BOXES, SCOPES, SHARES, Scope, Share


def _policies(name: str, policies: object, allowed: tuple[type, ...]) -> tuple[Policy, ...]:
    """The policies that a composition is given; raise TypeError for one that it cannot hold."""
    if not isinstance(policies, list | tuple) or not policies:
        raise TypeError(f"{name}: expected a non-empty list of policies, got {policies!r}")
    for index, policy in enumerate(policies):
        if not isinstance(policy, allowed):
            names = " or ".join(kind.__name__.replace("Leaf", "a method") for kind in allowed)
            raise TypeError(f"{name}[{index}]: expected {names}, got {policy!r}")
    return tuple(policies)


def _listed(name: str, values: object, default: tuple) -> tuple:
    """The values that a composition is given for its policies, or their default."""
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

    policies: Sequence[Leaf]
    weights: Sequence[float] | None = None
    scope: Scope = "sample"

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", _policies("policies", self.policies, (Leaf,)))
        for index, policy in enumerate(self.policies):
            if policy.needs_gradients:
                raise ValueError(
                    f"policies[{index}]: expected methods that need no gradients of the model, got "
                    f"{policy!r}, which mixes whole batches; use Alternate"
                )
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
        leaves["share"] = np.array(self.weights) / sum(self.weights or ())
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

    policies: Sequence[Leaf | Choice]
    counts: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", _policies("policies", self.policies, (Leaf, Choice)))
        counts = _listed("counts", self.counts, (1,) * len(self.policies))
        if len(counts) != len(self.policies):
            raise ValueError(
                f"counts: expected {len(self.policies)}, one per policy, got {len(counts)}"
            )
        what = "at least 1 batch and < 2**24, in whole numbers"
        counts = tuple(whole("counts", count, 1, 2**24, what) for count in counts)
        object.__setattr__(self, "counts", counts)

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        stages = [policy.leaves() for policy in self.policies]
        for stage, (leaves, count) in enumerate(zip(stages, self.counts or (), strict=True)):
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
    share: Share = "pair"

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Leaf | Choice | Alternate):
            raise TypeError(f"policy: expected a method, Choice or Alternate, got {self.policy!r}")
        whole("k", self.k, 2, 65, "2 to 64 interpolations, a whole number")
        known("share", self.share, SHARES)
        leaves = self.policy.leaves()
        fits = (leaves["sources"] == 2) & (leaves["box"] != BOXES["minmax"])
        if not (fits & ~has_trait(leaves, "erases")).all():
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
