"""The array functions: a plan applied to pixels and to labels, for NumPy, torch and CuPy arrays.

They read arrays where they lie, without a copy, and return the same kind: a torch tensor in CPU
memory comes back as a torch tensor. Arrays on a GPU are mixed there, on the caller's current
stream, to the same bits. Everything is checked here, once.
"""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from dali_msda.backends import CPU, Backend, backend_of
from dali_msda.backends.checks import (
    MAX_COUNT,
    expect_layout,
    expect_pixels,
    expect_weights,
    is_planar,
    output_dtype,
    thread_count,
    written,
)
from dali_msda.backends.cpu_arrays import scale_and_shift
from dali_msda.backends.records import pairs_of
from dali_msda.backends.shapes import sample_shape
from dali_msda.plan import check
from dali_msda.policy import number
from dali_msda.puzzle import Solution
from dali_msda.puzzle import blend as blend_solved
from dali_msda.types import Array, DType, Layout, PerChannel

MAX_SOURCES = 4  # samples that one record can mix, as in kernels/msda/plan.h
SHAPES = "shape (B, H, W, C), (B, L, C) or (B, D, H, W, C)"


def blend(
    images: Array,
    plan: np.ndarray | Solution,
    *,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    mirror: ArrayLike | None = None,
    dtype: DType | None = None,
    layout: Layout = "HWC",
    out: object = None,
    threads: int = 0,
) -> Array:
    """Mix a batch as its plan says, and normalise, mirror, convert and rearrange it on the way.

    With ``w`` the own weight of a pixel::

        mixed = w * own + (1 - w) * partner                  rounded once, to float32
        out   = mixed * (1 / std) + (-mean / std)            one fused multiply-add
        uint8 output: round half to even of mixed, in [0, 255]

    The bits do not depend on the number of threads or on the instruction set. Where the weight is
    exactly 0 or 1, the other source is not read.

    Args:
        images: uint8 or float32 ``(B, H, W, C)``; each image contiguous, the batch need not be.
            Sequences ``(B, L, C)`` and volumes ``(B, D, H, W, C)`` are mixed alike; their width is
            the last axis before the channels. For tensors ``(B, C, H, W)`` give the view
            ``images.permute(0, 2, 3, 1)`` and ``layout="CHW"``: nothing is copied.
        plan: Records from :func:`draw`, one per output, ``(B,)`` or ``(B, k)``; of Puzzle Mix what
            :func:`dali_msda.puzzle.solve` returned for them and these images.
        mean: Subtracted, a number or ``(C,)``, in units of the input's pixels (0 to 255 for uint8).
        std: Divided by, likewise.
        mirror: One flag per input sample, ``(B,)``: each is flipped left to right before it is
            mixed, as own and as partner.
        dtype: ``"uint8"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``. By default the input's,
            or float32 when ``mean`` or ``std`` is given. NumPy has no bfloat16: its arrays hold the
            bits in uint16.
        layout: ``"HWC"`` or ``"CHW"`` of the output: channels last or first, for any number of
            axes. ``"CHW"`` makes ``(B, C, L)`` of sequences and ``(B, C, D, H, W)`` of volumes.
        out: Memory to write to, of the output's shape and type. It may be the images themselves if
            their type and layout fit and the plan is one of pairs.
        threads: Threads to use on the CPU, 0 for one per core.

    Returns:
        ``(B, H, W, C)`` or ``(B, C, H, W)``, of the kind that came in (NumPy or torch): ``out``
        where it was given. With a plan ``(B, k)``, the axis of the interpolations comes second:
        ``(B, k, H, W, C)`` or ``(B, k, C, H, W)``.

    Raises:
        TypeError, ValueError: If shapes, types or plan do not fit, or ``out`` overlaps the images
            in a way that would spoil them.
    """
    if isinstance(plan, Solution):
        _expect_none("mirror", mirror)
        how: dict[str, Any] = dict(
            mean=mean, std=std, dtype=dtype, layout=layout, out=out, threads=threads
        )
        return blend_solved(images, plan, **how)
    backend = backend_of(images)
    source, planar = _images(backend, images)
    size, channels = source.shape[1:-1], source.shape[-1]
    plan = check(plan, len(source), size)
    expect_layout(layout, planar)
    scale, shift = scale_and_shift(mean, std, channels)
    name = output_dtype(dtype, source, scale is not None)
    laid_out = np.moveaxis(source, -1, 1) if layout == "CHW" else source
    shape = (*plan.shape, *laid_out.shape[1:])
    memory, result = backend.arrays.output(out, shape, name, images, plan.ndim)
    pairs = _pairs(plan, laid_out, memory)
    backend.kernels.blend(
        memory,
        source,
        plan,
        out_dtype=name,
        layout="HWC" if pairs is not None else layout,
        scale=scale,
        shift=shift,
        mirror=backend.arrays.mirror_flags(mirror, len(source)),
        pairs=pairs,
        planar=planar,
        threads=thread_count(threads),
    )
    return written(result)


def _images(backend: Backend, images: object) -> tuple[np.ndarray, bool]:
    """The images as an array, and whether each of their channels is a contiguous plane."""
    array = backend.arrays.view("images", images)
    if not 3 <= array.ndim <= 5:
        raise ValueError(f"images: expected {SHAPES}, got {array.shape}")
    expect_pixels(images, array)
    if max(math.prod(array.shape[1:-2]), array.shape[-2] * array.shape[-1]) >= MAX_COUNT:
        raise ValueError(
            "images: expected fewer than 2**31 rows in a sample and values in a row, got "
            f"{array.shape}"
        )
    return array, is_planar("images", array)


def _expect_none(name: str, value: object) -> None:
    if value is not None:
        raise ValueError(f"{name}: expected None with a solution of Puzzle Mix, got {value!r}")


def _pairs(plan: np.ndarray, images: np.ndarray, out: np.ndarray) -> np.ndarray | None:
    """For a blend in place, the other sample of each output; None where nothing overlaps.

    ``images`` are seen in the layout of the output.
    """
    if not np.shares_memory(out, images):
        return None
    longer = [axis for axis, length in enumerate(images.shape) if length > 1]
    same = (
        out.ctypes.data == images.ctypes.data
        and out.shape == images.shape
        and out.dtype == images.dtype
        and all(out.strides[axis] == images.strides[axis] for axis in longer)
    )
    if not same:
        raise ValueError(
            "out: expected the images themselves, in the same layout and type, or memory apart "
            "from them, got memory that overlaps them; give another array"
        )
    pairs = pairs_of(plan, len(images))
    if pairs is not None:
        return pairs
    raise ValueError(
        "out: expected memory apart from the images, because a partner would be overwritten before "
        "it is read; give another array, or a plan of pairs (scope='pair', or partner='flip') of "
        "methods that do not shrink the partner"
    )


@overload
def targets(
    labels: Array,
    plan: np.ndarray | Solution,
    *,
    num_classes: int | None = None,
    smoothing: float = 0.0,
    compact: Literal[False] = False,
    out: object = None,
) -> Array: ...


@overload
def targets(
    labels: Array,
    plan: np.ndarray | Solution,
    *,
    num_classes: int | None = None,
    compact: Literal[True],
) -> tuple[Array, Array]: ...


@overload
def targets(
    labels: Array,
    plan: np.ndarray | Solution,
    *,
    num_classes: int | None = None,
    smoothing: float = 0.0,
    compact: bool,
    out: object = None,
) -> Any: ...


def targets(
    labels: Any,
    plan: np.ndarray | Solution,
    *,
    num_classes: int | None = None,
    smoothing: float = 0.0,
    compact: bool = False,
    weights: object = None,
    out: object = None,
) -> Any:
    """Soft labels of a mixed batch: ``sum of weight * label``, smoothed.

    With smoothing ``s`` and C classes a row is ``(1 - s) * mixed + s / C``. Equal labels are added
    up, so that every row sums to 1.

    Args:
        labels: Class indices ``(N,)`` of any integer type, or soft labels ``(N, C)``. On a GPU
            int64, int32 or float32; an index that is no class is not noticed there, and its share
            goes to no class.
        plan: Records from :func:`draw`, or the solution of Puzzle Mix, that the images were mixed
            with.
        num_classes: Number of classes, C; needed for dense rows of class indices.
        smoothing: Share of the mass that is spread over all classes, in [0, 1].
        compact: Return the sources' labels and weights instead of dense rows: lossless, and 24
            bytes instead of 4 C. Smoothing is then up to the loss.
        weights: Own label weights in place of the records', float32 of the plan's shape: those of
            :class:`dali_msda.puzzle.Solution`, wherever they lie.
        out: Memory for the dense rows, float32 ``(B, C)``.

    Returns:
        float32 ``(B, C)``; or, if ``compact``, int64 ``(B, n)`` class indices and float32
        ``(B, n)`` weights, with n = 2 or the greatest number of sources in the plan. A source that
        takes no part repeats the own label with weight 0. A plan ``(B, k)`` gives ``(B, k, C)`` or
        ``(B, k, n)``.

    Raises:
        TypeError, ValueError: If shapes or types do not fit, or a label is out of range.
    """
    backend = backend_of(labels)
    array, classes = backend.arrays.labels(labels, num_classes)
    if isinstance(plan, Solution):
        weights, plan = plan.weights, plan.drawn
    plan, own = check(plan, len(array), used_for="labels"), {}
    if weights is not None:
        own["own"] = backend.arrays.view("weights", weights)
        expect_weights(own["own"], plan, look=backend is CPU)
    number("smoothing", smoothing, 0.0, 1.0, "a share in [0, 1]")
    if compact:
        if array.ndim == 2:
            raise ValueError("compact: expected False with soft labels, got True")
        if smoothing or out is not None:
            raise ValueError(
                "compact: expected no smoothing and no out; smooth in the loss, where it is free"
            )
        used = max(2, int(plan["sources"].max(initial=2)))
        shape = (*plan.shape, MAX_SOURCES)
        indices, indices_ = backend.arrays.output(None, shape, "int64", labels)
        shares, shares_ = backend.arrays.output(None, shape, "float32", labels)
        backend.kernels.targets_compact(indices, shares, plan, array, **own)
        return indices_[..., :used], shares_[..., :used]
    if not classes:
        raise ValueError("num_classes: expected a number of classes for dense rows, got None")
    memory, result = backend.arrays.output(out, (*plan.shape, classes), "float32", labels)
    if np.shares_memory(memory, array):
        raise ValueError("out: expected memory apart from the labels'; give another array")
    backend.kernels.targets_dense(memory, plan, array, smoothing, **own)
    return written(result)


@overload
def mask(
    plan: np.ndarray | Solution,
    height: int | None = None,
    width: int | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    out: None = None,
) -> np.ndarray: ...


@overload
def mask(
    plan: np.ndarray | Solution,
    height: int | None = None,
    width: int | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    out: Array,
) -> Array: ...


def mask(
    plan: np.ndarray | Solution,
    height: int | None = None,
    width: int | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    out: Any = None,
) -> Any:
    """Own weight of every pixel, as :func:`blend` applies it.

    Args:
        plan: Records from :func:`draw`, ``(B,)`` or ``(B, k)``, or a solution of Puzzle Mix.
        height: Height the plan was drawn for, in pixels.
        width: Width the plan was drawn for, in pixels.
        shape: Instead of height and width: ``(length,)``, ``(height, width)`` or
            ``(depth, height, width)``.
        out: Memory to write to, contiguous, on the CPU or on a GPU.

    Returns:
        float32 in [0, 1]: ``(B, H, W)`` or ``(B, *shape)``; with a plan ``(B, k)``
        ``(B, k, H, W)`` or ``(B, k, *shape)``. It is ``out`` where that was given.

    Raises:
        TypeError, ValueError: If the plan was drawn for another size, or ``out`` does not fit.
    """
    shape = sample_shape(height, width, shape)
    if isinstance(plan, Solution):
        _expect_none("out", out)
        return plan.mask(*shape)
    plan = check(plan, MAX_COUNT, shape)
    backend = backend_of(out)
    weights, result = backend.arrays.output(out, (*plan.shape, *shape), "float32", out)
    backend.kernels.mask(weights, plan)
    return written(result)
