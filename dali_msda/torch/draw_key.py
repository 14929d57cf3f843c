"""The key of a transform's draws: a seed, a rank, and the number of the batch; who keeps them."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch.utils.data import get_worker_info

from dali_msda.backends.shapes import whole


class DrawKey:
    """What the draws of a transform follow from.

    Without a seed, a base seed is drawn from torch's generator, so that ``torch.manual_seed``
    governs it and an object that is made later draws something else. The kind of object enters the
    seed. In a worker of a ``DataLoader`` the worker's seed enters as well, another in each epoch.

    A deep copy of a key without a seed draws something else than the original, and so does every
    further copy; with a seed it draws the same. A pickled key goes on where it was pickled.

    Args:
        seed: Key of all random numbers, below 2**64; or None.
        rank: Number of the process, or None for that of ``torch.distributed``, which goes with the
            key into the workers.
        kind: Name of the kind of object, for keys without a seed.
        in_workers: Whether a key with a seed may be used in workers as well, where their seeds,
            which follow from torch's generator, enter its draws.

    Attributes:
        step: Number of the next batch.
    """

    def __init__(
        self, seed: int | None, rank: int | None, kind: str = "", in_workers: bool = False
    ):
        self.has_own_seed, self._in_workers = seed is not None, in_workers
        self.seed = whole("seed", seed, 0, 2**64) if self.has_own_seed else _drawn_seed(kind)
        self.rank = ProcessRank(rank)
        self.step = 0
        self._copies = 0

    def arguments(self) -> dict[str, int]:
        """Arguments of :func:`dali_msda.draw` for the next batch.

        Raises:
            RuntimeError: In a worker with a seed of its own, unless it may be used there.
        """
        seed, worker = self.seed, get_worker_info()
        if worker is not None:
            if self.has_own_seed and not self._in_workers:
                raise RuntimeError(
                    "seed: expected a call in the process that trains, got one in a worker of a "
                    "DataLoader, where each copy would draw the same; use "
                    "dali_msda.torch.Collate there"
                )
            seed = derived_seed(seed, "worker", worker.seed)
        return {"seed": seed, "step": self.step, "rank": self.rank.number()}

    def state(self) -> dict[str, int]:
        """What is needed to go on from the next batch."""
        return {"seed": self.seed, "step": self.step}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on where :meth:`state` was asked for.

        Raises:
            TypeError, ValueError: If the state is not one of :meth:`state`.
        """
        seed, step = state_values("state", state, ("seed", "step"))
        self.seed, self.step = whole("seed", seed, 0, 2**64), whole("step", step, 0, 2**32)

    def go_on(self, name: str, state: object) -> None:
        """Go on where :meth:`state` was asked for, in an object of the same seed.

        Args:
            name: What errors call the state.
            state: What :meth:`state` returned, perhaps with other entries.

        Raises:
            TypeError, ValueError: If the state is not one of :meth:`state`, or had another seed.
        """
        seed, _ = state_values(name, state, ("seed", "step"))
        if seed != self.seed:
            raise ValueError(f"{name}: expected seed {self.seed}, as in this run, got {seed}")
        self.restore(state)

    def __deepcopy__(self, memo: dict) -> DrawKey:
        made = copy.copy(self)
        made.rank = copy.copy(self.rank)
        if not self.has_own_seed:
            self._copies += 1
            made.seed, made._copies = derived_seed(self.seed, "copy", self._copies), 0
        return made


class ProcessRank:
    """Number of a process in distributed training, which stays known in the workers it starts.

    Workers that are spawned know nothing of ``torch.distributed``, so the number is pickled.
    """

    def __init__(self, given: int | None):
        self._given = None if given is None else whole("rank", given, 0, 2**32)
        self._pickled: int | None = None

    def number(self) -> int:
        """The number that was given, or that of ``torch.distributed``; 0 without either."""
        known = self._known()
        if known is None and get_worker_info() is not None:
            inherited = os.environ.get("RANK", "")  # torchrun sets it
            known = int(inherited) if inherited.isdecimal() else None
        return known or 0

    def _known(self) -> int | None:
        if self._given is not None:
            return self._given
        initialised = dist.is_available() and dist.is_initialized()
        return dist.get_rank() if initialised else self._pickled

    def __getstate__(self) -> dict[str, int | None]:
        return {"_given": self._given, "_pickled": self._known()}


class SharedNumber:
    """A whole number that workers of a ``DataLoader`` see change, also those that live on.

    A copy, and what is unpickled outside of a worker, is a number of its own.
    """

    def __init__(self, value: int):
        self._cell = torch.tensor(value, device="cpu").share_memory_()

    @property
    def value(self) -> int:
        """The number, as any process has set it last."""
        return int(self._cell)

    @value.setter
    def value(self, value: int) -> None:
        self._cell.fill_(value)

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self._cell = state["_cell"].share_memory_()  # a copied tensor is not shared any more


class CountsBatches:
    """An object that counts its batches, and whose state says which one comes next.

    Attributes:
        _key: The key of its draws, with the count.
        _state_name: What errors call its state.
    """

    _key: DrawKey
    _state_name: ClassVar[str] = "mixer state"

    @property
    def step(self) -> int:
        """Number of the next batch."""
        return self._key.step

    def state_dict(self) -> dict[str, int]:
        """What another one of the same arguments needs to go on from the next batch."""
        return self._key.state()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            TypeError, ValueError: If it is not such a state, or had another seed.
        """
        self._key.go_on(self._state_name, state)


class DrawingModule(torch.nn.Module):
    """A module without tensors, whose own state says which batch comes next.

    Attributes:
        _key: The key of its draws.
    """

    _key: DrawKey

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, object]:
        """What is needed to go on from the next batch: the seed and the number of the batch.

        The state of a model that holds the transform does not contain it, so that weights fit
        models with and without it; save ``transform.state_dict()`` beside the model's.
        """
        as_part = args or kwargs.get("destination") is not None
        return super().state_dict(*args, **kwargs) if as_part else self._key.state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> None:
        """Go on from what :meth:`state_dict` returned, with the seed in it.

        Raises:
            TypeError, ValueError: If it is not such a state.
        """
        self._key.restore(state_dict)


def state_values(name: str, state: object, keys: tuple[str, ...]) -> list[object]:
    """Values of a state by its keys.

    Raises:
        TypeError, ValueError: If it is no dictionary or has no such keys.
    """
    expected = " and ".join(repr(key) for key in keys)
    if not isinstance(state, Mapping):
        raise TypeError(
            f"{name}: expected a dictionary with {expected}, as state_dict() makes it, got "
            f"{type(state).__name__}"
        )
    if not set(keys) <= set(state):
        raise ValueError(
            f"{name}: expected {expected}, as state_dict() makes them, got {sorted(state)}"
        )
    return [state[key] for key in keys]


def _drawn_seed(kind: str) -> int:
    """A seed from torch's generator, on the CPU whatever the default device is."""
    drawn = torch.empty((), dtype=torch.int64, device="cpu").random_()
    return derived_seed(int(drawn), kind)


def derived_seed(*parts: object) -> int:
    """A seed below 2**64 that depends on all parts."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
