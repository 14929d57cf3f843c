"""The ImageNet loaders of plain PyTorch: workers of a ``DataLoader`` decode, crop and mix.

They are used as the DALI loaders in dali.py are, take the same arguments and yield the same kind of
batches, without DALI. Order, crops, flips and plans are functions of the seed, the epoch and the
index of the image, and the bits do not depend on the number of workers.
"""

import atexit
import weakref
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from dali_msda.pipelines.data.datasets import DatasetError, Shards
from dali_msda.pipelines.loaders.epochs import Epochs, EvaluationEpochs, TrainingEpochs
from dali_msda.pipelines.loaders.torch_workers import (
    CentralCrops,
    CollateCopies,
    RandomCrops,
    ignore_signals,
)
from dali_msda.pipelines.training.schedules import size_at
from dali_msda.torch import Collate, Indices, Place

__all__ = ["EvaluationLoader", "TrainingLoader"]


_OPEN: weakref.WeakSet = weakref.WeakSet()


@atexit.register  # after torch's own, so that it runs before them
def _close_all() -> None:
    """Stop the workers of loaders that nobody closed.

    As the interpreter ends, torch leaves its workers to a signal, which these ignore.
    """
    for loader in list(_OPEN):
        loader.close()


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
        self.samples = len(self.source.files)
        self._expect_shards()
        self._loader: DataLoader | None = DataLoader(
            self._dataset(),
            batch_sampler=_RemainingBatches(self),
            num_workers=self.threads,
            prefetch_factor=self.prefetch,
            persistent_workers=True,
            collate_fn=self._collate_fn(),
            worker_init_fn=ignore_signals,
            pin_memory=torch.cuda.is_available(),
            # Without one of its own, each epoch would draw from torch's global generator, from
            # which a model's dropout draws as well: a resumed run would then go another way.
            generator=torch.Generator(),
        )
        self._iterator: Iterator | None = None
        _OPEN.add(self)

    def _dataset(self) -> Dataset:
        """What the workers read."""
        raise NotImplementedError

    def _collate_fn(self) -> CollateCopies:
        """What the workers make of it."""
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
    """See :class:`TrainingEpochs`.

    Copy ``c`` of image ``i`` is drawn as image ``i + c * samples`` would be.
    """

    def _dataset(self) -> Dataset:
        how = (self.seed, (self.min_area, self.max_area), self.sizes, self.copies)
        return RandomCrops(self.source, self._way_out(), *how)

    def _collate_fn(self) -> CollateCopies:
        compact = self.compact and self.policy is not None
        collate = Collate(
            self.policy, self.num_classes, mirror=0.5, compact=compact, **self._settings()
        )
        return CollateCopies(collate, self.copies)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        yield from super().__iter__()
        self.size = size_at(self.sizes, self.epoch)

    def load_state_dict(self, state: dict) -> None:
        """See :class:`TrainingEpochs`."""
        super().load_state_dict(state)
        self._iterator = None


class EvaluationLoader(EvaluationEpochs, Loader):
    """See :class:`EvaluationEpochs`."""

    def _dataset(self) -> Dataset:
        return CentralCrops(self.source, self._way_out(), self.resize, self.size)

    def _collate_fn(self) -> CollateCopies:
        return CollateCopies(Collate(None, **self._settings()), 1)


class _RemainingBatches:
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
