"""Mixing in the training step: a transform of batches on the CPU or on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.plan import draw
from dali_msda.policy import Policy
from dali_msda.saliency import saliency
from dali_msda.torch.batches import (
    HALF_TYPES,
    blended,
    expect_batch,
    expect_images,
    readable,
    uncompiled,
)
from dali_msda.torch.draw_key import DrawingModule, DrawKey
from dali_msda.torch.settings import MixingSettings

SHAPES = "(B, C, L)", "(B, C, H, W)", "(B, C, D, H, W)"


class Mixer(MixingSettings, DrawingModule):
    """Mixes batches of the training step, on the CPU or on a GPU, in the current stream there.

    ::

        mixer = Mixer(CutMix(), num_classes=1000, seed=0)
        for images, labels in loader:
            images, targets = mixer(images.to(device), labels.to(device))

    The plan is a pure function of the seed, the rank and the number of the batch, which the mixer
    counts; a checkpoint takes it along by :meth:`state_dict`. So two mixers with one seed, and a
    mixer and its copy, draw alike: give each view of a batch, and each method, a seed of its own.

    Images are ``(B, C, H, W)`` in either memory order, contiguous or ``channels_last``, and come
    back as new memory in the same order; for ``(B, H, W, C)`` give ``images.permute(0, 3, 1, 2)``.
    Sequences ``(B, C, L)`` and volumes ``(B, C, D, H, W)`` are served by policies of Mixup and
    FMix. uint8 and float32 are read as they are. Some images are copied first: float16 and bfloat16
    to float32, other strides to contiguous ones, and images for :class:`dali_msda.SaliencyMix` to
    channels last.

    It is a module without tensors: ``.to()`` and the modes of training and evaluation have no say.
    In an ``nn.Sequential`` it takes a pair ``(images, labels)``. Where only images are handed on,
    as in those of kornia, it mixes them alone, and the labels come afterwards::

        augment = kornia.augmentation.ImageSequential(RandomHorizontalFlip(), mixer)
        images, targets = augment(images), mixer.targets(labels)

    Args:
        policy: What to draw. The interpolations of :class:`dali_msda.MultiMix` follow one another:
            ``B * k`` samples, which ``reshape(B, k, ...)`` separates.
        num_classes: Number of classes; needed for dense rows of class indices.
        rank: Number of the process; ranks that share a seed then differ. By default that of
            ``torch.distributed``, or 0.
        seed: Key of all random numbers, below 2**64.
        mean: Subtracted from images, a number or one per channel, in units of the images.
        std: Divided by, likewise.
        dtype: ``"uint8"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``, or a torch type; by
            default the images', or float32 when ``mean`` or ``std`` is given to bytes.
        mirror: Probability that an image is flipped left to right before it is mixed.
        compact: Return labels and weights instead of dense rows.
        smoothing: Share of the mass of dense rows that is spread over all classes.

    Attributes:
        plan: Records of the batch that was mixed last, as :func:`dali_msda.draw` makes them.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.
    """

    def __init__(
        self,
        policy: Policy,
        num_classes: int | None = None,
        *,
        rank: int | None = None,
        seed: int = 0,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        dtype: str | torch.dtype | None = None,
        mirror: float = 0.0,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        if policy is None:
            raise TypeError("policy: expected a policy such as CutMix(alpha=1.0), got None")
        torch.nn.Module.__init__(self)
        MixingSettings.__init__(
            self,
            policy,
            num_classes,
            seed=seed,
            mean=mean,
            std=std,
            dtype=dtype,
            mirror=mirror,
            compact=compact,
            smoothing=smoothing,
        )
        self._key = DrawKey(self.seed, rank)
        self.plan: np.ndarray | None = None

    @property
    def step(self) -> int:
        """Number of the next batch."""
        return self._key.step

    def extra_repr(self) -> str:
        """What ``repr`` says of it within a model."""
        return f"{self.policy}, num_classes={self.num_classes}"

    @uncompiled
    def forward(
        self,
        images: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
        labels: torch.Tensor | None = None,
        *,
        step: int | None = None,
    ) -> tuple[torch.Tensor, ...] | torch.Tensor:
        """Mix a batch.

        Args:
            images: uint8, float32, float16 or bfloat16 ``(B, C, H, W)``, ``(B, C, L)`` or
                ``(B, C, D, H, W)``; or the pair of images and labels.
            labels: Class indices ``(B,)``, int64 or int32, or soft labels ``(B, classes)``;
                None for :meth:`targets` to take them.
            step: Number of the batch, instead of the count.

        Returns:
            ``images, targets``: ``(B, C, H, W)`` and float32 ``(B, classes)``; or, if ``compact``,
            ``images, labels, weights``, int64 ``(B, n)`` and float32 ``(B, n)``, where n = 2 or
            the greatest number of sources that the policy mixes. Without labels, images alone.

        Raises:
            TypeError, ValueError: If the tensors do not fit.
            RuntimeError: In a worker of a ``DataLoader``, whose copies would all draw the same.
        """
        if labels is None and isinstance(images, list | tuple) and len(images) == 2:
            images, labels = images
        if labels is None:
            expect_images(images, shapes=SHAPES)
        else:
            expect_batch(images, labels, shapes=SHAPES)
        key = self._key.arguments()
        if step is not None:
            key["step"] = whole("step", step, 0, 2**32)
        mixed, plan = self._mixed(images, **key)
        made = mixed if labels is None else (mixed, *self._targets(labels, plan))
        self.plan = plan
        if step is None:
            self._key.step += 1
        return made

    def targets(self, labels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Targets of the batch that was mixed last, where it was given without labels.

        Args:
            labels: As the call takes them.

        Returns:
            Targets, or if ``compact`` labels and weights, as the call returns them.

        Raises:
            TypeError, ValueError: If no batch of as many samples was mixed.
        """
        mixed = 0 if self.plan is None else len(self.plan)
        if len(labels) != mixed or not mixed:
            raise ValueError(
                f"labels: expected {mixed}, as the batch that was mixed last has, got "
                f"{len(labels)}; mix the images first"
            )
        made = self._targets(labels, self.plan)
        return made if self.compact else made[0]

    def _mixed(
        self, images: torch.Tensor, seed: int, step: int, rank: int
    ) -> tuple[torch.Tensor, np.ndarray]:
        pixels = readable(images)
        flips = peaks = None
        if self.mirror:
            slots = np.uint64(rank << 32) + np.arange(len(images), dtype=np.uint64)
            flips = loader_draws.flips(slots, self.mirror, seed=seed, step=step)
        if self.drawn.needs_peaks and images.ndim == 4:
            peaks = saliency(pixels.movedim(1, -1).contiguous(), mirror=flips).cpu()
        shape = tuple(images.shape[2:])
        key = dict(seed=seed, step=step, rank=rank)
        plan = draw(self.drawn, len(images), shape=shape, peaks=peaks, **key)
        how = self.blending
        if (
            images.dtype in HALF_TYPES
            and how["dtype"] is None
            and how["mean"] is how["std"] is None
        ):
            how = how | {"dtype": images.dtype}
        mixed = blended(pixels, plan, mirror=flips, **how)
        return mixed, plan

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> None:
        """Go on from what :meth:`state_dict` returned, in a mixer of the same arguments.

        Raises:
            TypeError, ValueError: If it is not such a state, or had another seed.
        """
        self._key.go_on("mixer state", state_dict)
