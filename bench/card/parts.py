"""What is run on a card, the most valuable first: a table."""

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

# Smaller blocks than the kernels take by themselves; kernels/cuda/host/most_threads.h.
MOST_THREADS = "DALI_MSDA_MOST_THREADS"
SANITIZED = ("-m", "gpu and sanitized")
NCU, SANITIZER = "ncu", "compute-sanitizer"


class Part(NamedTuple):
    """A process with a time limit.

    Attributes:
        name: What it is called in the table.
        seconds: Its time limit.
        module: Arguments of Python.
        shows: A regular expression that a line of its output must hold if it did its work: tests
            that are all skipped did not.
        threads: The most threads of a block, 0 for what the kernels take.
        under: The program that runs it, with its arguments.
    """

    name: str
    seconds: int
    module: tuple[str, ...]
    shows: str
    threads: int = 0
    under: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """The command line.

        Raises:
            FileNotFoundError: If the program that runs it is missing.
        """
        under = (program(self.under[0]), *self.under[1:]) if self.under else ()
        return [*under, sys.executable, *self.module]


def program(name: str) -> str:
    """The path of one of CUDA's programs: from PATH, or from a toolkit.

    Raises:
        FileNotFoundError: If it is nowhere.
    """
    toolkit = Path(os.environ.get("CUDA_HOME") or "/usr/local/cuda", "bin")
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}{toolkit}")
    if found is None:
        raise FileNotFoundError(f"{name}: not found in PATH and {toolkit}")
    return found


def tests(name: str, seconds: int, words: str, marked: tuple[str, ...] = ("-m", "gpu"), **how):
    """A part that runs the tests on a GPU whose names fit an expression, to the fifth failure."""
    options = ("-q", "--maxfail", "5", "-p", "no:cacheprovider", *marked, "-k", words)
    return Part(
        name, seconds, ("-m", "pytest", *options, "tests/cuda"), r"\b[1-9]\d* passed", **how
    )


def measured(name: str, seconds: int, words: str, *options: str, **how) -> Part:
    """A part that measures the cases of the benchmark with these words in their names."""
    command = ("-m", "bench", "--device", "cuda", "--repeats", "9", *options, "-k", words)
    return Part(name, seconds, command, r'"ms": ', **how)


def sanitized(tool: str, seconds: int, words: str) -> Part:
    """A part that runs quick tests under a tool of compute-sanitizer."""
    under = (SANITIZER, "--tool", tool, "--error-exitcode", "1")
    return tests(tool, seconds, words, SANITIZED, under=under)


PARTS = (
    Part("doctor", 30, ("-m", "dali_msda", "doctor"), r"^GPU 0 .*kernels: (?!none)"),
    tests("types", 60, "torch and every_type"),
    tests("methods", 60, "torch and every_method"),
    tests("masks", 60, "torch and masks"),
    tests("saliency, targets, in place", 60, "torch and (saliency or targets or in_place)"),
    tests("puzzle mix", 60, "torch and puzzle"),
    tests("graphs", 45, "torch and graph"),
    tests("streams", 45, "torch and (streams or under_way or memory_is_taken)"),
    measured("blends", 90, "blend batch=256 size=224"),
    measured("fields", 45, "fields size=224"),
    measured("puzzle steps", 60, "puzzle step"),
    measured("small images", 45, "blend mixup batch=256 size=32 layout=CHW mirror=False", "--all"),
    measured("blends, 128 threads", 45, "blend float16 batch=256 size=224", threads=128),
    measured("blends, 64 threads", 45, "blend float16 batch=256 size=224", threads=64),
    measured("fields, 256 threads", 30, "fields size=224", threads=256),
    measured("fields, 128 threads", 30, "fields size=224", threads=128),
    Part("ncu", 60, ("-m", "bench.card.counters"), r'"dram_percent": '),
    sanitized("memcheck", 60, "cupy and not every_type"),
    sanitized("racecheck", 60, "cupy and (masks or saliency)"),
    sanitized("initcheck", 60, "cupy and (masks or saliency or targets)"),
    tests("cupy, large and odd images", 90, "cupy or (torch and (large or any_address))"),
)
