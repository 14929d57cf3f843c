"""Batches of images as tensors: their checks, their memory order, and what runs uncompiled."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch

from dali_msda.ops import blend

HALF_TYPES = (torch.float16, torch.bfloat16)


def expect_batch(images: torch.Tensor, labels: torch.Tensor) -> None:
    """Raise TypeError or ValueError unless they are a batch of images and as many labels."""
    for name, tensor in (("images", images), ("labels", labels)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        expect_no_gradient(name, tensor)
    if images.ndim != 4:
        raise ValueError(f"images: expected shape (B, C, H, W), got {tuple(images.shape)}")
    if images.dtype not in (torch.uint8, torch.float32, *HALF_TYPES):
        dtype = str(images.dtype).removeprefix("torch.")
        raise TypeError(f"images: expected uint8, float32, float16 or bfloat16, got {dtype}")
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise ValueError(
            f"labels: expected shape ({len(images)},) or ({len(images)}, classes), one per image, "
            f"got {tuple(labels.shape)}"
        )
    if labels.device != images.device:
        raise ValueError(
            f"labels: expected them on {images.device}, as the images are, got {labels.device}"
        )


def expect_no_gradient(name: str, tensor: torch.Tensor) -> None:
    """Raise ValueError if autograd would have to follow a tensor through the mixing."""
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name}: expected data, got a tensor that requires a gradient, which mixing does not "
            f"hand on; give {name}.detach(), or mix under torch.no_grad()"
        )


def expect_class_indices(name: str, labels: torch.Tensor) -> None:
    """Raise TypeError unless labels are of an integer type; floats would be truncated."""
    if labels.is_floating_point() or labels.is_complex():
        dtype = str(labels.dtype).removeprefix("torch.")
        raise TypeError(
            f"{name}: expected class indices of an integer type, got {dtype} of shape "
            f"{tuple(labels.shape)}; give soft labels as rows (B, classes), or indices as "
            f"{name}.long()"
        )


def readable(images: torch.Tensor) -> torch.Tensor:
    """The images as the kernels read them: uint8 or float32, contiguous or channels last."""
    if images.dtype in HALF_TYPES:
        images = images.float()
    channels_last = torch.channels_last
    if images.is_contiguous() or images.is_contiguous(memory_format=channels_last):
        return images
    return images.contiguous()


def blended(images: torch.Tensor, plan: np.ndarray, **how: object) -> torch.Tensor:
    """:func:`dali_msda.blend` of ``(B, C, H, W)``, in the memory order in which they are.

    Interpolations, if there are any, follow one another.
    """
    planes = images.is_contiguous()
    mixed = blend(images.permute(0, 2, 3, 1), plan, layout="CHW" if planes else "HWC", **how)
    mixed = mixed.flatten(0, plan.ndim - 1)
    return mixed if planes else mixed.permute(0, 3, 1, 2)


def uncompiled(method: Callable) -> Callable:
    """Make ``torch.compile`` break its graph at a method and run the method uncompiled.

    ``torch.compiler.disable`` imports the compiler, which takes seconds in each process, so it is
    called only where something is being compiled.
    """

    @functools.wraps(method)
    def call(*args: object, **kwargs: object) -> object:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(method)(*args, **kwargs)
        return method(*args, **kwargs)

    return call
