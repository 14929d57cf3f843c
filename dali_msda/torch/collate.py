"""Mixing in the workers of a ``DataLoader``: a collate function, and what gives it indices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.ops import blend
from dali_msda.plan import draw
from dali_msda.policy import Policy
from dali_msda.saliency import saliency
from dali_msda.torch.settings import MixingSettings

UNSET = -1  # of the epoch, before any was named


class Place(NamedTuple):
    """Where a batch stands: its epoch, its number in it, and the batches of an epoch."""

    epoch: int
    number: int
    batches: int


class Indices(list):
    """Dataset indices of a batch, which know where it stands."""

    place: Place | None = None


class Sample(NamedTuple):
    """A sample with its index, and with the place of its batch where that is known."""

    index: int
    value: object
    place: Place | None = None


class Indexed(torch.utils.data.Dataset):
    """A dataset whose samples come with their index, which :class:`Collate` needs.

    Put it around the whole: indices must name the same sample in every epoch and on every rank.

    Args:
        dataset: Any map-style dataset of pairs (image, label). If it has ``__getitems__``, that is
            used.
    """

    def __init__(self, dataset: torch.utils.data.Dataset):
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise TypeError(
                "dataset: expected one with __getitem__ and __len__, got "
                f"{type(dataset).__name__}; the samples of a stream have no index"
            )
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return Sample(int(index), self.dataset[index])

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """See ``torch.utils.data.Dataset``: a batch, as the workers fetch it."""
        place = getattr(indices, "place", None)
        if hasattr(self.dataset, "__getitems__"):
            values = self.dataset.__getitems__(indices)
        else:
            values = [self.dataset[index] for index in indices]
        pairs = zip(indices, values, strict=True)
        return [Sample(int(index), value, place) for index, value in pairs]


class NumberedBatches:
    """A batch sampler whose batches know their epoch and number, wherever they are collated.

    Each loop over it is an epoch; with it :meth:`Collate.set_epoch` need not be called. Policies
    that take turns batch by batch need it, for a worker sees only some of the batches::

        batches = NumberedBatches(BatchSampler(RandomSampler(data), 256, drop_last=True))
        loader = DataLoader(Indexed(data), batch_sampler=batches, collate_fn=collate, ...)

    Args:
        batches: A batch sampler with a length.
        epoch: Number of the epoch that the next loop is.
    """

    def __init__(self, batches: Iterable[Sequence[int]], epoch: int = 0):
        if not hasattr(batches, "__len__"):
            raise TypeError(
                f"batches: expected a batch sampler with a length, got {type(batches).__name__}"
            )
        self.batches = batches
        self.epoch = whole("epoch", epoch, 0, 2**32)

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next loop is, to resume; those after it follow by themselves."""
        self.epoch = whole("epoch", epoch, 0, 2**32)

    def __iter__(self) -> Iterator[Indices]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        inner = getattr(self.batches, "sampler", None)  # that of ranks shuffles by the epoch, too
        for sampler in (self.batches, inner):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
        for position, batch in enumerate(self.batches):
            indices = Indices(batch)
            indices.place = Place(epoch, position, len(self))
            yield indices


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
    distributed training may share a seed, since their batches hold other samples.

    Samples are pairs of an image and a label, all of one shape. An image is uint8: an array ``(H,
    W, C)`` or ``(H, W)``, a PIL image, or a tensor ``(C, H, W)``, as torchvision gives them. A
    label is a class index, or a row of floats ``(C,)``.

    Args:
        policy: What to draw. None mixes nothing; the labels then come as they are, int64 ``(B,)``
            or float32 ``(B, classes)``. The interpolations of :class:`dali_msda.MultiMix` follow
            one another: ``B * k`` samples, which ``reshape(B, k, ...)`` takes apart.
        num_classes: Number of classes; needed for dense rows of class indices.
        channels_last: Memory order of the images; their shape is ``(B, C, H, W)`` either way.
        settings: Keyword arguments ``seed``, ``mean``, ``std`` (in units of 0 to 255), ``dtype``
            (by default uint8, or float32 when ``mean`` or ``std`` is given), ``mirror``,
            ``compact`` and ``smoothing``, as for :class:`dali_msda.torch.settings.MixingSettings`.

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
        **settings: object,
    ):
        super().__init__(policy, num_classes, **settings)
        self.channels_last = channels_last
        self._epoch = torch.tensor(UNSET).share_memory_()  # the memory is that of all workers

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next batches belong to; call it before each loop over the loader.

        It reaches workers that live on (``persistent_workers``). Without any call there is an
        error. If a later one is forgotten, each sample is mixed with the lambda and the box that it
        had in the epoch before; :class:`NumberedBatches` counts by itself.
        """
        self._epoch.fill_(whole("epoch", epoch, 0, 2**32))

    @property
    def epoch(self) -> int | None:
        """What :meth:`set_epoch` was given last."""
        epoch = int(self._epoch)
        return None if epoch == UNSET else epoch

    def __call__(self, samples: Sequence[Sample]) -> tuple[torch.Tensor, ...]:
        """Make a batch.

        Args:
            samples: What :class:`Indexed` gives.

        Returns:
            ``images, targets``: ``(B, C, H, W)`` and float32 ``(B, classes)``; or, if ``compact``,
            ``images, labels, weights``, int64 ``(B, n)`` and float32 ``(B, n)``, where n = 2 or
            the greatest number of sources that the policy mixes.

        Raises:
            TypeError, ValueError: If a sample is of another kind, or no epoch was set.
        """
        ids, images, labels = _columns(samples)
        epoch, step = self._steps(samples[0].place)
        threads = torch.get_num_threads()  # 1 in a worker
        flips = None
        if self.mirror:
            flips = loader_draws.flips(ids, self.mirror, seed=self.seed, step=epoch)
        peaks = None
        if self.drawn.needs_peaks:
            peaks = saliency(images, mirror=flips, threads=threads)
        shape = tuple(images.shape[1:3])
        plan = draw(self.drawn, len(ids), *shape, seed=self.seed, step=step, ids=ids, peaks=peaks)
        mixed = self._memory(plan.shape, images.shape[1:])
        layout = "HWC" if self.channels_last else "CHW"
        how = dict(mirror=flips, out=mixed, layout=layout, threads=threads)
        blend(images, plan, **how, **self.blending)
        mixed = mixed.flatten(0, plan.ndim - 1)
        if self.channels_last:
            mixed = mixed.permute(0, 3, 1, 2)
        return mixed, *self._targets(torch.from_numpy(labels), plan)

    def _steps(self, place: Place | None) -> tuple[int, int]:
        """The epoch, and the step of the plan's draws, as FFCV's Mixer has them."""
        if place is None and self.epoch is None:
            raise ValueError(
                "epoch: expected collate.set_epoch(n) before the first batch of every epoch n, got "
                "none; or let NumberedBatches count them"
            )
        if not self.takes_turns:
            epoch = self.epoch if place is None else place.epoch
            return epoch, epoch
        if place is None:
            raise ValueError(
                f"policy: expected one that does not take turns, or NumberedBatches, got "
                f"{self.policy!r}; a worker does not know the numbers of its batches: "
                "DataLoader(..., batch_sampler=NumberedBatches(BatchSampler(...)))"
            )
        return place.epoch, place.epoch * place.batches + place.number

    def _memory(self, lead: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
        """For the batch; in a worker it is shared, so that nothing is copied to hand it over."""
        if not self.channels_last:
            shape = (shape[2], *shape[:2])
        shape = (*lead, *shape)
        if get_worker_info() is None:
            return torch.empty(shape, dtype=self._from_bytes)
        # As torch's own collate function does; there is no public way.
        values = int(np.prod(shape))
        storage = torch.empty(0, dtype=self._from_bytes)._typed_storage()._new_shared(values)
        return torch.empty(0, dtype=self._from_bytes).set_(storage).view(shape)


def _columns(samples: Sequence[Sample]) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Indices, images ``(B, H, W, C)`` and labels, int64 ``(B,)`` or float32 ``(B, classes)``."""
    images, labels = None, []
    for slot, sample in enumerate(samples):
        if not isinstance(sample, Sample):
            raise TypeError(
                f"samples: expected those of Indexed(dataset), got {type(sample).__name__}; give "
                "the DataLoader Indexed(dataset), so that draws follow the samples"
            )
        name = f"sample {sample.index}"
        if not isinstance(sample.value, tuple | list) or len(sample.value) != 2:
            got = f"{type(sample.value).__name__}"
            if isinstance(sample.value, tuple | list):
                got += f" of {len(sample.value)}"
            raise TypeError(f"{name}: expected a pair (image, label), got {got}")
        image = _pixels(name, sample.value[0])
        if images is None:
            images = np.empty((len(samples), *image.shape), np.uint8)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"{name}: expected an image of height, width and channels {images.shape[1:]}, as "
                f"sample {samples[0].index} has, got {image.shape}; crop or resize them first"
            )
        images[slot] = image
        labels.append(_label(name, sample.value[1]))
    if len({np.shape(label) for label in labels}) > 1:
        shapes = sorted({np.shape(label) for label in labels})
        raise ValueError(f"labels: expected one shape in a batch, got {shapes}")
    column = np.asarray(labels, np.float32 if np.ndim(labels[0]) else np.int64)
    return [sample.index for sample in samples], images, column


def _pixels(name: str, image: object) -> np.ndarray:
    """An image as uint8 ``(H, W, C)``."""
    if isinstance(image, torch.Tensor):
        if image.ndim == 3 and image.dtype == torch.uint8:
            return image.permute(1, 2, 0).numpy()
        dtype, shape = str(image.dtype).removeprefix("torch."), tuple(image.shape)
    else:
        array = image if isinstance(image, np.ndarray) else np.asarray(image)  # PIL's
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim == 3 and array.dtype == np.uint8:
            return array
        dtype, shape = array.dtype, array.shape
    raise TypeError(
        f"{name}: expected an image of uint8, an array (H, W, C), a PIL image or a tensor "
        f"(C, H, W), got {type(image).__name__} {dtype} {shape}; leave out ToDtype and Normalize, "
        "which mean= and std= do"
    )


def _label(name: str, label: object) -> int | np.ndarray:
    """A class index, or a row of floats."""
    array = np.asarray(label)
    if array.ndim == 0 and array.dtype.kind in "iu":
        return int(array)
    if array.ndim == 1 and array.dtype.kind == "f":
        return array
    raise TypeError(
        f"{name}: expected a label that is a class index or a row of floats (classes,), got "
        f"{array.dtype} {array.shape}"
    )
