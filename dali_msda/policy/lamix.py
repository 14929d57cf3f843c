"""LaMix: originals and mixed pairs in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dali_msda.policy.base import Policy
from dali_msda.policy.checks import known
from dali_msda.policy.compositions import Alternate
from dali_msda.policy.methods import Mixup, PuzzleMix
from dali_msda.policy.words import MODES, PARTNERS, Partner


@dataclass(frozen=True, kw_only=True)
class LaMix(Policy):
    """Batches of originals and batches of averaged pairs in turn: the loader's half of LaMix.

    The pixels of a pair are always averaged, ``(own + partner) / 2``; ``lam ~ U(0, 1)`` moves the
    label alone. ``plan["sources"]`` tells which samples are pairs (2) and which originals (1). The
    model's half, a head for the global label, goes with :func:`dali_msda.torch.lamix_loss`.

    Attributes:
        partner: As in :class:`Leaf`; without effect on those of ``puzzle``.
        puzzle: What mixes the pairs instead, with masks of lambda 1/2: LaMix over Puzzle Mix, which
            :func:`dali_msda.puzzle.solve` finds masks for. None for averages.

    Reference:
        Bypassing the Random Input Mixing in Mixup, ICLR 2021 submission, section 3 and eq. 5.
    """

    partner: Partner = "permutation"
    puzzle: PuzzleMix | None = None

    def __post_init__(self) -> None:
        known("partner", self.partner, PARTNERS)
        if self.puzzle is not None and not isinstance(self.puzzle, PuzzleMix):
            raise TypeError(f"puzzle: expected a PuzzleMix or None, got {self.puzzle!r}")

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        originals = Mixup(partner=self.partner, prob=0.0)
        if self.puzzle is not None:
            return Alternate([originals, replace(self.puzzle, prior_lam=0.5)]).leaves()
        leaves = Alternate([originals, replace(originals, prob=1.0)]).leaves()
        leaves["mode"] = MODES["mixup"]["average"]
        return leaves
