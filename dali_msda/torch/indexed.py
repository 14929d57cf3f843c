"""Datasets and samplers that tell :class:`Collate` which samples it gets, and of which batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch.utils.data import BatchSampler

from dali_msda.backends.shapes import whole
from dali_msda.torch.draw_key import SharedNumber, state_values

NO_EPOCH = -1  # before the first set_epoch()


class Place(NamedTuple):
    """Where a batch stands: its epoch, and if they are known its number and that of all batches."""

    epoch: int
    number: int | None = None
    batches: int | None = None


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
    Where a loader calls its :meth:`set_epoch`, as those of Accelerate do, samples bring the epoch
    along, which holds unless :meth:`Collate.set_epoch` was called.

    Args:
        dataset: Any map-style dataset of samples such as pairs (image, label). If it has
            ``__getitems__``, that is used.

    Raises:
        TypeError: If it is an ``IterableDataset``, or has no ``__getitem__`` or no length.
    """

    def __init__(self, dataset: torch.utils.data.Dataset):
        is_stream = isinstance(dataset, torch.utils.data.IterableDataset)
        if is_stream or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            got = type(dataset).__name__ + (", an IterableDataset" if is_stream else "")
            raise TypeError(
                f"dataset: expected one with __getitem__ and __len__, got {got}; the samples of a "
                "stream have no index: give its Collate key=, a field that tells them apart, or "
                "mix its batches with dali_msda.torch.Mixer"
            )
        self.dataset = dataset
        self._epoch = SharedNumber(NO_EPOCH)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next samples belong to, also to workers that live on."""
        self._epoch.value = whole("epoch", epoch, 0, 2**32)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self._identity(index), self.dataset[index], self._place())

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """See ``torch.utils.data.Dataset``: a batch, as the workers fetch it."""
        place = self._place(getattr(indices, "place", None))
        if hasattr(self.dataset, "__getitems__"):
            values = self.dataset.__getitems__(indices)
        else:
            values = [self.dataset[index] for index in indices]
        pairs = zip(indices, values, strict=True)
        return [Sample(self._identity(index), value, place) for index, value in pairs]

    def _place(self, place: Place | None = None) -> Place | None:
        """Where a batch stands, in the epoch that was set here if one was."""
        epoch = self._epoch.value
        if epoch == NO_EPOCH:
            return place
        return Place(epoch) if place is None else place._replace(epoch=epoch)

    def _identity(self, index: int) -> int:
        """The index counted from the start."""
        return int(index) + (len(self) if index < 0 else 0)


class NumberedBatches(BatchSampler):
    """A batch sampler whose batches know their epoch and number, wherever they are collated.

    Each loop over it is an epoch; with it :meth:`Collate.set_epoch` need not be called. Policies
    that take turns batch by batch need it, for a worker sees only some of the batches::

        batches = NumberedBatches(RandomSampler(data), 256, drop_last=True)
        loader = DataLoader(Indexed(data), batch_sampler=batches, collate_fn=collate, ...)

    It is a ``BatchSampler``, so Lightning and Accelerate can give it the sampler of their
    processes. What they then tell that sampler by its ``set_epoch`` holds for the batches too.

    A loader that can be resumed in mid-epoch, such as torchdata's ``StatefulDataLoader``, takes its
    :meth:`state_dict` along: epoch, number, and the state of ``batches`` or of the iterator over
    it, where one has a state. Where none has, batches that were made before are passed over, so the
    order must be a function of the epoch, as that of ``DistributedSampler`` is.

    What one can see from outside and differs; lists are those of a first batch.

    ======================  =========  =============
    what                    theirs     here
    ======================  =========  =============
    argument batch_size     needed     None
    argument drop_last      needed     False
    argument epoch          absent     0 by name
    member batch_size       absent     there
    member drop_last        absent     there
    member load_state_dict  absent     there
    member sampler          absent     there
    member set_epoch        absent     there
    member state_dict       absent     there
    an iterator             int, int   TypeError
    no batch_size           TypeError  int, int, int
    ======================  =========  =============

    Args:
        sampler: Which samples to take; or, without ``batch_size``, a batch sampler with a length.
        batch_size: Samples in a batch.
        drop_last: Whether to leave out a last batch that is smaller.
        epoch: Number of the epoch that the next loop is.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.
    """

    def __init__(
        self,
        sampler: Iterable[int] | Iterable[Sequence[int]],
        batch_size: int | None = None,
        drop_last: bool = False,
        *,
        epoch: int = 0,
    ):
        self.batches = sampler
        if batch_size is not None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        if not hasattr(sampler, "__len__"):
            raise TypeError(
                f"sampler: expected a sampler or batch sampler with a length, got "
                f"{type(sampler).__name__}"
            )
        self._told = self._samplers_epoch()
        self.set_epoch(epoch)
        self._iterator: object = None  # of the last loop, if it has a state
        self._unfinished: tuple[int, int] | None = None  # epoch and batches made of it

    @property
    def sampler(self) -> Iterable[int]:
        """The sampler of samples, which another may replace."""
        return self.batches.sampler

    @sampler.setter
    def sampler(self, sampler: Iterable[int]) -> None:
        self.batches.sampler = sampler
        self._told = self._samplers_epoch()

    @property
    def batch_size(self) -> int:
        """Samples in a batch."""
        return self.batches.batch_size

    @property
    def drop_last(self) -> bool:
        """Whether a last batch that is smaller is left out."""
        return self.batches.drop_last

    def _samplers_epoch(self) -> int | None:
        """The epoch that the sampler was told last, as a ``DistributedSampler`` keeps it."""
        return getattr(getattr(self.batches, "sampler", None), "epoch", None)

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next loop is, to resume; those after it follow by themselves."""
        self.epoch = whole("epoch", epoch, 0, 2**32)
        # Where the next loop goes on: how many batches were made, and the state of the sampler.
        self._made_before, self._inner_state = 0, None

    def __iter__(self) -> Iterator[Indices]:
        told = self._samplers_epoch()
        if told not in (self._told, self.epoch):  # by somebody else than the last loop
            self.set_epoch(told)
        epoch, self.epoch = self.epoch, self.epoch + 1
        made_before, self._made_before = self._made_before, 0
        inner = getattr(self.batches, "sampler", None)  # a DistributedSampler shuffles by the epoch
        for sampler in (self.batches, inner):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
        self._told = self._samplers_epoch()
        iterator = self._iterator_after(made_before)
        self._iterator = iterator if hasattr(iterator, "state_dict") else None
        for number, batch in enumerate(iterator, made_before):
            indices = Indices(batch)
            indices.place = Place(epoch, number, len(self))
            self._unfinished = epoch, number + 1
            yield indices
        self._unfinished = None

    def _iterator_after(self, made_before: int) -> Iterator[Sequence[int]]:
        """Iterator over what is left of an epoch."""
        state, self._inner_state = self._inner_state, None
        if state is not None and hasattr(self.batches, "load_state_dict"):
            self.batches.load_state_dict(state)
        iterator = iter(self.batches)
        if state is None:
            for _ in range(made_before):
                next(iterator, None)
        elif hasattr(iterator, "load_state_dict"):
            iterator.load_state_dict(state)
            if not made_before:  # the state is that at the end of the epoch before
                iterator = iter(self.batches)
        return iterator

    def state_dict(self) -> dict[str, object]:
        """What is needed to go on after the batch that was made last."""
        epoch, batch = self._unfinished or (self.epoch, self._made_before)
        state = {"epoch": epoch, "batch": batch}
        if self._inner_state is not None:
            return state | {"batches": self._inner_state}
        for source in (self._iterator, self.batches):
            if hasattr(source, "state_dict"):
                return state | {"batches": source.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Let the next loop go on where this state was asked for.

        Raises:
            TypeError, ValueError: If it is no state of :meth:`state_dict`.
        """
        epoch, batch = state_values("state", state, ("epoch", "batch"))
        batch = whole("batch", batch, 0, len(self) + 1)
        self.set_epoch(epoch)
        self._made_before, self._inner_state = batch, state.get("batches")
        self._iterator = self._unfinished = None
