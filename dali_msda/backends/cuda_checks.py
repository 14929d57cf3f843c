"""Checks at the door for arrays on a GPU, whose values nobody can look at without waiting."""

from __future__ import annotations

import numpy as np

from dali_msda.backends import cpu_arrays, cuda_arrays


def output(
    out: object, shape: tuple[int, ...], dtype: str, model: object, axes: int = 1
) -> np.ndarray:
    """The memory to write to, which must be where ``model`` is; ``axes`` of it count samples."""
    if not cuda_arrays.on_gpu(model):
        if cuda_arrays.on_gpu(out):
            raise ValueError(
                "out: expected an array in CPU memory, like the others, got one on a GPU"
            )
        return cpu_arrays.output(out, shape, dtype)
    memory = cpu_arrays.output(cuda_arrays.view("out", out), shape, dtype)
    if axes > 1 and memory.size and memory.strides[0] != memory.shape[1] * memory.strides[1]:
        raise ValueError(
            "out: expected a batch whose samples lie one behind the other on a GPU, got "
            f"strides {memory.strides}"
        )
    return memory


def contiguous(out: np.ndarray) -> np.ndarray:
    """The memory to write to, on a GPU or not, if it has no gaps."""
    if not out.flags.c_contiguous:
        raise ValueError(f"out: expected a contiguous array, got strides {out.strides}")
    return out


def same_device(**given: np.ndarray) -> None:
    """Raise ValueError unless all arrays lie on one GPU."""
    devices = {name: array.gpu for name, array in given.items()}
    if len(set(devices.values())) > 1:
        got = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"{next(iter(given))}: expected all arrays on one GPU, got {got}")


def mirror_flags(mirror: object, images: np.ndarray, in_place: bool) -> np.ndarray | None:
    """Mirror flags for a blend on a GPU: there already, or on the CPU."""
    if mirror is not None and in_place:
        raise ValueError("mirror: expected None in place on a GPU, got flags; give another out=")
    if mirror is None or not cuda_arrays.on_gpu(mirror):
        return cpu_arrays.mirror_flags(mirror, len(images))
    flags = cuda_arrays.view("mirror", mirror)
    if flags.shape != (len(images),) or flags.dtype.itemsize != 1 or not flags.flags.c_contiguous:
        raise ValueError(
            f"mirror: expected {len(images)} flags of type bool or uint8, one behind the other, "
            f"got {flags.dtype} {flags.shape}"
        )
    same_device(images=images, mirror=flags)
    return flags


def labels_there(labels: np.ndarray, num_classes: int | None) -> tuple[np.ndarray, int]:
    """Labels on a GPU, int64 or int32 ``(N,)`` or float32 ``(N, C)``, and the number of classes."""
    soft = labels.ndim == 2 and labels.dtype == np.float32
    if not soft and (labels.ndim != 1 or labels.dtype not in (np.int64, np.int32)):
        raise TypeError(
            "labels: expected int64 or int32 class indices (B,) or float32 soft labels "
            f"(B, classes) on a GPU, got {labels.dtype} {labels.shape}"
        )
    if not labels.flags.c_contiguous:
        raise ValueError(f"labels: expected a contiguous array, got strides {labels.strides}")
    if soft:
        if num_classes not in (None, labels.shape[1]):
            raise ValueError(
                f"num_classes: expected {labels.shape[1]}, as the labels have, got {num_classes}"
            )
        return labels, labels.shape[1]
    if num_classes is not None:
        cpu_arrays.expect_classes(num_classes)
    return labels, int(num_classes or 0)
