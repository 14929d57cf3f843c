"""Timing on a GPU, through torch or else CuPy.

A turn writes a buffer larger than the second-level cache, so that nothing of the turn before is
left in it, and then stands between two events of the device. What can be captured is replayed as a
graph: the events then enclose the device's work alone, not the time in which Python enqueues it.
"""

import functools
import time
from collections.abc import Callable

import numpy as np

from bench.cases import Missing
from bench.timing import Times

FLUSH = 4  # times the second-level cache


class Torch:
    """A GPU through torch.

    Attributes:
        device: Its name in torch, for tensors that move there.
        index: Its number, for loaders.
    """

    device, index = "cuda", 0

    def __init__(self):
        import torch

        if not torch.cuda.is_available():
            raise Missing("torch sees no GPU")
        self.torch = torch
        self.properties = torch.cuda.get_device_properties(0)
        self.cache_bytes = self.properties.L2_cache_size
        self._flushed = torch.empty(FLUSH * self.cache_bytes, dtype=torch.uint8, device="cuda")

    def put(self, values: np.ndarray) -> object:
        """An array there with these values."""
        return self.torch.from_numpy(np.ascontiguousarray(values)).cuda()

    def empty(self, shape: tuple[int, ...], dtype: str) -> object:
        """Memory for an output."""
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device="cuda")

    def copy(self, moved: int, threads: int = 1) -> Callable[[], object]:
        """A copy within the device that reads and writes ``moved`` bytes in all."""
        source, target = (self.empty((moved // 2,), "uint8") for _ in range(2))
        return lambda: target.copy_(source)

    def flush(self) -> None:
        """Empty the second-level cache."""
        self._flushed.zero_()

    def mark(self) -> object:
        """An event, recorded now."""
        event = self.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: object, end: object) -> float:
        """Between two events, once both have passed."""
        return start.elapsed_time(end) / 1e3

    def wait(self) -> None:
        """Wait until the device is done."""
        self.torch.cuda.synchronize()

    def captured(self, run: Callable[[], object]) -> Callable[[], object]:
        """What replays a run."""
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            run()
        return graph.replay

    def used(self) -> int:
        """Bytes of the device's memory that are taken, by anyone."""
        free, total = self.torch.cuda.mem_get_info()
        return total - free

    def about(self) -> dict[str, object]:
        """Card, driver, and CUDA of the library."""
        return {
            "gpu": self.properties.name,
            "gpu_memory_gb": round(self.properties.total_memory / 1e9, 1),
            "gpu_cache_mb": round(self.cache_bytes / 1e6, 1),
            "driver": driver_version(),
            "cuda": self.torch.version.cuda,
        }


class Cupy:
    """A GPU through CuPy."""

    def __init__(self):
        import cupy

        try:
            self.properties = cupy.cuda.runtime.getDeviceProperties(0)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise Missing(f"CuPy sees no GPU: {error}") from error
        self.cupy, self.cache_bytes = cupy, self.properties["l2CacheSize"]
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.stream.use()
        self._flushed = cupy.empty(FLUSH * self.cache_bytes, cupy.uint8)

    def put(self, values: np.ndarray) -> object:
        """An array there with these values."""
        return self.cupy.asarray(values)

    def empty(self, shape: tuple[int, ...], dtype: str) -> object:
        """Memory for an output; bfloat16 as its bits."""
        return self.cupy.empty(shape, {"bfloat16": "uint16"}.get(dtype, dtype))

    def copy(self, moved: int, threads: int = 1) -> Callable[[], object]:
        """A copy within the device that reads and writes ``moved`` bytes in all."""
        source, target = (self.empty((moved // 2,), "uint8") for _ in range(2))
        return lambda: target.data.copy_from_device_async(source.data, moved // 2, self.stream)

    def flush(self) -> None:
        """Empty the second-level cache."""
        self._flushed.fill(0)

    def mark(self) -> object:
        """An event, recorded now."""
        event = self.cupy.cuda.Event()
        event.record(self.stream)
        return event

    def seconds(self, start: object, end: object) -> float:
        """Between two events, once both have passed."""
        return self.cupy.cuda.get_elapsed_time(start, end) / 1e3

    def wait(self) -> None:
        """Wait until the device is done."""
        self.stream.synchronize()

    def captured(self, run: Callable[[], object]) -> Callable[[], object]:
        """What replays a run."""
        self.stream.begin_capture()
        try:
            run()
        finally:
            graph = self.stream.end_capture()
        return lambda: graph.launch(self.stream)

    def used(self) -> int:
        """Bytes of the device's memory that are taken, by anyone."""
        free, total = self.cupy.cuda.runtime.memGetInfo()
        return total - free

    def about(self) -> dict[str, object]:
        """Card, driver, and CUDA of the library."""
        return {
            "gpu": self.properties["name"].decode(),
            "gpu_memory_gb": round(self.properties["totalGlobalMem"] / 1e9, 1),
            "gpu_cache_mb": round(self.cache_bytes / 1e6, 1),
            "driver": driver_version(),
            "cuda": self.cupy.cuda.runtime.runtimeGetVersion(),
        }


def driver_version() -> str:
    """The version of the kernel driver, as it says itself."""
    try:
        with open("/proc/driver/nvidia/version") as file:
            words = file.readline().split()
    except OSError:
        return "unknown"
    return next((word for word in words if word[:1].isdigit() and "." in word), "unknown")


@functools.cache
def found() -> Torch | Cupy:
    """The GPU.

    Raises:
        Missing: If there is none, or neither torch nor CuPy.
    """
    reasons = []
    for library in (Torch, Cupy):
        try:
            return library()
        except (ImportError, Missing) as error:
            reasons.append(str(error))
    raise Missing("no GPU: " + "; ".join(reasons))


def of_torch(what: str) -> Torch:
    """The GPU through torch; ``what`` names, in the plural, what needs it.

    Raises:
        Missing: If there is none.
    """
    there = found()
    if not hasattr(there, "torch"):
        raise Missing(f"{what} on a GPU are those of torch, which sees none")
    return there


def measure(
    runs: dict[str, Callable[[], object]], repeats: int, gpu: object, direct: frozenset[str]
) -> dict[str, Times]:
    """Device time of candidates, which take turns; each begins with an empty cache.

    All but those in ``direct`` are replayed as graphs. ``wall`` is the time until a call has
    returned and the device is done, ``cpu`` that until the call has returned: what it costs to
    enqueue the work.
    """
    times, timed = {name: Times() for name in runs}, {}
    for name, run in runs.items():
        for _ in range(3):  # the first runs compile, load, and make tables and memory
            run()
        gpu.wait()
        timed[name] = run if name in direct else gpu.captured(run)
    for turn in range(repeats + 1):
        for name, run in timed.items():
            gpu.flush()
            start = gpu.mark()
            run()
            end = gpu.mark()
            gpu.wait()
            if turn:
                times[name].gpu.append(gpu.seconds(start, end))
            gpu.flush()
            gpu.wait()
            begun = time.perf_counter()
            runs[name]()
            returned = time.perf_counter()
            gpu.wait()
            if turn:
                times[name].wall.append(time.perf_counter() - begun)
                times[name].cpu.append(returned - begun)
    return times
