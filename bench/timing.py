"""Timing of things side by side, and one JSON line a case.

Machines are shared: figures are medians, candidates take turns within one run, and what is compared
is their ratio.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

REPEATS = 15


def measure(
    candidates: dict[str, Callable[[], object]],
    repeats: int = REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each candidate, which take turns; the first turn warms up and is dropped.

    Args:
        candidates: What to call, by name.
        repeats: Turns that count.
        clock: Wall time by default; ``time.process_time`` adds up all threads of the process.
    """
    seconds = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, run in candidates.items():
            start = clock()
            run()
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def spread(seconds: list[float]) -> float:
    """Interquartile range as a share of the median."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return (high - low) / middle


def report(case: dict[str, object], figures: dict[str, object]) -> None:
    """Print one line: the case, its figures and where they were measured."""
    print(json.dumps({**case, **figures, **_here()}), flush=True)


def _here() -> dict[str, object]:
    root = Path(__file__).parent.parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True
    )
    return {
        "commit": commit.stdout.strip() or "unknown",
        "numpy": metadata.version("numpy"),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "machine": _processor(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
