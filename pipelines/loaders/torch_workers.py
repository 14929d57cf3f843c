"""What the workers of the PyTorch loaders do: read, decode and crop images, and mix batches."""

import signal
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from dali_msda.pipelines.data import decoding
from dali_msda.pipelines.data.datasets import DatasetError, ImageFolder, first_few
from dali_msda.pipelines.data.image_files import Paths
from dali_msda.pipelines.training.schedules import size_at
from dali_msda.torch import Collate, Indices, Sample


class FolderImages(Dataset):
    """Images of a folder, decoded batch by batch; the classes below decide what is made of them.

    Args:
        source: The files and their labels.
        way_out: The sentence that ends a message about a broken file: what to do.
    """

    def __init__(self, source: ImageFolder, way_out: str):
        # Tensors, since torch shares their memory with workers that are not forked, too.
        arrays = source.files.names, source.files.ends, source.labels
        self._names, self._ends, self._labels = map(torch.from_numpy, arrays)
        self._folder, self._way_out = source.files.folder, way_out

    def __len__(self) -> int:
        return len(self._labels)

    def path(self, index: int) -> str:
        """The file of an image."""
        return Paths(self._names.numpy(), self._ends.numpy(), self._folder)[index]

    def __getitems__(self, indices: Indices) -> list[Sample] | DatasetError:
        """Images of a batch, copy by copy; or an error that names the files that cannot be used."""
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
                got = f"got a file that {what}. {self._way_out}"
                return DatasetError(f"{first_few(names)}: expected an image, {got}")
        return samples

    def parts(self, image: object, index: int, epoch: int) -> Iterator[np.ndarray]:
        """What is yielded of an image, each uint8 ``(H, W, 3)``."""
        raise NotImplementedError


class RandomCrops(FolderImages):
    """Random crops of each image.

    Args:
        source: As for :class:`FolderImages`.
        way_out: Likewise.
        seed: Of the crops.
        area: Smallest and largest area of a crop, as shares of the image.
        sizes: Height and width, by the epoch from which they hold.
        copies: Crops of each.
    """

    def __init__(self, source, way_out, seed, area, sizes, copies):
        super().__init__(source, way_out)
        self.seed, self.area, self.sizes, self.copies = seed, area, sizes, copies

    def parts(self, image, index, epoch):
        """See :class:`FolderImages`."""
        for copy in range(self.copies):
            key = dict(index=index + copy * len(self), seed=self.seed, epoch=epoch)
            part = decoding.random_crop_box(*image.size, *self.area, **key)
            yield decoding.resized_crop(image, part, size_at(self.sizes, epoch))


class CentralCrops(FolderImages):
    """The central crop of each image.

    Args:
        source: As for :class:`FolderImages`.
        way_out: Likewise.
        resize: Length of the shorter side before the crop.
        size: Height and width of it.
    """

    def __init__(self, source, way_out, resize, size):
        super().__init__(source, way_out)
        self.resize, self.size = resize, size

    def parts(self, image, index, epoch):
        """See :class:`FolderImages`."""
        yield decoding.central_crop(image, self.resize, self.size)


class CollateCopies:
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
        """Join what all copies yield, image by image."""
        turn = parts[0].ndim == 4 and self.collate.channels_last
        rows = [part.permute(0, 2, 3, 1) if turn else part for part in parts]
        each = self.collate.drawn.interpolations or 1
        stacked = torch.stack([part.unflatten(0, (-1, each)) for part in rows], 1).flatten(0, 2)
        return stacked.permute(0, 3, 1, 2) if turn else stacked


def ignore_signals(_: int) -> None:
    """Prepare a worker: signals are for the training, which finishes its step before it stops."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # it would warn of every odd EXIF
