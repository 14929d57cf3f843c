"""Maps of classes, mixed as the images that they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dali_msda.annotations.sources import own_weights, source_weights, sources_of
from dali_msda.backends.checks import expect_classes, written
from dali_msda.backends.cpu_arrays import mirror_flags, output, view
from dali_msda.plan import check
from dali_msda.policy import has_trait
from dali_msda.types import Array

MAPS = "shape (B, H, W), (B, L) or (B, D, H, W)"
REMEDY = "leave out an axis of one channel"


def _is_class(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
        raise TypeError(f"{name}: expected a class (a whole number) or None, got {value!r}")


def _maps(maps: object, num_classes: object, ignore: object) -> np.ndarray:
    """Maps as an array whose classes are in range."""
    array = view("maps", maps)
    if not 2 <= array.ndim <= 4:
        raise ValueError(f"maps: expected {MAPS}, got {array.shape}; {REMEDY}")
    if array.dtype.kind not in "biu":
        raise TypeError(
            f"maps: expected an integer type, got {array.dtype}; real values are mixed by blend()"
        )
    if 0 in array.shape[1:]:
        raise ValueError(f"maps: expected at least one pixel, got {array.shape}")
    if num_classes is None:
        return array
    expect_classes(num_classes)
    wrong = (array < 0) | (array >= num_classes)
    if ignore is not None and array.dtype.kind != "b":
        wrong &= array != ignore
    if wrong.any():
        where = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"maps{where}: expected 0 <= class < {num_classes} or ignore={ignore}, "
            f"got {array[tuple(where)]}; num_classes must cover every class"
        )
    return array


def _shown(maps: np.ndarray, flags: np.ndarray | None, record: np.void) -> list[np.ndarray]:
    """Map of each source, ``(rows, W)``, pixel by pixel as :func:`blend` reads its image."""
    shown = []
    for k, index in enumerate(sources_of(record)):
        rows = maps[index].reshape(-1, maps.shape[-1])
        if flags is not None and flags[index]:
            rows = rows[:, ::-1]
        if k == 1 and has_trait(record, "shrinks"):
            gathered = rows[np.ix_(_shrunk_from(record, "y", 1), _shrunk_from(record, "x", 2))]
            rows = rows.copy()
            rows[record["y0"] : record["y1"], record["x0"] : record["x1"]] = gathered
        shown.append(rows)
    return shown


def _shrunk_from(record: np.void, axis: str, number: int) -> np.ndarray:
    """``shrunk_from`` of kernels/msda/mask.h for every pixel of an axis of the box."""
    at = np.arange(record[axis + "1"] - record[axis + "0"], dtype=np.float32)
    last = record["height" if axis == "y" else "width"] - 1
    return np.minimum(np.floor(at * record["falloff"][number]), last).astype(np.int64)


def _cut(result: np.ndarray, shown: list[np.ndarray], record: np.void, own: np.ndarray) -> None:
    """The class of greatest weight at every pixel; of equals, that of the earlier source."""
    if len(shown) <= 2:
        result[:] = shown[0] if len(shown) == 1 else np.where(own >= 0.5, *shown)
        return
    weights = source_weights(record, own)
    best = np.full(own.shape, -1.0)
    for one in shown:
        pairs = zip(weights, shown, strict=True)
        mass = sum(weight.astype(np.float64) * (other == one) for weight, other in pairs)
        np.copyto(result, one, where=mass > best)
        best = np.maximum(best, mass)


def _add(planes: np.ndarray, classes: np.ndarray, weights: np.ndarray, ignore: object) -> None:
    """Add the weight of each pixel to the plane of its class."""
    flat, classes, weights = planes.reshape(-1), classes.reshape(-1), weights.reshape(-1)
    counted = weights > 0
    if ignore is not None:
        counted &= classes != ignore
    pixels = np.flatnonzero(counted)
    flat[classes[pixels].astype(np.int64) * len(classes) + pixels] += weights[pixels]


def segmentation(
    maps: Array,
    plan: np.ndarray,
    *,
    mirror: ArrayLike | None = None,
    num_classes: int | None = None,
    soft: bool = False,
    ignore: int | None = 255,
    erased: int | None = None,
    out: Any = None,
) -> Array:
    """Maps of classes, mixed as :func:`blend` mixes the images they belong to.

    A pixel takes the class of the source that shows there: of the own one where its weight is at
    least 1/2, else of the partner; where three or four samples are averaged, the class of greatest
    weight. For CutMix, FMix and ResizeMix this is the cut itself. Soft maps keep the weights.

    Args:
        maps: Class of every pixel, of any integer type or bool, ``(N, H, W)``, ``(N, L)`` or
            ``(N, D, H, W)``.
        plan: Records from :func:`draw`, the ones the images were mixed with.
        mirror: The flags that :func:`blend` got.
        num_classes: Number of classes, C. Needed for soft maps; classes are checked if given.
        soft: Return the weight of each class at each pixel.
        ignore: Class that takes no part in the loss; None if there is none. It may lie outside the
            ``num_classes``. In soft maps an ignored pixel of a source adds nothing. The weights of
            a pixel then sum to the share of the sources that are not ignored there (1 where none
            is, 0 where all are), so that their cross-entropy is the weighted mean of the sources'
            losses.
        erased: Class of the pixels that Cutout erased, for example that of ``ignore``; by default
            they keep their own, as labels do.
        out: Memory to write to, of the output's shape and type, apart from the maps.

    Returns:
        ``(B, H, W)`` of the type that came in, or float32 ``(B, C, H, W)`` if ``soft``, likewise
        for sequences and volumes; of the kind that came in (NumPy or torch), ``out`` where it was
        given. A plan ``(B, k)`` puts its axis of interpolations second.

    Raises:
        TypeError, ValueError: If shapes, types or plan do not fit, or a class is out of range.
    """
    _is_class("ignore", ignore)
    _is_class("erased", erased)
    array = _maps(maps, num_classes, ignore)
    plan = check(plan, len(array))
    if array.shape[-1] == 1 and (plan["width"] > 1).any():
        raise ValueError(f"maps: expected {MAPS}, got {array.shape}; {REMEDY}")
    plan = check(plan, len(array), array.shape[1:])
    flags = mirror_flags(mirror, len(array))
    if soft and num_classes is None:
        raise ValueError("num_classes: expected a number of classes for soft maps, got None")
    _erasable(erased, array, num_classes, ignore)
    shape = (*plan.shape, *array.shape[1:])
    if num_classes is not None and soft:
        shape = (*plan.shape, int(num_classes), *array.shape[1:])
    memory, result = output(out, shape, "float32" if soft else array.dtype.name, maps, axes=1)
    if np.shares_memory(memory, array):
        raise ValueError("out: expected memory apart from the maps'; give another array")
    records = plan.reshape(-1)
    for at, record, own in zip(np.ndindex(plan.shape), records, own_weights(records), strict=True):
        mixed = memory[at]
        mixed = mixed.reshape(*mixed.shape[:soft], *own.shape)  # a view: samples are contiguous
        shown = _shown(array, flags, record)
        if erased is not None and has_trait(record, "erases"):
            shown = [np.where(own == 0, np.array(erased, array.dtype), shown[0])]
        if not soft:
            _cut(mixed, shown, record, own)
            continue
        mixed[:] = 0
        for classes, weights in zip(shown, source_weights(record, own), strict=True):
            _add(mixed, classes, weights, ignore)
    return written(result)


def _erasable(
    erased: int | None, maps: np.ndarray, num_classes: int | None, ignore: int | None
) -> None:
    if erased is None:
        return
    low, high = (
        (0, 1) if maps.dtype.kind == "b" else (np.iinfo(maps.dtype).min, np.iinfo(maps.dtype).max)
    )
    if not low <= erased <= high:
        raise ValueError(f"erased: expected a class that {maps.dtype} holds, got {erased}")
    if num_classes is not None and erased != ignore and not 0 <= erased < num_classes:
        raise ValueError(
            f"erased: expected 0 <= class < {num_classes} or ignore={ignore}, got {erased}"
        )
