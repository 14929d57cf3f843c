"""Puzzle Mix on the CPU, for arrays that their callers have checked."""

from __future__ import annotations

import ctypes

import numpy as np

from dali_msda.backends.cpu import FAULT_BYTES, address_of, blend_arguments, planes, pointers_to
from dali_msda.backends.cpu_library import DTYPES, Puzzle, PuzzleSettings, library
from dali_msda.backends.records import interpolations


def arguments(
    plans: np.ndarray,
    images: np.ndarray,
    saliency: np.ndarray,
    *,
    blocks: int,
    places: int,
    cell: int,
    transport: bool,
    scale: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    planar: bool = False,
    threads: int = 0,
    **settings: float,
) -> Puzzle:
    """What :func:`solve` hands to the kernels, with room for what it finds.

    The images are ``(B, H, W, C)``, and ``planar`` if each channel of a sample is contiguous;
    ``saliency`` is float32 ``(B, H, W)``. ``settings`` are the members of ``PuzzleSettings``.
    """
    ins = pointers_to(images)
    cells = np.empty((*plans.shape, places, places, 3), np.uint8)
    weights = np.empty(plans.shape, np.float32)
    uniform = np.empty(len(images), np.uint8)
    made = Puzzle(
        *map(address_of, (cells, weights, uniform, saliency, ins, plans, scale, shift)),
        plans.size,
        *images.shape,
        DTYPES[images.dtype.name],
        planar,
        interpolations(plans),
        blocks,
        places,
        cell,
        transport,
        PuzzleSettings(**settings),
        threads,
    )
    made.keep = (plans, images, saliency, ins, scale, shift)
    made.found = cells, weights, uniform
    return made


def check(puzzle: Puzzle) -> str | None:
    """What is wrong with sizes or settings; None if nothing is."""
    text = ctypes.create_string_buffer(FAULT_BYTES)
    good = library().msda_check_puzzle(ctypes.byref(puzzle), text, FAULT_BYTES)
    return None if good else text.value.decode()


def solve(puzzle: Puzzle) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The masks of a batch and what moves, as ``MsdaPuzzle`` describes them.

    Returns:
        cells, uint8 ``(*plans.shape, places, places, 3)``; mean own weights, float32
        ``plans.shape``; and flags of the samples whose saliency was taken to be uniform.
    """
    library().msda_puzzle(ctypes.byref(puzzle))
    return puzzle.found


def blend(
    outs: np.ndarray,
    images: np.ndarray,
    plans: np.ndarray,
    cells: np.ndarray,
    levels: int,
    *,
    planar: bool = False,
    scale: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    **how: object,
) -> None:
    """Fills ``outs``; the arguments are those of :func:`dali_msda.backends.cpu.blend`."""
    if not planar:
        given = blend_arguments(outs, images, plans, scale=scale, shift=shift, **how)
        places = cells.shape[-2]
        library().msda_puzzle_blend(ctypes.byref(given), address_of(cells), places, levels)
        return
    for out, plane, given in planes(outs, images, plans.ndim, scale, shift):
        blend(out, plane, plans, cells, levels, **how | given)
