"""Checks of arguments that both backends share; what is wrong raises TypeError or ValueError."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from dali_msda.backends.cpu_library import DTYPES, LAYOUTS
from dali_msda.backends.places import is_torch

MAX_COUNT = 2**31
"""The kernels take only counts below this one."""


def expect_pixels(images: object, array: np.ndarray) -> None:
    """Raise an error unless the kernels read such images; ``array`` views what the caller gave."""
    if array.dtype not in (np.uint8, np.float32):
        dtype = str(getattr(images, "dtype", array.dtype)).removeprefix("torch.")
        raise TypeError(f"images: expected uint8 or float32, got {dtype}")
    if 0 in array.shape[1:]:
        raise ValueError(f"images: expected at least one pixel and channel, got {array.shape}")
    if len(array) >= MAX_COUNT:
        raise ValueError(f"images: expected fewer than 2**31 samples, got {array.shape}")


def expect_output(memory: np.ndarray, shape: tuple[int, ...], dtype: str, axes: int) -> None:
    """Raise ValueError unless this memory can be the output; arguments as for ``output()``."""
    if memory.shape != shape or memory.dtype != np.dtype(stored(dtype)):
        raise ValueError(f"out: expected {dtype} {shape}, got {memory.dtype} {memory.shape}")
    if not memory.flags.writeable:
        raise ValueError("out: expected a writeable array, got a read-only one")
    if axes:
        expect_contiguous("out", memory)
    elif not memory.flags.c_contiguous:
        raise ValueError(f"out: expected a contiguous array, got strides {memory.strides}")


def expect_untracked(out: object) -> None:
    """Raise ValueError if autograd follows ``out``: what is written there has no gradient."""
    if is_torch(out) and out.requires_grad and sys.modules["torch"].is_grad_enabled():
        raise ValueError(
            "out: expected a tensor that needs no gradient, got one that requires grad; give "
            "out.detach(), or call within torch.no_grad()"
        )


def expect_weights(own: np.ndarray, plan: np.ndarray, *, look: bool) -> None:
    """Raise ValueError unless these can be own label weights of the records; ``look``: values."""
    if own.shape != plan.shape or own.dtype != np.float32 or not own.flags.c_contiguous:
        raise ValueError(f"weights: expected float32 {plan.shape}, got {own.dtype} {own.shape}")
    if (most := plan["sources"].max(initial=1)) > 2:
        raise ValueError(f"weights: expected none with records of {most} samples, got some")
    if look and not ((own >= 0) & (own <= 1)).all():
        raise ValueError(f"weights: expected numbers in [0, 1], got {own.min()} to {own.max()}")


def expect_whole(name: str, array: np.ndarray) -> None:
    """Raise ValueError unless an array is contiguous."""
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: expected a contiguous array, got strides {array.strides}")


def expect_contiguous(name: str, batch: np.ndarray) -> None:
    """Raise ValueError unless each sample of the batch is contiguous."""
    if len(batch) and not batch[0].flags.c_contiguous:
        raise ValueError(
            f"{name}: expected each sample to be contiguous, got strides {batch.strides} for "
            f"shape {batch.shape}; copy it with numpy.ascontiguousarray() or .contiguous()"
        )


def is_planar(name: str, batch: np.ndarray) -> bool:
    """Whether each channel is a contiguous plane; raise ValueError if no sample is contiguous."""
    first = batch[:1]
    if not first.flags.c_contiguous and np.moveaxis(first, -1, 1).flags.c_contiguous:
        return True
    expect_contiguous(name, batch)
    return False


def expect_layout(layout: object, planar: bool) -> None:
    """Raise ValueError unless images, ``planar`` or not, can be put out in this layout."""
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ValueError(f"layout: expected 'HWC' or 'CHW', got {layout!r}")
    if planar and layout == "HWC":
        raise ValueError(
            "layout: expected 'CHW' for images that lie in memory channel by channel, got 'HWC'; "
            "copy them with numpy.ascontiguousarray() or .contiguous()"
        )


def output_dtype(dtype: object, images: np.ndarray, normalises: bool) -> str:
    """The name of the type that a caller asks for, or that the output of such images has."""
    if dtype is None:
        return "float32" if normalises else images.dtype.name
    name = str(dtype).removeprefix("torch.") if not isinstance(dtype, type) else dtype.__name__
    if name not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    if name == "uint8" and (normalises or images.dtype != np.uint8):
        raise ValueError(
            "dtype: expected a float type for normalised or float images, got 'uint8'; leave out "
            "mean and std, or ask for float32"
        )
    return name


def expect_classes(num_classes: object) -> None:
    """Raise TypeError or ValueError unless it is a number of classes."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer):
        raise TypeError(f"num_classes: expected a whole number, got {num_classes!r}")
    if num_classes < 1:
        raise ValueError(f"num_classes: expected at least 1, got {num_classes}")
    if num_classes >= MAX_COUNT:
        raise ValueError(f"num_classes: expected fewer than 2**31, got {num_classes}")


def soft_classes(rows: np.ndarray, num_classes: object) -> int:
    """The number of classes of soft labels ``(N, C)``; ``num_classes`` must not contradict."""
    classes = rows.shape[1]
    expect_classes(classes)
    if num_classes is not None and num_classes != classes:
        raise ValueError(f"num_classes: expected {classes}, as the labels have, got {num_classes}")
    return classes


def thread_count(threads: object) -> int:
    """The number of threads to use, checked."""
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer):
        raise TypeError(f"threads: expected a whole number, got {threads!r}")
    if not 0 <= threads <= 1024:
        raise ValueError(f"threads: expected 0 (one per core) to 1024, got {threads}")
    return int(threads)


def written(out: Any) -> Any:
    """Tell autograd, which may keep ``out`` for a backward pass, that it changed; return it."""
    if is_torch(out) and not out.is_inference():
        sys.modules["torch"].autograd.graph.increment_version(out)
    return out


def stored(dtype: str) -> str:
    """The NumPy type that holds the values: uint16 for the bits of bfloat16."""
    return "uint16" if dtype == "bfloat16" else dtype
