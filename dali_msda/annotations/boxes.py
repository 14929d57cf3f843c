"""Boxes of the objects in a mixed batch: where they are now, and how much of each shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dali_msda.annotations.sources import own_weights, source_weights, sources_of
from dali_msda.backends.cpu_arrays import like, mirror_flags, to_numpy
from dali_msda.plan import check
from dali_msda.policy import codes_weighing_by, has_trait, number
from dali_msda.types import Array


def _box_array(name: str, boxes: object) -> np.ndarray:
    """Boxes of a sample as floats ``(n, 4)``."""
    array = to_numpy(name, boxes)
    if array.size == 0 and array.ndim in (1, 2):
        array = array.reshape(0, 4).astype(array.dtype if array.dtype.kind == "f" else np.float32)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name}: expected numbers of shape (n, 4), x0, y0, x1, y1 in pixels, got "
            f"{array.dtype} {array.shape}"
        )
    kept = array.dtype.kind == "f" and array.dtype.itemsize == 8  # float64, of any byte order
    array = array.astype(np.float64 if kept else np.float32, copy=False)
    ordered = (array[:, 0] <= array[:, 2]) & (array[:, 1] <= array[:, 3])
    wrong = np.flatnonzero(~(np.isfinite(array).all(1) & ordered))
    if len(wrong):
        raise ValueError(
            f"{name}[{wrong[0]}]: expected finite x0 <= x1 and y0 <= y1, got "
            f"{array[wrong[0]].tolist()}; boxes of x, y, width, height must be converted"
        )
    return array


def _lists(boxes: Any, labels: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes and labels of every sample as arrays that fit each other."""
    for name, value in (("boxes", boxes), ("labels", labels)):
        no_list = isinstance(value, str | dict) or not getattr(value, "ndim", 1)
        if no_list or not hasattr(value, "__len__"):
            raise TypeError(f"{name}: expected a list, one entry per sample, got {value!r}")
    if len(labels) != len(boxes):
        raise ValueError(
            f"labels: expected {len(boxes)}, one per entry of boxes, got {len(labels)}"
        )
    arrays, classes = [], []
    for i in range(len(boxes)):
        arrays.append(_box_array(f"boxes[{i}]", boxes[i]))
        one = to_numpy(f"labels[{i}]", labels[i])
        if one.ndim < 1 or len(one) != len(arrays[-1]):
            raise ValueError(
                f"labels[{i}]: expected {len(arrays[-1])}, one per box, got shape {one.shape}"
            )
        if not len(one) and isinstance(labels[i], list | tuple):
            one = one.astype(np.int64)
        classes.append(one)
    _expect_one_kind(classes, labels)
    return arrays, classes


def _expect_one_kind(classes: list[np.ndarray], labels: Sequence[object]) -> None:
    """Raise TypeError if some samples' labels are numbers and others' are not: they are joined.

    Empty ones may be of any type, but for tensors, which must hold what is joined to them.
    """
    untyped = (list, tuple, np.ndarray)
    named = {
        i: one.dtype
        for i, one in enumerate(classes)
        if len(one) or not isinstance(labels[i], untyped)
    }
    for i, dtype in named.items():
        first, model = next(iter(named.items()))
        if (dtype.kind in "biuf") != (model.kind in "biuf"):
            raise TypeError(
                f"labels[{i}]: expected a type like that of labels[{first}], {model}, got {dtype}; "
                "give the labels of all samples as numbers, or all as names"
            )


def _placed(boxes: np.ndarray, record: np.void, mirrored: bool, shrunk: bool) -> np.ndarray:
    """Boxes of a source at their places in the mixed image, float64."""
    height, width = int(record["height"]), int(record["width"])
    x0, y0, x1, y1 = np.clip(boxes.astype(np.float64).T, 0, [[width], [height]] * 2)
    if mirrored:
        x0, x1 = width - x1, width - x0
    if shrunk:
        _, along_y, along_x = record["falloff"].astype(np.float64)
        x0, x1 = record["x0"] + x0 / along_x, record["x0"] + x1 / along_x
        y0, y1 = record["y0"] + y0 / along_y, record["y0"] + y1 / along_y
    return np.column_stack([x0, y0, x1, y1])


def _covered(low: float, high: float, size: int) -> tuple[int, np.ndarray]:
    """First pixel of an axis that an interval touches, and how much it covers of each."""
    first, last = int(np.floor(low)), min(int(np.ceil(high)), size)
    at = np.arange(min(first, last), last)
    return first, np.minimum(at + 1, high) - np.maximum(at, low)


def _visible(
    box: np.ndarray, weights: np.ndarray, cut: bool
) -> tuple[np.float32, np.ndarray] | None:
    """Mean weight in a box and what is left of the box; None where nothing of it shows."""
    x0, y0, x1, y1 = box
    area = (x1 - x0) * (y1 - y0)
    if not area > 0:
        return None
    top, rows = _covered(y0, y1, weights.shape[0])
    left, columns = _covered(x0, x1, weights.shape[1])
    inside = weights[top : top + len(rows), left : left + len(columns)]
    mean = float(rows @ inside.astype(np.float64) @ columns) / area
    if not mean > 0:
        return None
    if cut:
        down = top + np.flatnonzero(inside.any(1))
        across = left + np.flatnonzero(inside.any(0))
        x0, x1 = max(x0, across[0]), min(x1, across[-1] + 1)
        y0, y1 = max(y0, down[0]), min(y1, down[-1] + 1)
    return np.float32(min(mean, 1.0)), np.array([x0, y0, x1, y1])


def _appearances(record: np.void, own: np.ndarray) -> list[tuple[int, bool, np.ndarray]]:
    """The samples that show in a mixed image: index, whether shrunk, weight at every pixel."""
    shown: dict[tuple[int, bool], np.ndarray] = {}
    weights = [own] if has_trait(record, "erases") else source_weights(record, own)
    for k, (index, weight) in enumerate(zip(sources_of(record), weights, strict=True)):
        key = (index, k == 1 and bool(has_trait(record, "shrinks")))
        # A sample that meets itself shows once, with all of its weight.
        shown[key] = np.minimum(shown[key] + weight, 1) if key in shown else weight
    return [(*key, weight) for key, weight in shown.items()]


def _is_cut(record: np.void) -> bool:
    """Whether a source ends at the border of what shows of it; else it fades."""
    return record["soft"] == 0 and record["method"] not in codes_weighing_by("bump")


def boxes(
    boxes: Sequence[Array],
    labels: Sequence[Array],
    plan: np.ndarray,
    *,
    mirror: ArrayLike | None = None,
    min_visible: float = 0.3,
) -> tuple[list[Array], list[Array], list[Array]]:
    """Boxes of all objects that show in each mixed image, and how much of each shows.

    A sample's boxes go where :func:`blend` puts its pixels: mirrored with it, shrunk with the
    partner of ResizeMix, cut off at the border of the image. The weight of a box is the mean, over
    its area, of the weight that its sample has there in :func:`mask`. Where a method cuts (CutMix,
    FMix, ResizeMix, Cutout, the box of HMix), what is left of a box is the smallest one around all
    that shows of it; where it fades (Mixup, GMix, softened FMix), a box stays whole. A sample that
    is its own partner shows once.

    Args:
        boxes: One entry per sample, ``(n, 4)``: x0, y0, x1, y1 in pixels, where pixel ``x`` reaches
            from ``x`` to ``x + 1``. Any number of boxes, none as well.
        labels: One entry per sample, ``(n, ...)`` of any type.
        plan: Records from :func:`draw`, the ones the images were mixed with.
        mirror: The flags that :func:`blend` got.
        min_visible: Least weight of a box that is kept, in [0, 1]. A box of which nothing shows is
            always dropped.

    Returns:
        Lists with one entry per record, in order: boxes ``(m, 4)`` of a float type, labels
        ``(m, ...)`` and weights, float32 ``(m,)`` in (0, 1], those of the own sample first. Entries
        are of the own sample's kind (NumPy or torch).

    Raises:
        TypeError, ValueError: If boxes, labels and plan do not fit each other.
    """
    arrays, classes = _lists(boxes, labels)
    plan = check(plan, len(arrays)).reshape(-1)
    if (plan["depth"] > 1).any():
        deep = int(np.flatnonzero(plan["depth"] > 1)[0])
        raise ValueError(
            f"plan[{deep}]: depth: expected 1, as images have, got {plan['depth'][deep]}; boxes of "
            "volumes are not mixed"
        )
    number("min_visible", min_visible, 0.0, 1.0, "a share in [0, 1]")
    least = np.float32(min_visible)
    flags = mirror_flags(mirror, len(arrays))
    results: tuple[list, list, list] = ([], [], [])
    for record, own in zip(plan, own_weights(plan), strict=True):
        left, tags, weights = [], [], []
        for index, shrunk, shown in _appearances(record, own):
            mirrored = flags is not None and bool(flags[index])
            placed = _placed(arrays[index], record, mirrored, shrunk)
            seen = enumerate(_visible(box, shown, _is_cut(record)) for box in placed)
            kept = [(j, *one) for j, one in seen if one and one[0] >= least]
            rows = np.array([box for _, _, box in kept]).reshape(-1, 4)
            left.append(rows.astype(arrays[index].dtype))
            tags.append(classes[index][[j for j, _, _ in kept]])
            weights.append(np.array([weight for _, weight, _ in kept], np.float32))
        model = int(record["own"])
        results[0].append(like(np.concatenate(left), boxes[model]))
        named = [each for each in tags if len(each)] or tags[
            :1
        ]  # empty ones have no say in the type
        results[1].append(like(np.concatenate(named), labels[model]))
        results[2].append(like(np.concatenate(weights), boxes[model]))
    return results
