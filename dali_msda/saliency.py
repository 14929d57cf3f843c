"""Where images are most salient: what SaliencyMix centres its boxes on."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from dali_msda.backends import Backend, backend_of
from dali_msda.backends.checks import MAX_COUNT, expect_contiguous, expect_pixels, thread_count
from dali_msda.types import Array


@overload
def saliency(
    images: Array,
    *,
    maps: Literal[False] = False,
    mirror: ArrayLike | None = None,
    threads: int = 0,
) -> Array: ...


@overload
def saliency(
    images: Array, *, maps: Literal[True], mirror: ArrayLike | None = None, threads: int = 0
) -> tuple[Array, Array]: ...


def saliency(
    images: Any, *, maps: bool = False, mirror: ArrayLike | None = None, threads: int = 0
) -> Any:
    """Find the most salient pixel of each image, by a filter that needs no model.

    The filter smooths the intensity twice and compares each pixel with the mean of the others in
    six squares of 24 to 224 pixels around it. One sum holds by how much the pixel is brighter,
    another by how much it is darker. Each sum is scaled to 255 at most; the map is their total, cut
    off at 255. All arithmetic is on whole numbers and the same on every machine.

    The map is the one that OpenCV's ``StaticSaliencyFineGrained`` makes of the same picture in BGR
    order. Only in images of more than 32 896 pixels may it differ, by single grey levels: their
    sums no longer fit the floats that OpenCV adds them up in.

    Images on a GPU are filtered there, on the current stream, and the caller does not wait.

    Args:
        images: uint8 or float32 ``(B, H, W, C)`` with one channel or three, red first; each image
            contiguous. Floats are in units of 0 to 255 and are rounded to uint8 first (halves to
            even, beyond the range to its ends, NaN to 0), so they must not be normalised yet.
        maps: Whether to return the maps as well.
        mirror: One flag per image, ``(B,)``: whether its map and peak are flipped left to right
            after the filter. (The filter of a flipped image may peak elsewhere, because the squares
            reach one pixel further to the right and below.)
        threads: Threads to use on the CPU, 0 for one per core.

    Returns:
        int32 ``(B, 2)``, y and x of the map's greatest value; of several equal ones, the first in
        reading order. With ``maps``, that and uint8 ``(B, H, W)``. The arrays are of the kind that
        came in and lie where the images are. (:func:`draw` works on the CPU: give it a copy of a
        GPU's peaks, ``peaks.cpu()`` or ``peaks.get()``, which waits for them.)

    Raises:
        TypeError, ValueError: If the images or flags are of another kind or shape.

    Reference:
        Montabone and Soto, Human detection using a mobile platform and novel features derived from
        a visual saliency mechanism, Image and Vision Computing 28 (3), 2010.
    """
    backend = backend_of(images)
    array = _images(backend, images)
    if not isinstance(maps, bool):
        raise TypeError(f"maps: expected True or False, got {maps!r}")
    peaks, result = backend.arrays.output(None, (len(array), 2), "int32", images)
    found, shown = None, None
    if maps:
        found, shown = backend.arrays.output(None, array.shape[:3], "uint8", images)
    flags = backend.arrays.mirror_flags(mirror, len(array))
    backend.kernels.saliency(peaks, array, maps=found, mirror=flags, threads=thread_count(threads))
    return (result, shown) if maps else result


def _images(backend: Backend, images: object) -> np.ndarray:
    array = backend.arrays.view("images", images)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape[1:]:
        raise ValueError(
            "images: expected shape (B, H, W, C) with at least one pixel and 1 or 3 channels, got "
            f"{array.shape}"
        )
    expect_pixels(images, array)
    if array.shape[1] * array.shape[2] >= MAX_COUNT:
        raise ValueError(f"images: expected fewer than 2**31 pixels each, got {array.shape}")
    expect_contiguous("images", array)
    return array
