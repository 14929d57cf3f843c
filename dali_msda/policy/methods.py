"""The methods as policies: each a frozen class of its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from dali_msda.policy.base import Leaf, Policy
from dali_msda.policy.checks import known, number, shares, whole
from dali_msda.policy.compositions import Alternate
from dali_msda.policy.puzzle import PuzzleMix
from dali_msda.policy.words import BOXES, MODES, PARTNERS, ROUNDINGS, Box, Partner, Rounding

__all__ = [  # what `dali_msda` and `dali_msda.policy` offer
    "CutMix",
    "Cutout",
    "FMix",
    "GMix",
    "HMix",
    "LaMix",
    "Mixup",
    "PuzzleMix",
    "ResizeMix",
    "SaliencyMix",
    "SmoothMix",
]

PLACES = {name: code for name, code in BOXES.items() if name != "minmax"}
"""Where a box of drawn area lies, by word."""


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

    def _fields(self) -> dict[str, float]:
        return {"sources": self.n}


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
    box: Box = "clip"
    minmax: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        known("box", self.box, PLACES)
        if self.minmax is not None:
            object.__setattr__(self, "minmax", shares("minmax", self.minmax))

    def _fields(self) -> dict[str, float]:
        if self.minmax is None:
            return {"box": BOXES[self.box]}
        low, high = self.minmax
        return {"box": BOXES["minmax"], "min_side": low, "max_side": high}


@dataclass(frozen=True, kw_only=True)
class HMix(Leaf):
    """A box of the partner, and Mixup around it, so that the mean of the mask is lambda.

    Attributes:
        r: Share of the partner's mass that the box holds: 0 is Mixup, 1 is CutMix.
        gamma: Draw r from Beta(gamma, gamma) instead; near 0 this is a choice of the two.
        mode: ``"exact"``: the weight around the box makes up for a box that is cut off, as the
            authors' code does; ``"nominal"``: the weight as printed.
        box: As in :class:`CutMix`.

    Reference:
        Park, Yun and Chun, arXiv:2208.09913, section 4 (HMix).
    """

    method: ClassVar[str] = "hmix"
    r: float = 0.5
    gamma: float | None = None
    mode: Literal["exact", "nominal"] = "exact"
    box: Box = "clip"

    def __post_init__(self) -> None:
        super().__post_init__()
        number("r", self.r, 0.0, 1.0, "a share in [0, 1]")
        if self.gamma is not None:
            number("gamma", self.gamma, 0.01, 100.0, "a number in [0.01, 100], or None")
        known("mode", self.mode, MODES["hmix"])
        known("box", self.box, PLACES)

    def _fields(self) -> dict[str, float]:
        mode, box = MODES["hmix"][self.mode], BOXES[self.box]
        return {"r": self.r, "r_gamma": self.gamma or 0.0, "mode": mode, "box": box}


@dataclass(frozen=True, kw_only=True)
class GMix(Leaf):
    """A Gaussian bump of one image in the other, around a point drawn anywhere in the image.

    Attributes:
        mode: ``"code"``: as the authors' code does, a bump of area min(lam, 1 - lam) and the mean
            of the mask as label weight (much of a bump may lie outside, so weights near 1/2 never
            occur); ``"paper"``: as printed, twice that area and lambda as label weight;
            ``"exact"``: the width that makes the mean of the mask lambda.

    Reference:
        Park, Yun and Chun, arXiv:2208.09913, section 4 (GMix).
    """

    method: ClassVar[str] = "gmix"
    mode: Literal["code", "paper", "exact"] = "code"

    def __post_init__(self) -> None:
        super().__post_init__()
        known("mode", self.mode, MODES["gmix"])

    def _fields(self) -> dict[str, float]:
        return {"mode": MODES["gmix"][self.mode]}


@dataclass(frozen=True, kw_only=True)
class FMix(Leaf):
    """Regions of any shape: a random field is cut at the height that leaves a share of lambda.

    Serves sequences, images and volumes. The transform along an axis takes its length times its
    greatest prime factor: of sequences, choose a length of 16000 rather than 16001, a prime.

    Attributes:
        decay: Power with which the field's frequencies fall off; larger is smoother.
        law: ``"paper"``: all frequencies, eq. 3; ``"legacy"``: what the authors' code draws, which
            by a slip of an index has one wave per row.
        max_soft: Greatest share of the pixels that is ramped on either side of the cut, up to 0.5.
        rounding: How lambda becomes a number of pixels: ``"nearest"``, ``"stochastic"`` (lambda on
            average) or ``"coin"`` (up or down at even odds, as the authors' code does). The label
            weight is that number's share.
        reformulate: Draw lambda from Beta(alpha + 1, alpha) and keep the own label.
        modes: Keep only so many frequencies per axis: faster, and an approximation (at decay 3, 32
            change 0.02 % of the pixels of a 224 x 224 mask). None keeps all.

    Reference:
        Harris et al., FMix, arXiv:2002.12047, eq. 3 to 5.
    """

    method: ClassVar[str] = "fmix"
    decay: float = 3.0
    law: Literal["paper", "legacy"] = "paper"
    max_soft: float = 0.0
    rounding: Rounding = "nearest"
    reformulate: bool = False
    modes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        number("decay", self.decay, 0.0, 10.0, "a number in [0, 10]")
        known("law", self.law, MODES["fmix"])
        number("max_soft", self.max_soft, 0.0, 0.5, "a share in [0, 0.5]")
        known("rounding", self.rounding, ROUNDINGS)
        if not isinstance(self.reformulate, bool):
            raise TypeError(f"reformulate: expected True or False, got {self.reformulate!r}")
        if self.modes is not None:
            whole("modes", self.modes, 1, 2**31, "a whole number of at least 1, or None for all")
            if self.law == "legacy":
                raise ValueError("modes: expected None with law='legacy', which has one already")

    def _fields(self) -> dict[str, float]:
        return {
            "decay": self.decay,
            "max_soft": self.max_soft,
            "mode": MODES["fmix"][self.law],
            "rounding": ROUNDINGS[self.rounding],
            "reformulate": self.reformulate,
            "modes": self.modes or 0,
        }


@dataclass(frozen=True, kw_only=True)
class ResizeMix(Leaf):
    """The whole partner, shrunk by a factor tau into a box inside the image.

    Attributes:
        tau: Bounds ``(low, high)`` of the factor, which is uniform between them.

    Reference:
        Qin et al., ResizeMix, arXiv:2012.11101; nearest pixels and a box that is shifted inside, as
        in the authors' code.
    """

    method: ClassVar[str] = "resizemix"
    tau: tuple[float, float] = (0.1, 0.8)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "tau", shares("tau", self.tau))

    def _fields(self) -> dict[str, float]:
        low, high = self.tau
        return {"min_side": low, "max_side": high}


@dataclass(frozen=True, kw_only=True)
class SaliencyMix(Leaf):
    """CutMix whose box is centred on the partner's most salient pixel.

    Drawing it takes the peaks of the images, as :func:`dali_msda.saliency` finds them;
    :func:`dali_msda.mix` does so itself. With ``scope="batch"`` all boxes are that of the first
    sample, around its partner's peak, as in the authors' code; the two of a ``"pair"`` share lambda
    alone, each around the other's peak.

    Attributes:
        box: ``"clip"``: cut off at the border, as the authors' code does; ``"inside"``: shifted
            inside, so that the peak need not be its centre; ``"wrap"``: round the border.

    Reference:
        Uddin et al., SaliencyMix, ICLR 2021, arXiv:2006.01791; sizes and clipping as in the
        authors' code, which follows CutMix.
    """

    method: ClassVar[str] = "saliencymix"
    box: Box = "clip"

    def __post_init__(self) -> None:
        super().__post_init__()
        known("box", self.box, PLACES)

    def _fields(self) -> dict[str, float]:
        return {"box": BOXES[self.box]}


@dataclass(frozen=True, kw_only=True)
class SmoothMix(Leaf):
    """A Gaussian bump of the partner, of random width, around any pixel.

    The label weight is the mean of the mask. ``alpha`` has no effect.

    Attributes:
        sigma: Bounds ``(low, high)`` of the bump's standard deviation, which is uniform between
            them, as shares of the image's side (of a square with as many pixels, where it is none).

    Reference:
        Lee et al., SmoothMix: a Simple Yet Effective Data Augmentation to Train Robust
        Classifiers, CVPR Workshops 2020, section 3.
    """

    method: ClassVar[str] = "smoothmix"
    sigma: tuple[float, float] = (0.25, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sigma", shares("sigma", self.sigma))

    def _fields(self) -> dict[str, float]:
        low, high = self.sigma
        return {"min_side": low, "max_side": high}


@dataclass(frozen=True, kw_only=True)
class Cutout(Leaf):
    """A square that is set to 0 in the output, the mean colour where it is normalised.

    Nobody is mixed and the label is kept; ``alpha`` and ``partner`` have no effect.

    Attributes:
        length: Side of the square in pixels (an odd one counts as one less, as in the authors'
            code); it is centred on any pixel and cut off at the border.

    Reference:
        DeVries and Taylor, Cutout, arXiv:1708.04552.
    """

    method: ClassVar[str] = "cutout"
    length: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("length", self.length, 1, 2**31, "a whole number of pixels of at least 1")

    def _fields(self) -> dict[str, float]:
        return {"length": self.length}


@dataclass(frozen=True, kw_only=True)
class LaMix(Policy):
    """Batches of originals and batches of averaged pairs in turn: the loader's half of LaMix.

    The pixels of a pair are always averaged, ``(own + partner) / 2``; ``lam ~ U(0, 1)`` moves the
    label alone. ``plan["sources"]`` tells which samples are pairs (2) and which originals (1). The
    model's half, a head for the global label, goes with :func:`dali_msda.torch.lamix_loss`.

    Attributes:
        partner: As in :class:`Leaf`.

    Reference:
        Bypassing the Random Input Mixing in Mixup, ICLR 2021 submission, section 3.
    """

    partner: Partner = "permutation"

    def __post_init__(self) -> None:
        known("partner", self.partner, PARTNERS)

    def leaves(self) -> np.ndarray:
        """See :meth:`Policy.leaves`."""
        originals, pairs = (Mixup(partner=self.partner, prob=prob) for prob in (0.0, 1.0))
        leaves = Alternate([originals, pairs]).leaves()
        leaves["mode"] = MODES["mixup"]["average"]
        return leaves


_KINDS = (Mixup, CutMix, FMix, HMix, GMix, ResizeMix, SaliencyMix, Cutout, SmoothMix, PuzzleMix)
POLICIES: dict[str, type[Leaf]] = {kind.method: kind for kind in _KINDS}
"""Policy class by the name of its method."""
