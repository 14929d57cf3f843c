"""The processes that train together, and how they are stopped."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist

STEPS_BETWEEN_QUESTIONS = 10


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
    """Whether the user asked to stop. Training looks at it between steps, so that none is torn."""

    def __init__(self, process: Process):
        self.process = process
        self.signum = 0

    def agreed(self, step: int) -> int:
        """Return the signal that all processes stop for after this step, or 0.

        A signal may reach one process only, or several at different steps. So they ask each other;
        on GPUs rarely, because the answer has to be waited for.
        """
        if self.process.size == 1:
            return self.signum
        on_gpu = self.process.device.type == "cuda"
        if on_gpu and step % STEPS_BETWEEN_QUESTIONS:
            return 0
        greatest = torch.tensor(self.signum, device=self.process.device)
        dist.all_reduce(greatest, dist.ReduceOp.MAX)
        return int(greatest)


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
def stopping_between_steps(process: Process) -> Iterator[Stopping]:
    """Turn Ctrl-C and SIGTERM into a flag. The second one acts at once.

    Under torchrun it does not, because a Ctrl-C arrives twice there: from the terminal and from
    torchrun, which ends by itself those processes that do not stop.
    """
    stopping, signals = Stopping(process), (signal.SIGINT, signal.SIGTERM)

    def stop(signum: int, _) -> None:
        stopping.signum = signum
        if process.size == 1:
            restore()

    previous = {signum: signal.signal(signum, stop) for signum in signals}

    def restore() -> None:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    try:
        yield stopping
    finally:
        restore()
