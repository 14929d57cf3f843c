"""Puzzle Mix in the training step, on the CPU or on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dali_msda import puzzle
from dali_msda.plan import draw
from dali_msda.policy import Mixup, MultiMix
from dali_msda.policy import PuzzleMix as PuzzlePolicy
from dali_msda.policy.words import Partner, Scope, Share
from dali_msda.torch.batches import as_images, as_pixels, expect_batch, uncompiled
from dali_msda.torch.draw_key import CountsBatches, DrawKey
from dali_msda.torch.gradient_saliency import expect_maps, warn_of_uniform_maps
from dali_msda.torch.settings import MixingSettings
from dali_msda.types import PerChannel


class PuzzleMix(CountsBatches):
    """Mixes batches by their saliency: masks of blocks, some of which move.

    ::

        mix = PuzzleMix(num_classes=100, mean=MEAN, std=STD, seed=0)
        for images, labels in loader:
            mixed, targets = mix(images, labels, saliency(model, images, labels))

    The plan of a batch is one of :class:`dali_msda.PuzzleMix`, drawn by the seed, the rank and the
    number of the batch, which is counted. All else follows from the plan, the images and the
    saliency, to the bit. The label weight is the mean of the mask.

    Args:
        num_classes: Number of classes; needed for dense rows of class indices.
        alpha: As :class:`dali_msda.PuzzleMix` takes it; so are the next four. The released code
            draws with ``scope="batch"``.
        scope: Who shares a draw.
        partner: Who is mixed with whom.
        prob: Probability that mixing happens at all.
        blocks: Parts of the mask along each side.
        settings: How masks are found and what moves.
        k: Interpolations of each pair, as :class:`dali_msda.MultiMix` has them: their masks are
            nested and they follow one another, ``B * k`` samples. None for one.
        share: Who shares the lambdas of interpolations, as in :class:`dali_msda.MultiMix`.
        prior_lam: As :class:`dali_msda.PuzzleMix` takes it.
        mean: Of images that are normalised: ``images * std + mean`` lies in [0, 1], where borders
            are compared. Neither is needed for bytes, or for floats in [0, 1].
        std: Likewise.
        seed: Key of all random numbers, below 2**64.
        rank: Number of the process; by default that of ``torch.distributed``, or 0.
        compact: Return labels and weights instead of dense rows.
        smoothing: Share of the mass of dense rows that is spread over all classes.

    Attributes:
        policy: What is drawn: a :class:`dali_msda.PuzzleMix`, or a MultiMix of one.
        solution: What was found for the batch before, :class:`dali_msda.puzzle.Solution`, with its
            plan; None at first.

    On a GPU nothing waits for the GPU, unless somebody asks for :attr:`uniform_maps` or for the
    plan of a solution.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.

    Reference:
        Kim, Choo and Song, Puzzle Mix, ICML 2020, arXiv:2009.06962; interpolations: Shen et al.,
        arXiv:2406.01417.
    """

    _state_name = "puzzle state"

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        alpha: float = 1.0,
        scope: Scope = "sample",
        partner: Partner = "permutation",
        prob: float = 1.0,
        blocks: Sequence[int] = (2, 4, 8, 16),
        settings: puzzle.PuzzleSettings | None = None,
        k: int | None = None,
        share: Share = "pair",
        prior_lam: float | None = None,
        mean: PerChannel | None = None,
        std: PerChannel | None = None,
        seed: int = 0,
        rank: int | None = None,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        settings = puzzle.PuzzleSettings() if settings is None else settings
        if type(settings) is not puzzle.PuzzleSettings:  # a policy would have more to say
            raise TypeError(f"settings: expected PuzzleSettings, got {settings!r}")
        how = {name: getattr(settings, name) for name in puzzle.PuzzleSettings.__dataclass_fields__}
        how |= dict(alpha=alpha, scope=scope, partner=partner, prob=prob)
        self._puzzle = PuzzlePolicy(blocks=blocks, prior_lam=prior_lam, **how)
        self.policy = self._puzzle if k is None else MultiMix(self._puzzle, k, share)
        self.blocks = self._puzzle.blocks
        # All that labels have to know of the policy is that it mixes two samples.
        options = dict(seed=seed, compact=compact, smoothing=smoothing)
        self._labels = MixingSettings(Mixup(), num_classes, **options)
        self._solving = dict(settings=self._puzzle, mean=mean, std=std)
        self._key = DrawKey(self._labels.seed, rank)
        self._known_shape: tuple[int, ...] | None = None
        self.solution: puzzle.Solution | None = None
        self._uniform: int | torch.Tensor = 0

    @property
    def uniform_maps(self) -> int:
        """Saliency maps that had a value that is negative or not finite, or nothing above 0.

        They were taken to be uniform. On the CPU the first are warned of.
        """
        return int(self._uniform)

    @uncompiled
    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        saliency: torch.Tensor,
        *,
        step: int | None = None,
        plan: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Mix a batch.

        Args:
            images: uint8, float32, float16 or bfloat16 ``(B, C, H, W)``.
            labels: Class indices ``(B,)`` or soft labels ``(B, classes)``.
            saliency: Floats ``(B, H, W)``, as :func:`dali_msda.torch.saliency` finds them.
            step: Number of the batch, instead of the count.
            plan: What to do, instead of a draw: that of an earlier :attr:`solution`, or a saved
                one.

        Returns:
            ``images, targets``: ``(B, C, H, W)`` of the images' type and memory order, and float32
            ``(B, classes)``; or, if ``compact``, ``images, labels, weights``.

        Raises:
            TypeError, ValueError: If the tensors do not fit, or any of ``blocks`` does not divide
                the images.
            RuntimeError: In a worker of a ``DataLoader``, whose copies would all draw the same.
        """
        expect_batch(images, labels)
        maps = expect_maps(saliency).detach().float().contiguous()
        shape = tuple(images.shape[2:])
        pixels, half = as_pixels(images)
        if len(images) and shape != self._known_shape:
            self._expect_all_fit(pixels[:1], maps[:1])
            self._known_shape = shape
        counts = plan is None and step is None
        if plan is None:
            key = self._key.arguments() | ({} if step is None else {"step": step})
            plan = draw(self.policy, len(images), *shape, **key)
        found = puzzle.solve(pixels, maps, plan, **self._solving)
        self._count(found)
        mixed = puzzle.blend(pixels, found, dtype=half).flatten(0, plan.ndim - 1)
        targets = self._labels._targets(labels, found.drawn, found.weights)
        self.solution = found
        if counts:
            self._key.step += 1
        return as_images(mixed, pixels), *targets

    def _expect_all_fit(self, pixels: torch.Tensor, maps: torch.Tensor) -> None:
        """Raise ValueError unless all numbers of blocks divide the images, before one is drawn."""
        one = draw(Mixup(), 1, *pixels.shape[1:3], seed=0, step=0)
        for count in self.blocks:
            puzzle.solve(pixels, maps, one, blocks=count, **self._solving)

    def _count(self, found: puzzle.Solution) -> None:
        bad = found.uniform.sum()
        if not isinstance(bad, torch.Tensor) and bad and not self._uniform:
            warn_of_uniform_maps(int(bad), len(found.uniform))
        self._uniform = self._uniform + bad
