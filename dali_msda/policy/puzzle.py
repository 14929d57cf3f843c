"""Puzzle Mix as a policy: what is drawn, and the settings by which masks are found for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dali_msda.policy.base import Leaf
from dali_msda.policy.checks import number, whole
from dali_msda.policy.words import MODES

MOST_COUNTS = 7  # kMaxBlockCounts in kernels/msda/draw/puzzle.h


@dataclass(frozen=True, kw_only=True)
class PuzzleSettings:
    """How masks are found and what moves.

    An image is cut into blocks, each of which shows the own image, the partner, or a mean of both.
    The mask is the exact minimum of what it hides of both images' saliency, plus the contrast
    across borders of unlike blocks, plus a prior that follows lambda.

    Attributes:
        places: Parts along each side that move; where the mask has more, its blocks do. The
            released settings for 32 pixels are 8.
        cell: Pixels of a side that are averaged before borders are compared, 1 to 64, or a block's
            side where that is less. It must divide the blocks.
        levels: Own weights that a block can have, evenly from 0 to 1: 2, 3 or 4 of them.
        beta: What unlike neighbours cost, 0 to 8.
        gamma: Share of it that the contrast at their border decides, in [0, 1].
        eta: Weight of the prior, in [0, 1].
        move_cost: What it costs to move a block along the whole side of the image, 0 to 16, where
            all the image's saliency is worth 1.
        transport: Whether salient blocks that the mask hides move to where it shows the image.

    Reference:
        Kim, Choo and Song, Puzzle Mix, ICML 2020, arXiv:2009.06962; settings as in the authors'
        code (snu-mllab/PuzzleMix) for CIFAR-100. Their solver ends at a mask that costs more than
        the least in up to 60 % of cases; this one never does.
    """

    places: int = 2
    cell: int = 4
    levels: int = 3
    beta: float = 1.2
    gamma: float = 0.5
    eta: float = 0.2
    move_cost: float = 0.8
    transport: bool = True

    def __post_init__(self) -> None:
        whole("places", self.places, 2, 17, "2 to 16 parts, a whole number")
        whole("cell", self.cell, 1, 65, "1 to 64 pixels, a whole number")
        whole("levels", self.levels, 2, 5, "2, 3 or 4")
        number("beta", self.beta, 0.0, 8.0, "a number in [0, 8]")
        number("gamma", self.gamma, 0.0, 1.0, "a share in [0, 1]")
        number("eta", self.eta, 0.0, 1.0, "a number in [0, 1]")
        number("move_cost", self.move_cost, 0.0, 16.0, "a number in [0, 16]")
        if not isinstance(self.transport, bool):
            raise TypeError(f"transport: expected True or False, got {self.transport!r}")

    def arguments(self, blocks: int) -> dict[str, object]:
        """Arguments of the kernels for a mask of so many blocks along each side."""
        given = {name: getattr(self, name) for name in PuzzleSettings.__dataclass_fields__}
        return given | {"blocks": blocks, "places": max(blocks, self.places)}


@dataclass(frozen=True, kw_only=True)
class PuzzleMix(PuzzleSettings, Leaf):
    """Masks of blocks that show what is salient in both images; salient blocks move.

    A plan of it has partners, lambdas and a number of blocks. Its masks are found with the model's
    gradients, in the training step: :func:`dali_msda.puzzle.solve` takes the plan and this policy,
    and :class:`dali_msda.torch.PuzzleMix` does it all. Loaders refuse it.

    Attributes:
        blocks: Parts of the mask along each side, 2 to 16; one of up to 7 such numbers is drawn for
            each batch. Each must divide the height and the width of the images.
        prior_lam: Lambda that all masks follow instead of the drawn ones, which then are the label
            weights as they are. LaMix over Puzzle Mix is 0.5 in turn with originals:
            ``Alternate([Mixup(prob=0.0), PuzzleMix(prior_lam=0.5)])``. None for the drawn ones.

    Reference:
        Kim, Choo and Song, Puzzle Mix, ICML 2020, arXiv:2009.06962; ``prior_lam``: Bypassing the
        Random Input Mixing in Mixup, ICLR 2021 submission, eq. 5.
    """

    method: ClassVar[str] = "puzzlemix"
    blocks: Sequence[int] = (2, 4, 8, 16)
    prior_lam: float | None = None

    def __post_init__(self) -> None:
        Leaf.__post_init__(self)
        PuzzleSettings.__post_init__(self)
        if not isinstance(self.blocks, tuple | list) or not self.blocks:
            raise TypeError(f"blocks: expected numbers such as (2, 4, 8, 16), got {self.blocks!r}")
        what = "2 to 16 along each side, whole numbers"
        counts = tuple(whole("blocks", count, 2, 17, what) for count in self.blocks)
        if len(counts) > MOST_COUNTS:
            raise ValueError(f"blocks: expected up to {MOST_COUNTS} numbers, got {counts}")
        object.__setattr__(self, "blocks", counts)
        if self.prior_lam is not None:
            number("prior_lam", self.prior_lam, 0.0, 1.0, "a number in [0, 1]")

    def _fields(self) -> dict[str, float]:
        mode = "drawn" if self.prior_lam is None else "fixed"
        return {
            "modes": sum(count - 1 << 4 * place for place, count in enumerate(self.blocks)),
            "length": self.levels,
            "rounding": self.transport,
            "mode": MODES["puzzlemix"][mode],
            "r": self.prior_lam or 0.0,
        }
