"""Puzzle Mix on the CPU, for arrays that their callers have checked."""

from __future__ import annotations

import ctypes

import numpy as np

from dali_msda.backends.cpu import FAULT_BYTES, address_of, blend_arguments, planes, pointers_to
from dali_msda.backends.cpu_library import DTYPES, Puzzle, PuzzleSettings, library
from dali_msda.backends.records import interpolations

Found = tuple[np.ndarray, np.ndarray, np.ndarray]


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
    found: Found | None = None,
    **settings: float,
) -> Puzzle:
    """What :func:`solve` hands to the kernels, with room for what it finds.

    The images are ``(B, H, W, C)``, and ``planar`` if each channel of a sample is contiguous;
    ``saliency`` is float32 ``(B, H, W)``. ``settings`` are the members of ``PuzzleSettings``.
    ``found`` is memory of :func:`found_shapes`, if not new one.
    """
    ins = pointers_to(images)
    if found is None:
        found = tuple(np.empty(*how) for how in found_shapes(plans, len(images), places))
    made = Puzzle(
        *map(address_of, (*found, saliency, ins, plans, scale, shift)),
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
    made.found = found
    return made


def found_shapes(
    plans: np.ndarray, samples: int, places: int
) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Shapes and types of the three arrays that :func:`solve` returns."""
    cells = (*plans.shape, places, places, 3)
    return (cells, "uint8"), (plans.shape, "float32"), ((samples,), "uint8")


def check(puzzle: Puzzle) -> str | None:
    """What is wrong with sizes or settings; None if nothing is."""
    text = ctypes.create_string_buffer(FAULT_BYTES)
    good = library().msda_check_puzzle(ctypes.byref(puzzle), text, FAULT_BYTES)
    return None if good else text.value.decode()


def solve(puzzle: Puzzle) -> Found:
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
