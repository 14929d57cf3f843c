"""Parts of Puzzle Mix that no caller of the package has alone; see puzzle_parts.cpp."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from bench.cases import Mismatch
from dali_msda import build
from dali_msda.backends.puzzle import cpu_puzzle

SOURCE = Path(__file__).with_suffix(".cpp")


class Parts:
    """Masks and transport of a batch whose costs are made, on one thread.

    Args:
        given: Arguments of :func:`dali_msda.backends.puzzle.cpu_puzzle.solve`, which stay in use.

    Raises:
        Mismatch: If both together do not find what that function does.
    """

    def __init__(self, given: ctypes.Structure):
        self._given, self._made = given, _library().parts_made(ctypes.byref(given))
        cells = given.found[0]
        whole = cpu_puzzle.solve(given)[0].copy()
        cells[:] = 255
        self.masks()
        self.transport()
        if not np.array_equal(cells, whole):
            raise Mismatch("parts: masks and transport alone do not find the same as both together")

    def masks(self) -> None:
        """The masks, from the costs."""
        _library().parts_masks(self._made)

    def transport(self) -> None:
        """What moves in both images, from the masks."""
        _library().parts_transport(self._made)

    def __del__(self):
        _library().parts_freed(self._made)


@functools.cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "libparts.so")
        compiler = os.environ.get("CXX", "g++").split()
        flags = [*build.KERNEL.split(), *build.BASELINE.split(), "-shared", f"-I{build.KERNELS}"]
        sources = [str(SOURCE), str(build.KERNELS / "cpu/threads.cpp")]
        subprocess.run([*compiler, *flags, *sources, "-o", str(path)], check=True)
        lib = ctypes.CDLL(str(path))
    lib.parts_made.argtypes, lib.parts_made.restype = [ctypes.c_void_p], ctypes.c_void_p
    for name in ("parts_freed", "parts_masks", "parts_transport"):
        getattr(lib, name).argtypes, getattr(lib, name).restype = [ctypes.c_void_p], None
    return lib
