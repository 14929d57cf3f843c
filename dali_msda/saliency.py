"""Where images are most salient: what SaliencyMix centres its boxes on."""

from __future__ import annotations

import numpy as np

from dali_msda.backends import Backend, backend_of
from dali_msda.backends.checks import MAX_COUNT, expect_contiguous, expect_pixels, thread_count


def saliency(
    images: object, *, maps: bool = False, mirror: object = None, threads: int = 0
) -> object:
    """Find the most salient pixel of each image, by a filter that needs no model.

    Intensity is smoothed twice; each pixel is compared with the mean of the others in six squares
    of 24 to 224 pixels around it; what it is brighter by and what it is darker by are added up
    apart, each scaled to 255 at most, and summed (where that passes 255, it is 255). All of it is
    whole numbers and the same on every machine.

    The map is that of OpenCV's ``StaticSaliencyFineGrained`` of the same picture in its BGR order,
    but for single grey levels in some images of more than 32 896 pixels, whose sums no longer fit
    the floats that OpenCV adds them up in.

    Of images on a GPU it is found there, on the current stream, without waiting for it.

    Args:
        images: uint8 or float32 ``(B, H, W, C)`` with one channel or three, red first; each image
            contiguous. Floats are in units of 0 to 255 and are rounded to uint8 first (halves to
            even, beyond the range to its ends, NaN to 0), so they must not be normalised yet.
        maps: Whether to return the maps as well.
        mirror: One flag per image, ``(B,)``: its map and peak are flipped left to right. They are
            those of the image as it lies in memory; the squares are one pixel longer to the right
            and below, so that the filter of a flipped image may peak elsewhere.
        threads: Threads to use on the CPU, 0 for one per core.

    Returns:
        int32 ``(B, 2)``, y and x of the map's greatest value, the first in reading order of
        several; with ``maps``, that and uint8 ``(B, H, W)``. Arrays of the kind that came in, where
        the images are. (:func:`draw` works on the CPU: it takes the peaks of a GPU as a copy,
        ``peaks.cpu()`` or ``peaks.get()``, which waits for them.)

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
