"""Puzzle Mix on a GPU, as :mod:`dali_msda.backends.puzzle.cpu_puzzle` has it on the CPU.

Nothing waits for the GPU, and what is found stays there.
"""

from __future__ import annotations

import ctypes

import numpy as np

from dali_msda.backends import cpu, cuda_arrays
from dali_msda.backends.cpu_library import Puzzle
from dali_msda.backends.cuda import call
from dali_msda.backends.cuda_arrays import GpuArray
from dali_msda.backends.puzzle.cpu_puzzle import arguments as cpu_arguments
from dali_msda.backends.puzzle.cpu_puzzle import found_shapes


def arguments(
    plans: np.ndarray, images: GpuArray, saliency: GpuArray, *, places: int, **how: object
) -> Puzzle:
    """As on the CPU, with room on the GPU for what is found."""
    shapes = found_shapes(plans, len(images), places)
    owners = tuple(cuda_arrays.empty(shape, dtype, images.owner) for shape, dtype in shapes)
    found = tuple(cuda_arrays.view("found", owner) for owner in owners)
    made = cpu_arguments(plans, images, saliency, places=places, found=found, **how)
    made.owners, made.given = owners, {"images": images, "saliency": saliency, "found": found[0]}
    return made


def solve(puzzle: Puzzle) -> tuple[object, object, object]:
    """As on the CPU; the arrays are on the GPU, of the library of the images."""
    call("msda_gpu_puzzle", puzzle.given, ctypes.byref(puzzle))
    return puzzle.owners


def blend(
    outs: GpuArray,
    images: GpuArray,
    plans: np.ndarray,
    cells: GpuArray,
    levels: int,
    *,
    planar: bool = False,
    layout: str,
    **how: object,
) -> None:
    """Fills ``outs``, as the CPU's ``blend`` does, but in no other layout than the images have."""
    if layout != ("CHW" if planar else "HWC"):
        raise ValueError(
            "layout: expected 'HWC' of Puzzle Mix for images on a GPU that lie channels last, got "
            "'CHW'; permute the output, or give images that lie channel by channel"
        )
    job = cpu.blend_arguments(outs, images, plans, layout=layout, **how)
    given = {"images": images, "out": outs, "cells": cells}
    found = cells.ctypes.data, cells.shape[-2], levels
    call("msda_gpu_puzzle_blend", given, ctypes.byref(job), *found)
