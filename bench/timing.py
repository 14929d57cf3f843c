"""Timing of candidates side by side.

Machines are shared. So figures are medians, candidates take turns within one run, and their ratios
are what is compared.
"""

import dataclasses
import gc
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

REPEATS = 15
LEAST = 1e-3  # seconds of a turn: shorter runs are repeated within it


@dataclasses.dataclass
class Times:
    """Seconds of one candidate, one number for each turn: wall time, CPU time, or a device's.

    ``waited`` is how long its threads together waited for a core that others had.
    """

    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)
    gpu: list[float] = dataclasses.field(default_factory=list)
    waited: list[float] = dataclasses.field(default_factory=list)

    def of(self, clock: str) -> list[float]:
        """The seconds of a clock: "wall", "cpu" or "gpu"."""
        return getattr(self, clock)


def measure(
    runs: dict[str, Callable[[], object]], repeats: int = REPEATS, *, loops: bool = True
) -> dict[str, Times]:
    """Times of candidates, which take turns; the first turn warms up and is dropped.

    Args:
        runs: What to call, by name.
        repeats: Turns that count.
        loops: Whether a run shorter than a millisecond is repeated within its turn.
    """
    times, counts = {name: Times() for name in runs}, {}
    for name, run in runs.items():
        run()
        start = time.perf_counter()
        if loops:
            run()
        taken = time.perf_counter() - start
        counts[name] = max(1, math.ceil(LEAST / taken)) if loops else 1
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, run in runs.items():
                count, waited, cpu = counts[name], waiting(), worked()
                wall = time.perf_counter()
                for _ in range(count):
                    run()
                wall = time.perf_counter() - wall
                times[name].cpu.append((worked() - cpu) / count)
                times[name].wall.append(wall / count)
                times[name].waited.append((waiting() - waited) / count)
    finally:
        gc.enable()
    return times


def worked() -> float:
    """CPU seconds of all threads of this process, and of the workers that it has started."""
    # The clock of a process is what clock_getcpuclockid(3) makes of its number.
    workers = [~child.pid << 3 | 2 for child in multiprocessing.active_children()]
    return time.process_time() + sum(map(time.clock_gettime, workers))


def waiting() -> float:
    """Seconds that the threads of this process have been ready to run without a core."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[1])
        except OSError:  # the thread is gone, or the kernel does not count
            continue
    return total / 1e9


def spread(seconds: list[float]) -> float:
    """Interquartile range as a share of the median; 0 of fewer than two."""
    if len(seconds) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4)
    return (high - low) / middle if middle else 0.0
