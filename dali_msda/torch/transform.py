"""Mixing in the training step: a transform of batches, where they are."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import get_worker_info

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.ops import blend
from dali_msda.plan import draw
from dali_msda.policy import Policy
from dali_msda.saliency import saliency
from dali_msda.torch.mixing import Mixing

HALVES = (torch.float16, torch.bfloat16)


class Mixer(Mixing):
    """Mixes batches of the training step, on the CPU or on a GPU, in the current stream there.

    ::

        mixer = Mixer(CutMix(), num_classes=1000, seed=0)
        for images, labels in loader:
            images, targets = mixer(images.to(device), labels.to(device))

    The plan is a pure function of the seed, the rank and the number of the batch, which the mixer
    counts; a checkpoint takes it along by :meth:`state_dict`.

    Images are ``(B, C, H, W)`` in either memory order, contiguous or ``channels_last``, and come
    back as new memory in the same order; of ``(B, H, W, C)`` give ``images.permute(0, 3, 1, 2)``.
    uint8 and float32 are read as they are. float16 and bfloat16 are first copied to float32, and
    so are images in other strides to a contiguous order, and those for
    :class:`dali_msda.SaliencyMix` to channels last.

    Args:
        policy: What to draw. The interpolations of :class:`dali_msda.MultiMix` follow one another:
            ``B * k`` samples, which ``reshape(B, k, ...)`` takes apart.
        num_classes: Number of classes; needed for dense rows of class indices.
        rank: Number of the process; ranks that share a seed then differ. By default that of
            ``torch.distributed``, or 0.
        settings: Keyword arguments ``seed``, ``mean``, ``std`` (in units of the images), ``dtype``
            (by default the images', or float32 when ``mean`` or ``std`` is given to bytes),
            ``mirror``, ``compact`` and ``smoothing``, as for
            :class:`dali_msda.torch.mixing.Mixing`.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.
    """

    def __init__(
        self,
        policy: Policy,
        num_classes: int | None = None,
        *,
        rank: int | None = None,
        **settings: object,
    ):
        if policy is None:
            raise TypeError("policy: expected a policy such as CutMix(alpha=1.0), got None")
        super().__init__(policy, num_classes, **settings)
        self._count = Count(self.seed, rank)

    @property
    def step(self) -> int:
        """Number of the next batch."""
        return self._count.step

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, *, step: int | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Mix a batch.

        Args:
            images: uint8, float32, float16 or bfloat16 ``(B, C, H, W)``.
            labels: Class indices ``(B,)``, int64 or int32, or soft labels ``(B, classes)``.
            step: Number of the batch, instead of the count.

        Returns:
            ``images, targets``: ``(B, C, H, W)`` and float32 ``(B, classes)``; or, if ``compact``,
            ``images, labels, weights``, int64 ``(B, n)`` and float32 ``(B, n)``, where n = 2 or
            the greatest number of sources that the policy mixes.

        Raises:
            TypeError, ValueError: If the tensors do not fit.
            RuntimeError: In a worker of a ``DataLoader``, whose copies would all draw the same.
        """
        expect_batch(images, labels)
        key = self._count.key()
        if step is not None:
            key["step"] = whole("step", step, 0, 2**32)
        made = self._mixed(images, labels, **key)
        if step is None:
            self._count.step += 1
        return made

    def _mixed(
        self, images: torch.Tensor, labels: torch.Tensor, seed: int, step: int, rank: int
    ) -> tuple[torch.Tensor, ...]:
        pixels = readable(images)
        flips = peaks = None
        if self.mirror:
            slots = np.uint64(rank << 32) + np.arange(len(images), dtype=np.uint64)
            flips = loader_draws.flips(slots, self.mirror, seed=seed, step=step)
        if self.drawn.needs_peaks:
            peaks = saliency(pixels.permute(0, 2, 3, 1).contiguous(), mirror=flips)
        shape = tuple(images.shape[2:])
        key = dict(seed=seed, step=step, rank=rank)
        plan = draw(self.drawn, len(images), *shape, peaks=peaks, **key)
        how = self.blending
        if images.dtype in HALVES and how["dtype"] is None and how["mean"] is how["std"] is None:
            how = how | {"dtype": images.dtype}
        mixed = blended(pixels, plan, mirror=flips, **how)
        return mixed, *self._targets(labels, plan)

    def state_dict(self) -> dict[str, int]:
        """What a mixer of the same arguments needs to go on from the next batch."""
        return self._count.state()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where the mixer stood whose :meth:`state_dict` this is.

        Raises:
            ValueError: If it had another seed.
        """
        if state["seed"] != self.seed:
            raise ValueError(
                f"mixer state: expected seed {self.seed}, as in this run, got {state['seed']}"
            )
        self._count.restore(state)


class Count:
    """The key of a transform's draws: its seed, its rank, and a count of its batches.

    Args:
        seed: Key of all random numbers. None is torch's initial seed, as ``torch.manual_seed`` sets
            it; in a worker of a ``DataLoader`` that of the worker, another one in each epoch.
        rank: Number of the process, or None for that of ``torch.distributed``.

    Attributes:
        step: Number of the next batch.
    """

    def __init__(self, seed: int | None, rank: int | None):
        self.seed = None if seed is None else whole("seed", seed, 0, 2**64)
        self.rank = None if rank is None else whole("rank", rank, 0, 2**32)
        self.step = 0

    def key(self) -> dict[str, int]:
        """Arguments of :func:`dali_msda.draw` for the next batch.

        Raises:
            RuntimeError: In a worker with a seed of its own: each worker would draw the same.
        """
        if self.seed is not None and get_worker_info() is not None:
            raise RuntimeError(
                "seed: expected a call in the process that trains, got one in a worker of a "
                "DataLoader, where each copy would draw the same; use dali_msda.torch.Collate there"
            )
        return {**self.state(), "rank": current_rank() if self.rank is None else self.rank}

    def state(self) -> dict[str, int]:
        """What is needed to go on from the next batch."""
        seed = torch.initial_seed() % 2**64 if self.seed is None else self.seed
        return {"seed": seed, "step": self.step}

    def restore(self, state: dict[str, int]) -> None:
        """Go on where :meth:`state` was asked for."""
        self.seed = whole("seed", state["seed"], 0, 2**64)
        self.step = whole("step", state["step"], 0, 2**32)


def current_rank() -> int:
    """Number of this process in distributed training; 0 without."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def expect_batch(images: torch.Tensor, labels: torch.Tensor) -> None:
    """Raise TypeError or ValueError unless they are a batch of images and as many labels."""
    for name, tensor in (("images", images), ("labels", labels)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    if images.ndim != 4:
        raise ValueError(f"images: expected shape (B, C, H, W), got {tuple(images.shape)}")
    if images.dtype not in (torch.uint8, torch.float32, *HALVES):
        dtype = str(images.dtype).removeprefix("torch.")
        raise TypeError(f"images: expected uint8, float32, float16 or bfloat16, got {dtype}")
    if images.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            "images: expected data, got a tensor that requires a gradient, which mixing does not "
            "hand on; give images.detach(), or mix under torch.no_grad()"
        )
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise ValueError(
            f"labels: expected shape ({len(images)},) or ({len(images)}, classes), one per image, "
            f"got {tuple(labels.shape)}"
        )
    if labels.device != images.device:
        raise ValueError(
            f"labels: expected them on {images.device}, as the images are, got {labels.device}"
        )


def readable(images: torch.Tensor) -> torch.Tensor:
    """The images as the kernels read them: bytes or float32, in one of the two memory orders."""
    if images.dtype in HALVES:
        images = images.float()
    channels_last = torch.channels_last
    if images.is_contiguous() or images.is_contiguous(memory_format=channels_last):
        return images
    return images.contiguous()


def blended(images: torch.Tensor, plan: np.ndarray, **how: object) -> torch.Tensor:
    """:func:`dali_msda.blend` of ``(B, C, H, W)``, in the memory order in which they are.

    Interpolations, if there are any, follow one another.
    """
    planes = images.is_contiguous()
    mixed = blend(images.permute(0, 2, 3, 1), plan, layout="CHW" if planes else "HWC", **how)
    mixed = mixed.flatten(0, plan.ndim - 1)
    return mixed if planes else mixed.permute(0, 3, 1, 2)
