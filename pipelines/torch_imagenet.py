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

import os
import signal
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dali_msda import draws
from dali_msda.pipelines import decoding
from dali_msda.pipelines.datasets import DatasetError, ImageFolder, Shards, some
from dali_msda.pipelines.epochs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Epochs,
    EvaluationEpochs,
    TrainingEpochs,
)
from dali_msda.pipelines.schedules import size_at
from dali_msda.torch import Collate, Indices, Place, Sample

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
        if self.num_shards > self.samples:
            raise ValueError(
                f"num_shards: expected at most the number of images, got {self.num_shards}"
            )
        self._loader: DataLoader | None = DataLoader(
            self._pictures(),
            batch_sampler=_Rest(self),
            num_workers=self.threads,
            prefetch_factor=self.prefetch,
            persistent_workers=True,
            collate_fn=self._collated(),
            worker_init_fn=_quietly,
            pin_memory=torch.cuda.is_available(),
        )
        self._iterator: Iterator | None = None

    def _pictures(self) -> Dataset:
        """What the workers read."""
        raise NotImplementedError

    def _collated(self) -> "Collated":
        """What the workers make of it."""
        raise NotImplementedError

    def _order(self, epoch: int) -> np.ndarray:
        """Indices of this rank's images in an epoch, in the order in which they are read."""
        raise NotImplementedError

    def _settings(self) -> dict[str, object]:
        return dict(
            seed=self.seed, dtype=self.dtype, channels_last=self.channels_last, **self.normalise
        )

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
        order = draws.order(self.samples, seed=self.seed, step=epoch)
        return order[self.shard_id :: self.num_shards][: len(self) * self.batch_size]

    def _pictures(self) -> Dataset:
        how = (self.seed, self.min_area, self.sizes, self.copies)
        return RandomParts(self.source, self._way_out(), *how)

    def _collated(self) -> "Collated":
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

    def _collated(self) -> "Collated":
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


class Pictures(Dataset):
    """Images of a folder, decoded by the batch; what is made of one, the kinds below decide.

    Args:
        source: The files and their labels.
        way_out: What a message about a broken file says in the end.
    """

    def __init__(self, source: ImageFolder, way_out: str):
        # Not as Python objects: counting references to them would copy their memory to each worker.
        names = [os.fsencode(file) for file in source.files]
        self._names = np.frombuffer(b"".join(names), np.uint8)
        self._ends = np.cumsum([len(name) for name in names])
        self._labels = np.asarray(source.labels, np.int64)
        self._way_out = way_out

    def __len__(self) -> int:
        return len(self._labels)

    def path(self, index: int) -> str:
        """The file of an image."""
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._names[start : self._ends[index]].tobytes())

    def __getitems__(self, indices: Indices) -> list[Sample] | DatasetError:
        """Images of a batch, copy by copy; or, of files that cannot be used, the error."""
        samples, unread, damaged = [], [], []
        for index in indices:
            path = self.path(index)
            try:
                image = decoding.decode(path)
            except OSError:
                unread.append(path)
            except decoding.Undecodable:
                damaged.append(path)
            else:
                label = int(self._labels[index])
                for copy, pixels in enumerate(self.parts(image, index, indices.place.epoch)):
                    identity = index + copy * len(self)
                    samples.append(Sample(identity, (pixels, label), indices.place))
        for names, what in ((unread, "is empty or cannot be read"), (damaged, "cannot be decoded")):
            if names:
                return DatasetError(
                    f"{some(names)}: expected an image, got a file that {what}. {self._way_out}"
                )
        return samples

    def parts(self, image: object, index: int, epoch: int) -> Iterator[np.ndarray]:
        """What is yielded of an image, each uint8 ``(H, W, 3)``."""
        raise NotImplementedError


class RandomParts(Pictures):
    """Random crops of each image.

    Args:
        source: As for :class:`Pictures`.
        way_out: Likewise.
        seed: Of the crops.
        min_area: Smallest area of a crop, as a share of the image.
        sizes: Height and width, by the epoch from which they hold.
        copies: Crops of each.
    """

    def __init__(self, source, way_out, seed, min_area, sizes, copies):
        super().__init__(source, way_out)
        self.seed, self.min_area, self.sizes, self.copies = seed, min_area, sizes, copies

    def parts(self, image, index, epoch):
        """See :class:`Pictures`."""
        for copy in range(self.copies):
            key = dict(index=index + copy * len(self), seed=self.seed, epoch=epoch)
            part = decoding.random_part(*image.size, self.min_area, **key)
            yield decoding.scaled_part(image, part, size_at(self.sizes, epoch))


class Middles(Pictures):
    """The central crop of each image.

    Args:
        source: As for :class:`Pictures`.
        way_out: Likewise.
        resize: Length of the shorter side before the crop.
        size: Height and width of it.
    """

    def __init__(self, source, way_out, resize, size):
        super().__init__(source, way_out)
        self.resize, self.size = resize, size

    def parts(self, image, index, epoch):
        """See :class:`Pictures`."""
        yield decoding.scaled_middle(image, self.resize, self.size)


class Collated:
    """Collate function: each copy of a batch is mixed on its own.

    Args:
        collate: What mixes.
        copies: Samples that an image yields.
    """

    def __init__(self, collate: Collate, copies: int):
        self.collate, self.copies = collate, copies

    def __call__(self, samples: Sequence[Sample] | DatasetError):
        """Make a batch, or hand on the error, which would lose its text as an exception."""
        if isinstance(samples, DatasetError) or self.copies == 1:
            return samples if isinstance(samples, DatasetError) else self.collate(samples)
        batches = [self.collate(samples[copy :: self.copies]) for copy in range(self.copies)]
        return tuple(self._stacked(parts) for parts in zip(*batches, strict=True))

    def _stacked(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The same thing of all copies, in memory image by image."""
        turn = parts[0].ndim == 4 and self.collate.channels_last
        rows = [part.permute(0, 2, 3, 1) if turn else part for part in parts]
        each = self.collate.drawn.interpolations or 1
        stacked = torch.stack([part.unflatten(0, (-1, each)) for part in rows], 1).flatten(0, 2)
        return stacked.permute(0, 3, 1, 2) if turn else stacked


def _quietly(_: int) -> None:
    """Start of a worker: Ctrl-C is for the training, which may want to finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd EXIF, once for each image
