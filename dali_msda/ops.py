"""The array functions: a plan applied to pixels and to labels, for NumPy, torch and CuPy arrays.

They take arrays where they are and return the same kind, without a copy: a torch tensor in CPU
memory comes back as a torch tensor, and what lies on a GPU is mixed there, on the caller's current
stream, to the same bits. Everything is checked here, once.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from dali_msda.backends import cpu, cuda, cuda_arrays, cuda_checks
from dali_msda.backends.cpu_arrays import (
    expect_classes,
    expect_contiguous,
    like,
    mirror_flags,
    scale_and_shift,
    thread_count,
    to_numpy,
)
from dali_msda.backends.shapes import sample_shape
from dali_msda.plan import check, draw
from dali_msda.policy import METHODS, Policy, number
from dali_msda.saliency import saliency

SHAPES = "shape (B, H, W, C), (B, L, C) or (B, D, H, W, C)"


def mask(
    plan: np.ndarray,
    height: int | None = None,
    width: int | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    out: object = None,
) -> object:
    """Own weight of every pixel, as :func:`blend` applies it.

    Args:
        plan: Records from :func:`draw`, ``(B,)`` or ``(B, k)``.
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
    plan = check(plan, 2**31, shape)
    memory = cuda_checks.output(out, (*plan.shape, *shape), "float32", out)
    weights = cuda_checks.contiguous(memory)
    if isinstance(weights, cuda_arrays.GpuArray):
        cuda.mask(weights, plan)
    else:
        cpu.mask(weights, plan, _fields(plan))
    return weights if out is None else out


def _fields(plan: np.ndarray, threads: int = 0) -> np.ndarray | None:
    """Masks of the FMix records: a row of bits (or floats, where one is softened) per record."""
    if not (plan["method"] == METHODS["fmix"].code).any():
        return None
    first = plan.reshape(-1)[0]
    pixels = int(first["depth"]) * int(first["height"]) * int(first["width"])
    words = pixels if plan["soft"].any() else (pixels + 31) // 32
    rows = _scratch(plan.size * words).reshape(plan.size, words)
    cpu.fields(rows, plan, threads=threads)
    return rows


_kept = threading.local()


def _scratch(words: int) -> np.ndarray:
    """Memory that the calling thread keeps between calls."""
    if getattr(_kept, "words", None) is None or len(_kept.words) < words:
        _kept.words = np.empty(words, np.uint32)
    return _kept.words[:words]


def _images(images: object) -> tuple[np.ndarray, bool]:
    """The images, and whether each channel of one lies behind the other: planes."""
    there = cuda_arrays.on_gpu(images)
    array = cuda_arrays.view("images", images) if there else to_numpy("images", images)
    dtype = str(getattr(images, "dtype", array.dtype)).removeprefix("torch.")
    if not 3 <= array.ndim <= 5:
        raise ValueError(f"images: expected {SHAPES}, got {array.shape}")
    if array.dtype not in (np.uint8, np.float32):
        raise TypeError(f"images: expected uint8 or float32, got {dtype}")
    if 0 in array.shape[1:]:
        raise ValueError(f"images: expected at least one pixel and channel, got {array.shape}")
    if max(math.prod(array.shape[1:-2]), array.shape[-2] * array.shape[-1]) >= 2**31:
        raise ValueError(
            "images: expected fewer than 2**31 rows in a sample and values in a row, got "
            f"{array.shape}"
        )
    first = array[:1]
    if not first.flags.c_contiguous and np.moveaxis(first, -1, 1).flags.c_contiguous:
        return array, True
    expect_contiguous("images", array)
    return array, False


def _out_dtype(dtype: object, images: np.ndarray, normalises: bool) -> str:
    if dtype is None:
        return "float32" if normalises else images.dtype.name
    name = str(dtype).removeprefix("torch.") if not isinstance(dtype, type) else dtype.__name__
    if name not in cpu.DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(cpu.DTYPES)}, got {dtype!r}")
    if name == "uint8" and (normalises or images.dtype != np.uint8):
        raise ValueError(
            "dtype: expected a float type for normalised or float images, got 'uint8'; leave out "
            "mean and std, or ask for float32"
        )
    return name


def _pairs(plan: np.ndarray, images: np.ndarray, out: np.ndarray) -> np.ndarray | None:
    """For a blend in place, the other sample of each output; None where nothing overlaps."""
    if not np.shares_memory(out, images):
        return None
    same = (
        out.ctypes.data == images.ctypes.data
        and out.shape == images.shape
        and out.strides == images.strides
        and out.dtype == images.dtype
    )
    if not same:
        raise ValueError(
            "out: expected the images themselves or memory apart from them, got memory that "
            "overlaps them; give another array"
        )
    slots = np.arange(len(images), dtype=np.int32)
    partner = np.where(plan["sources"] > 1, plan["partner"], plan["own"]).astype(np.int32)
    shrinks = (plan["method"] == METHODS["resizemix"].code).any()  # reads rows other than its own
    in_order = plan.shape == slots.shape and (plan["own"] == slots).all()
    if in_order and (plan["sources"] <= 2).all() and not shrinks:
        pairs = partner.copy()
        alone = partner == slots
        named = np.flatnonzero(~alone)
        # An unmixed sample whose partner still reads it belongs to that pair.
        free = named[alone[partner[named]]]
        pairs[partner[free]] = free
        if (pairs[pairs] == slots).all():
            return pairs
    raise ValueError(
        "out: expected memory apart from the images, because a partner would be overwritten before "
        "it is read; give another array, or a plan of pairs (scope='pair', or partner='flip') "
        "without ResizeMix"
    )


def blend(
    images: object,
    plan: np.ndarray,
    *,
    mean: object = None,
    std: object = None,
    mirror: object = None,
    dtype: object = None,
    layout: str = "HWC",
    out: object = None,
    threads: int = 0,
) -> object:
    """Mix a batch as its plan says, and normalise, mirror, convert and rearrange it on the way.

    With ``w`` the own weight of a pixel::

        mixed = w * own + (1 - w) * partner                  rounded once, to float32
        out   = mixed * (1 / std) + (-mean / std)            one fused multiply-add
        uint8 output: round half to even of mixed, in [0, 255]

    The bits do not depend on the number of threads or on the instruction set. Where the weight is
    exactly 0 or 1, the other source is not read.

    Args:
        images: uint8 or float32 ``(B, H, W, C)``; each image contiguous, the batch need not be.
            Sequences ``(B, L, C)`` and volumes ``(B, D, H, W, C)`` likewise: all of this holds for
            them, with the last axis before the channels for the width. Of ``(B, C, H, W)`` give the
            view ``images.permute(0, 2, 3, 1)`` and ``layout="CHW"``: nothing is copied.
        plan: Records from :func:`draw`, one per output, ``(B,)`` or ``(B, k)``.
        mean: Subtracted, a number or ``(C,)``, in units of the input's pixels (0 to 255 for uint8).
        std: Divided by, likewise.
        mirror: One flag per input sample, ``(B,)``: each is flipped left to right before it is
            mixed, as own and as partner.
        dtype: ``"uint8"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``. By default the input's,
            or float32 when ``mean`` or ``std`` is given. NumPy has no bfloat16: its arrays hold the
            bits in uint16.
        layout: ``"HWC"`` or ``"CHW"`` of the output: channels last or first, for any number of
            axes. ``"CHW"`` makes ``(B, C, L)`` of sequences and ``(B, C, D, H, W)`` of volumes.
        out: Memory to write to, of the output's shape and type. The images themselves will do where
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
    source, planar = _images(images)
    size, channels = source.shape[1:-1], source.shape[-1]
    plan = check(plan, len(source), size)
    if layout not in cpu.LAYOUTS:
        raise ValueError(f"layout: expected 'HWC' or 'CHW', got {layout!r}")
    if planar and layout == "HWC":
        raise ValueError(
            "layout: expected 'CHW' for images that lie in memory channel by channel, got 'HWC'; "
            "copy them with numpy.ascontiguousarray() or .contiguous()"
        )
    scale, shift = scale_and_shift(mean, std, channels)
    name = _out_dtype(dtype, source, scale is not None)
    shape = (*size, channels) if layout == "HWC" else (channels, *size)
    there = isinstance(source, cuda_arrays.GpuArray)
    if there and out is None:
        out = cuda_arrays.empty((*plan.shape, *shape), name, images)
    result = cuda_checks.output(out, (*plan.shape, *shape), name, images, plan.ndim)
    pairs = _pairs(plan, np.moveaxis(source, -1, 1) if planar else source, result)
    moves = layout == "CHW" and not planar and channels > 1 and math.prod(size) > 1
    if pairs is not None and moves:
        raise ValueError("layout: expected 'HWC' in place, got 'CHW'; give another out=")
    threads = thread_count(threads)
    how = {
        "out_dtype": name,
        "layout": "HWC" if pairs is not None else layout,
        "scale": scale,
        "shift": shift,
        "pairs": pairs,
    }
    if there:
        flags = cuda_checks.mirror_flags(mirror, source, pairs is not None)
        cuda_checks.same_device(images=source, out=result)
        cuda.blend(result, source, plan, mirror=flags, planar=planar, **how)
        return out
    how |= {"mirror": mirror_flags(mirror, len(source)), "fields": _fields(plan, threads)}
    cpu.blend(result, source, plan, planar=planar, threads=threads, **how)
    return out if out is not None else like(result, images, name)


def _labels(labels: object, num_classes: int | None) -> tuple[np.ndarray, int]:
    """Labels as int64 ``(N,)`` or float32 ``(N, C)``, and the number of classes."""
    if cuda_arrays.on_gpu(labels):
        return cuda_checks.labels_there(cuda_arrays.view("labels", labels), num_classes)
    array = np.asarray(labels) if isinstance(labels, list) else to_numpy("labels", labels)
    if array.ndim == 2 and array.dtype.kind == "f":
        classes = array.shape[1]
        if num_classes is not None and num_classes != classes:
            raise ValueError(
                f"num_classes: expected {classes}, as the labels have, got {num_classes}"
            )
        if not np.isfinite(array).all():
            raise ValueError("labels: expected finite soft labels, got NaN or inf")
        return np.ascontiguousarray(array, np.float32), classes
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            "labels: expected class indices (B,) of an integer type or soft labels (B, classes) "
            f"of a float type, got {array.dtype} {array.shape}"
        )
    if num_classes is None:
        return np.ascontiguousarray(array, np.int64), 0
    expect_classes(num_classes)
    wrong = np.flatnonzero((array < 0) | (array >= num_classes))
    if len(wrong):
        raise ValueError(
            f"labels[{wrong[0]}]: expected 0 <= label < {num_classes}, got {array[wrong[0]]}; "
            "num_classes must cover every label"
        )
    return np.ascontiguousarray(array, np.int64), int(num_classes)


def targets(
    labels: object,
    plan: np.ndarray,
    *,
    num_classes: int | None = None,
    smoothing: float = 0.0,
    compact: bool = False,
    out: object = None,
) -> object:
    """Soft labels of a mixed batch: ``sum of weight * label``, smoothed.

    With smoothing ``s`` and C classes a row is ``(1 - s) * mixed + s / C``. Equal labels are added
    up, so that every row sums to 1.

    Args:
        labels: Class indices ``(N,)`` of any integer type, or soft labels ``(N, C)``. On a GPU
            int64, int32 or float32; an index that is no class is not noticed there, and its share
            goes to no class.
        plan: Records from :func:`draw`, the ones the images were mixed with.
        num_classes: Number of classes, C; needed for dense rows of class indices.
        smoothing: Share of the mass that is spread over all classes, in [0, 1].
        compact: Return the sources' labels and weights instead of dense rows: lossless, and 24
            bytes instead of 4 C. Smoothing is then up to the loss.
        out: Memory for the dense rows, float32 ``(B, C)``.

    Returns:
        float32 ``(B, C)``; or, if ``compact``, int64 ``(B, n)`` class indices and float32
        ``(B, n)`` weights, with n = 2 or the greatest number of sources in the plan. A source that
        takes no part repeats the own label with weight 0. A plan ``(B, k)`` gives ``(B, k, C)`` or
        ``(B, k, n)``.

    Raises:
        TypeError, ValueError: If shapes or types do not fit, or a label is out of range.
    """
    array, classes = _labels(labels, num_classes)
    plan = check(plan, len(array))
    number("smoothing", smoothing, 0.0, 1.0, "a share in [0, 1]")
    if compact:
        if array.ndim == 2:
            raise ValueError("compact: expected False with soft labels, got True")
        if smoothing or out is not None:
            raise ValueError(
                "compact: expected no smoothing and no out; smooth in the loss, where it is free"
            )
        used = max(2, int(plan["sources"].max(initial=2)))
        if isinstance(array, cuda_arrays.GpuArray):
            both = [
                cuda_arrays.empty((*plan.shape, 4), kind, labels) for kind in ("int64", "float32")
            ]
            cuda.targets_compact(*(cuda_arrays.view("out", one) for one in both), plan, array)
            return both[0][..., :used], both[1][..., :used]
        indices, weights = (np.empty((*plan.shape, 4), kind) for kind in (np.int64, np.float32))
        cpu.targets_compact(indices, weights, plan, array)
        return like(indices[..., :used], labels), like(weights[..., :used], labels)
    if not classes:
        raise ValueError("num_classes: expected a number of classes for dense rows, got None")
    there = isinstance(array, cuda_arrays.GpuArray)
    if there and out is None:
        out = cuda_arrays.empty((*plan.shape, classes), "float32", labels)
    result = cuda_checks.contiguous(
        cuda_checks.output(out, (*plan.shape, classes), "float32", labels)
    )
    if np.shares_memory(result, array):
        raise ValueError("out: expected memory apart from the labels'; give another array")
    if there:
        cuda_checks.same_device(labels=array, out=result)
        cuda.targets_dense(result, plan, array, smoothing)
        return out
    cpu.targets_dense(result, plan, array, smoothing)
    return out if out is not None else like(result, labels)


def mix(
    images: object,
    labels: object,
    policy: Policy,
    *,
    seed: int,
    step: int,
    rank: int = 0,
    ids: object = None,
    lam: object = None,
    distinct: int | None = None,
    num_classes: int | None = None,
    smoothing: float = 0.0,
    compact: bool = False,
    **blending: object,
) -> tuple[object, object]:
    """Draw a plan and apply it to images and labels: :func:`draw`, :func:`blend`, :func:`targets`.

    On a GPU nothing waits for it, but for :class:`SaliencyMix`: plans are drawn on the CPU, which
    must know the peaks of the images.

    Args:
        images: uint8 or float32 ``(B, H, W, C)``; ``(B, L, C)`` or ``(B, D, H, W, C)`` for policies
            of Mixup and FMix.
        labels: Class indices ``(B,)`` or soft labels ``(B, C)``.
        policy: What to draw. For :class:`SaliencyMix` the images must be such as :func:`saliency`
            takes: one channel or three, floats in 0 to 255.
        seed: As :func:`draw` takes it; so are the next five.
        step: Number of the batch.
        rank: Number of the process.
        ids: Dataset index of each sample.
        lam: Nominal lambda instead of a drawn one.
        distinct: How many samples are not padding.
        num_classes: As :func:`targets` takes it; so are the next two.
        smoothing: Share of the mass that is spread over all classes.
        compact: Return labels and weights instead of dense rows.
        blending: Keyword arguments of :func:`blend`.

    Returns:
        The mixed images and their targets; from :class:`MultiMix` with an axis of interpolations.

    Raises:
        TypeError, ValueError: As the three functions do.
    """
    shape = getattr(images, "shape", ())
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"images: expected {SHAPES}, got {tuple(shape)}")
    batch = shape[0]
    if len(labels) != batch:
        raise ValueError(f"labels: expected {batch}, one per image, got {len(labels)}")
    peaks = None
    if isinstance(policy, Policy) and policy.needs_peaks:
        peaks = saliency(images, mirror=blending.get("mirror"), threads=blending.get("threads", 0))
        if cuda_arrays.on_gpu(peaks):
            peaks = cuda_arrays.on_cpu(peaks)
    plan = draw(
        policy,
        batch,
        shape=tuple(shape[1:-1]),
        seed=seed,
        step=step,
        rank=rank,
        ids=ids,
        lam=lam,
        distinct=distinct,
        peaks=peaks,
    )
    mixed = blend(images, plan, **blending)
    return mixed, targets(
        labels, plan, num_classes=num_classes, smoothing=smoothing, compact=compact
    )
