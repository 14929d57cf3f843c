"""Arrays at the door: NumPy arrays and torch tensors, their memory, and their checks."""

from __future__ import annotations

import functools
import sys

import numpy as np


def is_torch(array: object) -> bool:
    """Whether it is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def to_numpy(name: str, array: object) -> np.ndarray:
    """The same memory as a NumPy array; bfloat16 tensors as their bits in uint16."""
    if isinstance(array, np.ndarray):
        return array
    if is_torch(array):
        if array.device.type != "cpu":
            raise ValueError(
                f"{name}: expected an array in CPU memory, got one on {array.device}; "
                "copy it with .cpu()"
            )
        torch = sys.modules["torch"]
        array = array.detach()
        return (array.view(torch.uint16) if array.dtype == torch.bfloat16 else array).numpy()
    if hasattr(array, "__dlpack__") or hasattr(array, "__array__"):
        return np.from_dlpack(array) if hasattr(array, "__dlpack__") else np.asarray(array)
    raise TypeError(f"{name}: expected a NumPy array or a torch tensor, got {type(array).__name__}")


def like(result: np.ndarray, model: object, dtype: str | None = None) -> object:
    """The result as the kind of array that came in."""
    if not is_torch(model):
        return result
    torch = sys.modules["torch"]
    tensor = torch.from_numpy(result)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def expect_contiguous(name: str, batch: np.ndarray) -> None:
    """Raise ValueError unless each sample of the batch is contiguous."""
    if len(batch) and not batch[0].flags.c_contiguous:
        raise ValueError(
            f"{name}: expected each sample to be contiguous, got strides {batch.strides} for "
            f"shape {batch.shape}; copy it with numpy.ascontiguousarray() or .contiguous()"
        )


def expect_classes(num_classes: object) -> None:
    """Raise TypeError or ValueError unless it is a number of classes."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer):
        raise TypeError(f"num_classes: expected a whole number, got {num_classes!r}")
    if num_classes < 1:
        raise ValueError(f"num_classes: expected at least 1, got {num_classes}")


def scale_and_shift(
    mean: object, std: object, channels: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """``1 / std`` and ``-mean / std`` of each channel, rounded once; not to be written to."""
    if mean is None and std is None:
        return None, None
    given = [tuple(value) if isinstance(value, list) else value for value in (mean, std)]
    parts = [part for value in given for part in (value if isinstance(value, tuple) else [value])]
    if all(isinstance(part, int | float | None) for part in parts):  # the same for every batch
        return _scale_and_shift(*given, channels)
    return _scale_and_shift.__wrapped__(*given, channels)


@functools.lru_cache(64)
def _scale_and_shift(mean: object, std: object, channels: int) -> tuple[np.ndarray, np.ndarray]:
    values = []
    for name, value, default in (("mean", mean, 0.0), ("std", std, 1.0)):
        array = np.asarray(default if value is None else value, np.float64)
        if array.shape not in ((), (1,), (channels,)):
            raise ValueError(
                f"{name}: expected a number or shape ({channels},), one per channel, got shape "
                f"{array.shape}"
            )
        if not np.isfinite(array).all() or (name == "std" and not (array > 0).all()):
            what = "finite numbers > 0" if name == "std" else "finite numbers"
            raise ValueError(f"{name}: expected {what}, got {array.tolist()}")
        values.append(np.broadcast_to(array, (channels,)))
    center, spread = values
    with np.errstate(over="ignore"):
        scale, shift = (1 / spread).astype(np.float32), (-center / spread).astype(np.float32)
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise ValueError(
            "std: expected values whose 1 / std and mean / std are finite in float32, got "
            f"{spread.tolist()}"
        )
    return scale, shift


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Uninitialised memory on a cache line: stores past the caches must not straddle two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def output(out: object, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The memory to write to: ``out``, checked, or new memory."""
    stored = "uint16" if dtype == "bfloat16" else dtype  # NumPy has no bfloat16: its bits
    if out is None:
        return aligned(shape, stored)
    array = to_numpy("out", out)
    if array.shape != shape or array.dtype.name != stored:
        raise ValueError(f"out: expected {dtype} {shape}, got {array.dtype} {array.shape}")
    if not array.flags.writeable:
        raise ValueError("out: expected a writeable array, got a read-only one")
    expect_contiguous("out", array)
    return array


def mirror_flags(mirror: object, samples: int) -> np.ndarray | None:
    """One flag per sample as uint8, or None."""
    if mirror is None:
        return None
    flags = to_numpy("mirror", mirror) if not isinstance(mirror, list) else np.asarray(mirror)
    if flags.shape != (samples,) or flags.dtype.kind not in "biu":
        raise ValueError(
            f"mirror: expected {samples} flags, one per sample, got {flags.dtype} {flags.shape}"
        )
    return np.ascontiguousarray(flags != 0).view(np.uint8)


def thread_count(threads: object) -> int:
    """The number of threads to use, checked."""
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise TypeError(f"threads: expected a whole number, got {threads!r}")
    if not 0 <= threads <= 1024:
        raise ValueError(f"threads: expected 0 (one per core) to 1024, got {threads}")
    return int(threads)
