"""The memory where a benchmark's arrays lie, and the plain copy that it is compared with."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Of RGB, in units of the uint8 pixels, as the papers' training code has them.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
ALIGNED = 64  # bytes; torch and DALI align their memory at least so, NumPy to 16 only
BLOCK = 8 << 20  # bytes that stay in a cache and are still copied past it: see STREAMING in run.py


class Host:
    """The CPU, and its memory."""

    device = "cpu"

    def put(self, values: np.ndarray) -> np.ndarray:
        """An array there with these values."""
        return values

    def empty(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Warm memory for an output: its pages are there.

        It starts where a cache line does. ``np.empty`` of a batch starts 16 bytes further on, and
        there streaming stores fill no line whole at the ends of rows: a float32 blend of 224 pixels
        takes 35 % longer (7.4 ms instead of 5.4, measured on one core of an AMD EPYC).
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        memory = np.ones(size + ALIGNED, np.uint8)
        first = -memory.ctypes.data % ALIGNED
        return memory[first : first + size].view(dtype).reshape(shape)

    def copy(self, moved: int, threads: int = 1) -> Callable[[], object]:
        """A copy that reads and writes ``moved`` bytes in all, on ``threads`` threads.

        It is the copy of the C library: see ``STREAMING`` in run.py.
        """
        source, target = np.ones(moved // 2, np.uint8), np.zeros(moved // 2, np.uint8)
        if threads == 1:
            return lambda: np.copyto(target, source)
        pool = ThreadPoolExecutor(threads)
        parts = (np.array_split(target, threads), np.array_split(source, threads))
        return lambda: list(pool.map(np.copyto, *parts))

    def write(self, size: int, threads: int = 1) -> Callable[[], object]:
        """What only writes ``size`` bytes: copies of a block that stays in a cache."""
        block, target = np.ones(BLOCK, np.uint8), np.zeros(size, np.uint8)

        def fill(part: np.ndarray) -> None:
            for piece in np.array_split(part, -(-part.size // BLOCK)):
                np.copyto(piece, block[: piece.size])

        pool = ThreadPoolExecutor(threads)
        parts = np.array_split(target, threads)
        return lambda: list(pool.map(fill, parts))

    def mark(self) -> float:
        """A moment."""
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """Seconds between two moments."""
        return end - start


def memory_of(device: str) -> object:
    """Where the arrays of a case lie: ``"cpu"`` or ``"cuda"``.

    Raises:
        Missing: If there is no GPU, or no library that speaks to it.
    """
    if device == "cpu":
        return Host()
    from bench import gpu_timing

    return gpu_timing.found()


def pixels(batch: int, *shape: int, dtype: str = "uint8") -> np.ndarray:
    """Random bytes."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (batch, *shape), dtype=np.uint8).astype(dtype, copy=False)


def normalisation(dtype: str) -> dict[str, object]:
    """Arguments of a blend to this type: bytes stay as they are, floats are normalised."""
    return {"dtype": dtype} | ({} if dtype == "uint8" else {"mean": MEAN, "std": STD})
