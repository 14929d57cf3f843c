"""Memory of the batches that workers of a ``DataLoader`` make: shared, and used again.

New shared memory costs more than mixing does, since the system clears every page of it. So a worker
keeps what it has handed over, and writes the next batch where the process that trains has let go of
an earlier one. A byte behind each batch, which both processes see, tells who has it.
"""

from __future__ import annotations

import math
import os
import weakref

import torch
from torch.utils.data import get_worker_info

FREE, IN_WORKER, HANDED_OVER = 0, 1, 2  # who has a batch, in the byte behind it
MOST_KEPT = 8  # batches of a worker: those in the queue, and those that the training holds
LINE = 64  # bytes; the byte lies in a cache line of its own


def empty_batch(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Memory for a batch; in a worker it is shared, so that handing it over copies nothing."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    return _worker_memory.batch(shape, dtype)


def handed_over(view: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """Let a view of a whole batch go as the batch would, without a copy."""
    return _lent(view, batch.memory) if isinstance(batch, Lent) else view


class WorkerMemory:
    """The batches of one worker."""

    def __init__(self):
        self._kept: list[torch.Tensor] = []
        self._process = os.getpid()

    def batch(self, shape: tuple[int, ...], dtype: torch.dtype) -> Lent:
        """Shared memory of such a shape, new or used; its contents are arbitrary."""
        if self._process != os.getpid():  # a fork: these batches are those of another process
            self.__init__()
        memory = self._free(-(-math.prod(shape) * dtype.itemsize // LINE) * LINE + LINE)
        _set_holder(memory, IN_WORKER)
        return _lent(_flat(memory, IN_WORKER).view(dtype)[: math.prod(shape)].view(shape), memory)

    def _free(self, size: int) -> torch.Tensor:
        """Bytes that nobody reads."""
        free = [memory for memory in self._kept if _holder(memory) == FREE]
        for memory in free:
            if len(memory) == size:
                return memory
        # Those of other sizes may not come again.
        self._kept = [memory for memory in self._kept if _holder(memory) != FREE]
        # As torch's own collate function makes it; there is no public way.
        storage = torch.empty(0, dtype=torch.uint8)._typed_storage()._new_shared(size)
        memory = torch.empty(0, dtype=torch.uint8).set_(storage)
        if len(self._kept) < MOST_KEPT:
            self._kept.append(memory)
        return memory


class Lent(torch.Tensor):
    """A batch in such memory. It arrives as a plain tensor; what is computed from it is one, too.

    The memory is free again once no tensor and no array of the process where it arrived sees it.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl
    memory: torch.Tensor

    def __deepcopy__(self, memo):
        return self.as_subclass(torch.Tensor).clone()

    def __reduce_ex__(self, protocol):
        _set_holder(self.memory, HANDED_OVER)
        return _received, (self.memory, self.dtype, tuple(self.shape), self.stride())


def _lent(tensor: torch.Tensor, memory: torch.Tensor) -> Lent:
    made = tensor.as_subclass(Lent)
    made.memory = memory
    return made


def _received(
    memory: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...]
) -> torch.Tensor:
    """The batch in memory that another process has lent."""
    return _flat(memory, HANDED_OVER).view(dtype).as_strided(shape, stride)


def _flat(memory: torch.Tensor, state: int) -> torch.Tensor:
    """The bytes of a batch, in a storage with whose end this process gives the memory back."""
    pixels = memory.numpy()[:-LINE]
    weakref.finalize(pixels, _give_back, memory, state, os.getpid()).atexit = False
    return torch.from_numpy(pixels)  # whose storage keeps `pixels`


def _give_back(memory: torch.Tensor, state: int, process: int) -> None:
    # A process that was forked from the holder has the same references, and must not.
    if os.getpid() == process and _holder(memory) == state:
        _set_holder(memory, FREE)


def _holder(memory: torch.Tensor) -> int:
    return memory.numpy()[-1]


def _set_holder(memory: torch.Tensor, state: int) -> None:
    # By NumPy: the queue's thread calls it, where an operation of torch waits for ever if this
    # process was forked from one that had computed on several threads.
    memory.numpy()[-1] = state


_worker_memory = WorkerMemory()
