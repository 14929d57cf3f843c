"""Co-Mixup on the CPU, for arrays that their callers have checked."""

from __future__ import annotations

import ctypes

import numpy as np

from dali_msda.backends.cpu import address_of, planes, pointers_to
from dali_msda.backends.cpu_library import (
    DTYPES,
    LAYOUTS,
    Blend,
    CoMixup,
    CoMixupMaps,
    library,
)


def measure(
    saliency: np.ndarray, blocks: int, window: int, stride: int, threads: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What :func:`solve` needs of saliency maps, float32 ``(B, H, W)``.

    Returns:
        shares of the blocks, int32 ``(B, blocks, blocks)`` in units of 2**-24; peaks, int32
        ``(B, 2)``; and flags of the maps that were taken to be uniform. See ``MsdaCoMixupMaps``.
    """
    samples, height, width = saliency.shape
    shares = np.empty((samples, blocks, blocks), np.int32)
    peaks, uniform = np.empty((samples, 2), np.int32), np.empty(samples, np.uint8)
    maps = CoMixupMaps(
        *map(address_of, (shares, peaks, uniform, saliency)),
        samples,
        height,
        width,
        blocks,
        window,
        stride,
        threads,
    )
    library().msda_comixup_maps(ctypes.byref(maps))
    return shares, peaks, uniform


def solve(
    shares: np.ndarray, peaks: np.ndarray, part: int, **settings: float
) -> tuple[np.ndarray, np.ndarray]:
    """The samples that each block shows half of, int32 ``(B, blocks, blocks, 2)``, and costs.

    ``settings`` are the other members of ``MsdaCoMixup``. The costs are those of the parts.
    """
    sources = np.empty((*shares.shape, 2), np.int32)
    costs = np.empty(-(-len(shares) // part), np.float64)
    comixup = CoMixup(
        *map(address_of, (sources, costs, shares, peaks)),
        samples=len(shares),
        blocks=shares.shape[1],
        part=part,
        **settings,
    )
    library().msda_comixup(ctypes.byref(comixup))
    return sources, costs


def blend(
    outs: np.ndarray,
    images: np.ndarray,
    sources: np.ndarray,
    *,
    out_dtype: str,
    planar: bool = False,
    threads: int = 0,
) -> None:
    """Fills ``outs``, laid out as the images ``(B, H, W, C)``; ``planar`` if channel by channel."""
    if planar:
        for out, plane, _ in planes(outs, images, 1, None, None):
            blend(out, plane, sources, out_dtype=out_dtype, threads=threads)
        return
    outs_, ins = pointers_to(outs), pointers_to(images)
    samples, height, width, channels = images.shape
    given = Blend(
        outs=address_of(outs_),
        ins=address_of(ins),
        batch=samples,
        samples=samples,
        height=height,
        width=width,
        channels=channels,
        in_dtype=DTYPES[images.dtype.name],
        out_dtype=DTYPES[out_dtype],
        out_layout=LAYOUTS["HWC"],
        interpolations=1,
        threads=threads,
        isa=-1,
    )
    library().msda_comixup_blend(ctypes.byref(given), address_of(sources), sources.shape[1])
