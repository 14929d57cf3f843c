"""Arrays in CPU memory: views and checks of what callers give, and new memory.

The functions from :func:`view` to :func:`labels` are those of
:mod:`dali_msda.backends.cuda_arrays`.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import Any

import numpy as np

from dali_msda.backends.checks import (
    expect_classes,
    expect_output,
    expect_untracked,
    soft_classes,
    stored,
)
from dali_msda.backends.places import is_torch, on_gpu


def view(name: str, array: object) -> np.ndarray:
    """The memory of an array as a NumPy array; of bfloat16 its bits as uint16.

    Raises:
        TypeError, ValueError: If it is no array, or lies elsewhere.
    """
    if isinstance(array, np.ndarray):
        return array
    if on_gpu(array) or (is_torch(array) and array.device.type != "cpu"):
        where = array.device if is_torch(array) else "a GPU"
        raise ValueError(
            f"{name}: expected an array in CPU memory, got one on {where}; copy it with .cpu() or "
            "cupy.asnumpy()"
        )
    if is_torch(array):
        torch = sys.modules["torch"]
        array = array.detach()
        return (array.view(torch.uint16) if array.dtype == torch.bfloat16 else array).numpy()
    if hasattr(array, "__dlpack__"):
        try:
            return np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError) as error:
            got = getattr(array, "dtype", type(array).__name__)
            raise TypeError(
                f"{name}: expected an array that NumPy reads by DLPack, got {got} ({error})"
            ) from error
    if hasattr(array, "__array__"):
        return np.asarray(array)
    raise TypeError(f"{name}: expected a NumPy array or a torch tensor, got {type(array).__name__}")


def on_cpu(array: object) -> np.ndarray:
    """The values of an array, as a NumPy array."""
    return view("array", array)


def output(
    out: object, shape: tuple[int, ...], dtype: str, model: object, axes: int = 0
) -> tuple[np.ndarray, object]:
    """The memory to write to, and what to return to the caller.

    Args:
        out: The caller's memory, or None for new memory.
        shape: Of the output.
        dtype: Its type, ``"bfloat16"`` among others.
        model: An array of the kind (NumPy or torch) that new memory has.
        axes: How many leading axes count samples; between samples there may be gaps.
    """
    if out is None:
        memory = aligned(shape, stored(dtype))
        return memory, like(memory, model, dtype)
    memory = view("out", out)
    expect_output(memory, shape, dtype, axes)
    expect_untracked(out)
    return memory, out


def mirror_flags(mirror: object, samples: int) -> np.ndarray | None:
    """One flag per sample as uint8, or None."""
    if mirror is None:
        return None
    flags = to_numpy("mirror", mirror)
    if flags.shape != (samples,) or flags.dtype.kind not in "biu":
        raise ValueError(
            f"mirror: expected {samples} flags, one per sample, got {flags.dtype} {flags.shape}"
        )
    return np.ascontiguousarray(flags != 0).view(np.uint8)


def labels(labels: object, num_classes: object) -> tuple[np.ndarray, int]:
    """Labels as int64 ``(N,)`` or float32 ``(N, C)``, and the number of classes or 0."""
    array = to_numpy("labels", labels)
    if array.ndim == 2 and array.dtype.kind == "f":
        classes = soft_classes(array, num_classes)
        if not np.isfinite(array).all():
            raise ValueError("labels: expected finite soft labels, got NaN or inf")
        return np.ascontiguousarray(array, np.float32), classes
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            "labels: expected class indices (B,) of an integer type or soft labels (B, classes) "
            f"of a float type, got {array.dtype} {array.shape}"
        )
    if num_classes is not None:
        expect_classes(num_classes)
        wrong = np.flatnonzero((array < 0) | (array >= num_classes))
        if len(wrong):
            raise ValueError(
                f"labels[{wrong[0]}]: expected 0 <= label < {num_classes}, got {array[wrong[0]]}; "
                "num_classes must cover every label"
            )
    elif array.dtype.kind == "u" and (array >= 2**63).any():
        raise ValueError(f"labels: expected class indices below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64), int(num_classes or 0)


# ------------------------------------------------------------------- numbers, and new memory


def to_numpy(name: str, values: object) -> np.ndarray:
    """Numbers, in an array or in lists, as a NumPy array."""
    if not isinstance(values, list | tuple):
        return view(name, values)
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected an array, or a list whose entries have one shape, got a list of "
            f"{len(values)} ({error})"
        ) from error


def like(result: np.ndarray, model: Any, dtype: str | None = None) -> Any:
    """The result as the kind of array that came in."""
    if not is_torch(model):
        return result
    torch = sys.modules["torch"]
    tensor = torch.from_numpy(result)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Uninitialised memory from the start of a cache line: no streaming store may straddle two.

    Raises:
        MemoryError: If there is not that much.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        room = np.empty(size + 64, np.uint8)
    except (MemoryError, ValueError, OverflowError) as error:
        raise MemoryError(
            f"memory: expected {size / 1e9:.1f} GB for {dtype} {shape}, got none; give smaller "
            "batches or fewer classes"
        ) from error
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def scale_and_shift(
    mean: object, std: object, channels: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """``1 / std`` and ``-mean / std`` of each channel, rounded once. Do not write to them."""
    if mean is None and std is None:
        return None, None
    given = [tuple(value) if isinstance(value, list) else value for value in (mean, std)]
    parts = [part for value in given for part in (value if isinstance(value, tuple) else [value])]
    if all(isinstance(part, int | float | None) for part in parts):  # kept for later batches
        return _scale_and_shift(*given, channels)
    return _scale_and_shift.__wrapped__(*given, channels)


@functools.lru_cache(64)
def _scale_and_shift(mean: object, std: object, channels: int) -> tuple[np.ndarray, np.ndarray]:
    center = _by_channel("mean", 0.0 if mean is None else mean, channels)
    spread = _by_channel("std", 1.0 if std is None else std, channels)
    with np.errstate(over="ignore"):
        scale, shift = (1 / spread).astype(np.float32), (-center / spread).astype(np.float32)
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise ValueError(
            "std: expected values whose 1 / std and mean / std are finite in float32, got "
            f"{spread.tolist()}"
        )
    return scale, shift


def _by_channel(name: str, value: object, channels: int) -> np.ndarray:
    """A number for each channel, float64 ``(C,)``."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: expected a number or one per channel, shape ({channels},), got {value!r}"
        ) from error
    if array.shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"{name}: expected a number or shape ({channels},), one per channel, got shape "
            f"{array.shape}"
        )
    if not np.isfinite(array).all() or (name == "std" and not (array > 0).all()):
        what = "finite numbers > 0" if name == "std" else "finite numbers"
        raise ValueError(f"{name}: expected {what}, got {array.tolist()}")
    return np.broadcast_to(array, (channels,))
