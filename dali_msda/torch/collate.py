"""Mixing in the workers of a ``DataLoader``: a collate function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dali_msda import loader_draws
from dali_msda.backends.cpu_library import LAYOUTS
from dali_msda.backends.shapes import whole
from dali_msda.ops import blend
from dali_msda.plan import draw
from dali_msda.policy import Policy
from dali_msda.saliency import saliency
from dali_msda.torch.draw_key import ProcessRank, SharedNumber
from dali_msda.torch.indexed import NO_EPOCH, Place, Sample
from dali_msda.torch.samples import Fields, batch_like, columns
from dali_msda.torch.settings import MixingSettings
from dali_msda.torch.worker_memory import empty_batch, handed_over


class Collate(MixingSettings):
    """Mirrors, mixes and normalises a batch in one pass, in the worker that collates it.

    ::

        collate = Collate(CutMix(), num_classes=1000, mean=MEAN, std=STD, mirror=0.5)
        loader = DataLoader(Indexed(data), 256, shuffle=True, num_workers=8, collate_fn=collate)
        for epoch in range(90):
            collate.set_epoch(epoch)
            for images, targets in loader:
                loss = soft_target_cross_entropy(model(images), targets)

    The plan is a pure function of the seed, the epoch and the dataset indices of the batch: the
    same for any number of workers and batches ahead, whatever the generators of torch and NumPy
    hold, another in every epoch, and the same again when a run is resumed by its epoch. Ranks of
    distributed training may share a seed: on rank r the draws of a sample follow from
    ``index + r * 2**32``. So copies of it on several ranks, as repeated augmentation makes them,
    are mixed in several ways, and copies within a batch draw each for itself as well. Only copies
    in several batches of one rank share flip, lambda and box, since a worker knows one batch alone.
    Samplers that yield copies in a row, as timm's ``RepeatAugSampler`` does, part them at the ends
    of batches only.

    Samples are pairs of an image and a label, longer tuples, or dictionaries, and a batch is what
    they are. Images are of one shape; whatever else a sample holds is collated as torch does it,
    and stays that of the own sample. Where the samples of a stream have no index, ``key`` names a
    field that tells them apart::

        collate = Collate(CutMix(), 1000, image="jpg", label="cls", key="__key__")

    An image is uint8: an array ``(H,
    W, C)`` or ``(H, W)``, a PIL image, or a tensor ``(C, H, W)``, as torchvision gives them. Of
    PIL's modes, L, RGB and RGBA stay as they are, 1 becomes L, and P (whose values are numbers of
    colours), CMYK, YCbCr and HSV become RGB; the others are refused. A label is a class index, or a
    row of floats ``(C,)``.

    Args:
        policy: What to draw. None mixes nothing; the labels then come as they are, int64 ``(B,)``
            or float32 ``(B, classes)``. The interpolations of :class:`dali_msda.MultiMix` follow
            one another: ``B * k`` samples, which ``reshape(B, k, ...)`` separates.
        num_classes: Number of classes; needed for dense rows of class indices.
        channels_last: Memory order of the batch; its shape is ``(B, C, H, W)`` either way.
        layout: ``"HWC"`` or ``"CHW"``, of arrays and tensors alike. By default arrays are HWC and
            tensors CHW, and what looks like the other, such as an array ``(3, 64, 64)``, is
            refused.
        image: Name or place of the image in a sample; by default ``"image"``, or 0.
        label: Name or place of the label; by default ``"label"``, or 1.
        key: Name or place of what tells samples apart, instead of their index: a whole number, or
            a text of which a hash is taken. Samples then need no :class:`Indexed`.
        rank: Number of the process; by default that of ``torch.distributed``, or 0.
        seed: Key of all random numbers, below 2**64.
        mean: Subtracted from images, a number or one per channel, in units of 0 to 255.
        std: Divided by, likewise.
        dtype: ``"uint8"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``, or a torch type; by
            default uint8, or float32 when ``mean`` or ``std`` is given.
        mirror: Probability that an image is flipped left to right before it is mixed.
        compact: Return labels and weights instead of dense rows.
        smoothing: Share of the mass of dense rows that is spread over all classes.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range; when it is
            called, if a sample is, or if no epoch was set.
    """

    def __init__(
        self,
        policy: Policy | None,
        num_classes: int | None = None,
        *,
        channels_last: bool = False,
        layout: str | None = None,
        image: str | int | None = None,
        label: str | int | None = None,
        key: str | int | None = None,
        rank: int | None = None,
        seed: int = 0,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        dtype: str | torch.dtype | None = None,
        mirror: float = 0.0,
        compact: bool = False,
        smoothing: float = 0.0,
    ):
        super().__init__(
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
        if layout is not None and not (isinstance(layout, str) and layout in LAYOUTS):
            raise ValueError(f"layout: expected 'HWC', 'CHW' or None, got {layout!r}")
        self.channels_last, self.layout = channels_last, layout
        self.fields = Fields(image, label, key)
        self._rank = ProcessRank(rank)
        self._epoch = SharedNumber(NO_EPOCH)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next batches belong to; call it before each loop over the loader.

        It reaches workers that live on (``persistent_workers``). Without any call there is an
        error. If a later one is forgotten, each sample is mixed with the lambda and the box that it
        had in the epoch before; :class:`NumberedBatches` counts by itself.
        """
        self._epoch.value = whole("epoch", epoch, 0, 2**32)

    @property
    def epoch(self) -> int | None:
        """What :meth:`set_epoch` was given last."""
        epoch = self._epoch.value
        return None if epoch == NO_EPOCH else epoch

    def __call__(self, samples: Sequence[Sample | object]) -> tuple | dict[str, object]:
        """Make a batch.

        Args:
            samples: What :class:`Indexed` gives, or with ``key`` the samples themselves.

        Returns:
            ``images, targets``: ``(B, C, H, W)`` and float32 ``(B, classes)``; or, if ``compact``,
            ``images, labels, weights``, int64 ``(B, n)`` and float32 ``(B, n)``, where n = 2 or
            the greatest number of sources that the policy mixes. Of longer tuples it is a tuple
            with these in the places of image and label. Of dictionaries it is one, where the
            weights are called as the label is with ``_weights`` behind it.

        Raises:
            TypeError, ValueError: If a sample is of another kind, or no epoch was set.
        """
        ids, images, labels, values = columns(samples, self.layout, self.fields)
        ids += np.uint64(self._rank.number() << 32)
        epoch, step = self._steps(getattr(samples[0], "place", None))
        threads = torch.get_num_threads()  # 1 in a worker
        flips = None
        if self.mirror:
            flips = loader_draws.flips(ids, self.mirror, seed=self.seed, step=epoch)
        peaks = None
        if self.drawn.needs_peaks:
            peaks = saliency(images, mirror=flips, threads=threads)
        shape = tuple(images.shape[1:3])
        plan = draw(self.drawn, len(ids), *shape, seed=self.seed, step=step, ids=ids, peaks=peaks)
        batch = self._empty_batch(plan.shape, images.shape[1:])
        layout = "HWC" if self.channels_last else "CHW"
        how = dict(mirror=flips, out=batch, layout=layout, threads=threads)
        blend(images, plan, **how, **self.blending)
        mixed = batch.flatten(0, plan.ndim - 1)
        if self.channels_last:
            mixed = mixed.permute(0, 3, 1, 2)
        made = handed_over(mixed, batch), *self._targets(torch.from_numpy(labels), plan)
        return batch_like(values, self.fields, made, repeats=plan.size // len(ids))

    def _steps(self, place: Place | None) -> tuple[int, int]:
        """The epoch, and the step of the plan's draws, the same as those of FFCV's Mixer."""
        numbered = place is not None and place.number is not None
        own = None if numbered else self.epoch
        if place is None and own is None:
            raise ValueError(
                "epoch: expected collate.set_epoch(n) before the first batch of every epoch n, got "
                "none; or let NumberedBatches count them"
            )
        epoch = place.epoch if own is None else own
        if not self.drawn.takes_turns:
            return epoch, epoch
        if not numbered:
            raise ValueError(
                f"policy: expected one that does not take turns, or NumberedBatches, got "
                f"{self.policy!r}; a worker does not know the numbers of its batches: "
                "DataLoader(..., batch_sampler=NumberedBatches(sampler, batch_size))"
            )
        return epoch, epoch * place.batches + place.number

    def _empty_batch(self, lead: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
        if not self.channels_last:
            shape = (shape[2], *shape[:2])
        return empty_batch((*lead, *shape), self._output_dtype)
