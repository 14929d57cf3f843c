"""The ImageNet loaders of plain PyTorch: workers of a ``DataLoader`` decode, crop and mix.

    source = datasets.find("imagenet/train")
    with TrainingLoader(source, batch_size=256, num_classes=1000, policy=policy) as loader:
        for epoch in range(90):
            for images, labels, weights in loader:  # (B, 3, 224, 224), (B, n), (B, n)
                ...

They take the arguments of those of DALI in imagenet.py and yield the same kind of batches, without
DALI. Order, crops, flips and plans are functions of the seed, the epoch and the index of the image,
and the bits do not depend on the number of workers.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dali_msda import loader_draws
from dali_msda.pipelines.data.datasets import DatasetError, Shards, some
from dali_msda.pipelines.loaders.epochs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Epochs,
    EvaluationEpochs,
    TrainingEpochs,
)
from dali_msda.pipelines.loaders.torch_workers import Collated, Middles, RandomParts, quietly
from dali_msda.pipelines.training.schedules import size_at
from dali_msda.torch import Collate, Indices, Place

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "EvaluationLoader", "TrainingLoader"]


class Loader(Epochs):
    """Iterates over one epoch per ``for`` loop; the base of the two loaders below.

    ``threads`` is the number of worker processes, each of which prepares ``prefetch`` batches
    ahead. ``device_id`` must be None, since all is done on the CPU; where there is a GPU, batches
    lie in pinned memory, so that they can be copied there beside the training.

    Args:
        source: Folders of images; archives cannot be read in any order.
        **options: As for :class:`Epochs`.
    """

    def _open(self) -> None:
        if isinstance(self.source, Shards):
            raise ValueError(
                f"source: expected a folder of class folders, got shards, {self.source.paths[0]}, "
                "whose images cannot be read in any order; unpack them, or use --loader dali"
            )
        if self.device_id is not None:
            raise ValueError(
                "device_id: expected None, since this loader works on the CPU, got "
                f"{self.device_id}; copy the batches with .to(device, non_blocking=True)"
            )
        labels = np.asarray(self.source.labels)
        wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
        if len(wrong):
            raise DatasetError(
                f"{some([self.source.files[k] for k in wrong])}: expected a label in "
                f"[0, {self.num_classes}), got {labels[wrong[0]]}"
            )
        self.samples = len(self.source.files)
        self._expect_shards()
        self._loader: DataLoader | None = DataLoader(
            self._pictures(),
            batch_sampler=_Rest(self),
            num_workers=self.threads,
            prefetch_factor=self.prefetch,
            persistent_workers=True,
            collate_fn=self._collated(),
            worker_init_fn=quietly,
            pin_memory=torch.cuda.is_available(),
        )
        self._iterator: Iterator | None = None

    def _pictures(self) -> Dataset:
        """What the workers read."""
        raise NotImplementedError

    def _collated(self) -> Collated:
        """What the workers make of it."""
        raise NotImplementedError

    def _order(self, epoch: int) -> np.ndarray:
        """Indices of this rank's images in an epoch, in the order in which they are read."""
        raise NotImplementedError

    def _settings(self) -> dict[str, object]:
        # Ranks read other images, so that draws may follow the images alone, as in all loaders.
        how = dict(seed=self.seed, rank=0, dtype=self.dtype, channels_last=self.channels_last)
        return how | self.normalise

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        while self.position < len(self):
            batch = self._next()
            self.position += 1
            yield batch
        self._iterator = None
        self.epoch, self.position = self.epoch + 1, 0

    def _next(self) -> tuple[torch.Tensor, ...]:
        if self._loader is None:
            raise self._closed()
        if self._iterator is None:
            self._iterator = iter(self._loader)
        try:
            batch = next(self._iterator)
        except BaseException:
            self._iterator = None
            raise
        if isinstance(batch, DatasetError):
            self._iterator = None
            raise batch
        return tuple(batch)

    def close(self) -> None:
        """See :class:`Epochs`."""
        self._iterator = self._loader = None


class TrainingLoader(TrainingEpochs, Loader):
    """Random crops, mirrored and mixed, in a new order each epoch.

    The last incomplete batch is dropped. What is dropped differs by epoch.

    Where an image yields several samples, ``copies`` times the ``k`` of a ``MultiMix``, these
    follow one another, copy by copy: ``B`` in what is yielded is the product of ``batch_size`` with
    both, and ``reshape(batch_size, copies, k, ...)`` takes it apart.

    Args:
        policy: What to mix, or None for none.
        compact: Yield labels and weights ``(B, n)``, ``n`` sources, instead of rows ``(B, C)``.
        min_area: Smallest area of a crop, as a share of the image, in (0, 1].
        size: Height and width of the output, in pixels, in epoch 0.
        sizes: Those from later epochs on, ``{epoch: pixels}``.
        copies: Batch augmentation: each image is decoded once, and cropped and mirrored this many
            times. The copies of one number are a batch that is mixed on its own, with draws of its
            own: copy ``c`` of image ``i`` as image ``i + c * samples`` would.
        **options: As for :class:`Loader`.

    Yields:
        ``images, labels, weights`` (int64 and float32) or ``images, targets`` (float32); without
        a policy ``images, labels``, the labels int64 ``(B,)``.

    Reference:
        Copies: Hoffer et al., Augment your batch, arXiv:1901.09335.
    """

    def _runs_per_epoch(self) -> int:
        return len(self)

    def _order(self, epoch: int) -> np.ndarray:
        order = loader_draws.order(self.samples, seed=self.seed, step=epoch)
        return order[self.shard_id :: self.num_shards][: len(self) * self.batch_size]

    def _pictures(self) -> Dataset:
        how = (self.seed, self.min_area, self.sizes, self.copies)
        return RandomParts(self.source, self._way_out(), *how)

    def _collated(self) -> Collated:
        compact = self.compact and self.policy is not None
        collate = Collate(
            self.policy, self.num_classes, mirror=0.5, compact=compact, **self._settings()
        )
        return Collated(collate, self.copies)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        yield from super().__iter__()
        self.size = size_at(self.sizes, self.epoch)

    def load_state_dict(self, state: dict) -> None:
        """See :class:`TrainingEpochs`."""
        super().load_state_dict(state)
        self._iterator = None


class EvaluationLoader(EvaluationEpochs, Loader):
    """The central crop of each image, each exactly once over all ranks.

    Shards differ by one image where the division leaves a rest, and the last batch of a rank is
    short, so the number of batches may differ by rank: do not communicate once per batch.

    Args:
        resize: Length of the shorter side before the crop, in pixels, at least ``size``.
        **options: As for :class:`Loader`.

    Yields:
        ``images, labels``, the labels int64 ``(B,)``.
    """

    def _order(self, epoch: int) -> np.ndarray:
        return np.arange(*self._shard())

    def _pictures(self) -> Dataset:
        return Middles(self.source, self._way_out(), self.resize, self.size)

    def _collated(self) -> Collated:
        return Collated(Collate(None, **self._settings()), 1)


class _Rest:
    """Batch sampler: what is left of the epoch in which a loader stands."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Indices]:
        epoch, size, batches = self.loader.epoch, self.loader.batch_size, len(self)
        order = self.loader._order(epoch)
        for number in range(self.loader.position, batches):
            indices = Indices(order[number * size : (number + 1) * size].tolist())
            indices.place = Place(epoch, number, batches)
            yield indices
