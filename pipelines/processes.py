"""The processes that train together, and how they are stopped."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist


class Process(NamedTuple):
    """This process among those that train together."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device


class Stopped(Exception):
    """Ctrl-C or SIGTERM. The text says what was kept."""

    def __init__(self, text: str, signum: int):
        super().__init__(text)
        self.signum = signum


class Stopping:
    """Whether the user asked to stop: a step is never torn, so it is looked at between steps."""

    signum = 0


@contextlib.contextmanager
def joined_processes(device: str) -> Iterator[Process]:
    """Join the processes that torchrun started; without torchrun this is the only one.

    Args:
        device: "cpu", "cuda", or "auto" for a GPU if there is one.

    Raises:
        ValueError: If there is no GPU and it must be one.
    """
    numbers = dict(RANK=0, WORLD_SIZE=1, LOCAL_RANK=0, LOCAL_WORLD_SIZE=1)
    rank, size, local_rank, local_size = (
        int(os.environ.get(name, value)) for name, value in numbers.items()
    )
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected cpu or auto, since PyTorch finds no GPU, got cuda")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(local_rank)
    if size > 1:
        dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        where = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
        yield Process(rank, size, local_rank, local_size, where)
    finally:
        if size > 1:
            dist.destroy_process_group()


@contextlib.contextmanager
def stopping_between_steps() -> Iterator[Stopping]:
    """Turn the first Ctrl-C or SIGTERM into a flag; the second one acts at once."""
    stopping, signals = Stopping(), (signal.SIGINT, signal.SIGTERM)

    def stop(signum: int, _) -> None:
        stopping.signum = signum
        restore()

    previous = {signum: signal.signal(signum, stop) for signum in signals}

    def restore() -> None:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    try:
        yield stopping
    finally:
        restore()
