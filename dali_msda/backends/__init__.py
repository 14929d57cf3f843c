"""Where the arithmetic runs: the CPU's library, and the GPU's kernels."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from dali_msda.backends import cpu, cpu_arrays, cuda, cuda_arrays
from dali_msda.backends.places import on_gpu
from dali_msda.backends.puzzle import cpu_puzzle, cuda_puzzle


class Backend(NamedTuple):
    """A place where arrays lie and are mixed; both places have the same functions.

    Attributes:
        arrays: Views and checks of what callers give, and new memory.
        kernels: The arithmetic over what has been checked.
        puzzle: The same of Puzzle Mix.
    """

    arrays: ModuleType
    kernels: ModuleType
    puzzle: ModuleType


CPU = Backend(cpu_arrays, cpu, cpu_puzzle)
GPU = Backend(cuda_arrays, cuda, cuda_puzzle)


def backend_of(array: object) -> Backend:
    """The backend of the place where an array lies."""
    return GPU if on_gpu(array) else CPU
