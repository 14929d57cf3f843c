"""Batches of images as tensors: their checks, their memory order, and what runs uncompiled."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch

from dali_msda.ops import blend, mask
from dali_msda.types import DTypeName

HALF_TYPES = (torch.float16, torch.bfloat16)


IMAGES = ("(B, C, H, W)",)


def expect_batch(
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    shapes: tuple[str, ...] = IMAGES,
    doubles: bool = False,
) -> None:
    """Raise TypeError or ValueError unless they are a batch of images and as many labels.

    Args:
        images: As :func:`expect_images` takes them; so are the shapes and ``doubles``.
        labels: What should be labels.
        shapes: Shapes of images that are served.
        doubles: Whether float64 is served.
    """
    expect_images(images, shapes=shapes, doubles=doubles)
    _expect_data("labels", labels)
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise ValueError(
            f"labels: expected shape ({len(images)},) or ({len(images)}, classes), one per image, "
            f"got {tuple(labels.shape)}"
        )
    if labels.device != images.device:
        raise ValueError(
            f"labels: expected them on {images.device}, as the images are, got {labels.device}"
        )


def expect_images(
    images: torch.Tensor, *, shapes: tuple[str, ...] = IMAGES, doubles: bool = False
) -> None:
    """Raise TypeError or ValueError unless they are a batch of images.

    Args:
        images: What should be images.
        shapes: Shapes that are served, each with another number of axes.
        doubles: Whether float64 is served.
    """
    _expect_data("images", images)
    if images.ndim not in [len(shape.split()) for shape in shapes]:
        expected = " or ".join(shapes)
        raise ValueError(f"images: expected shape {expected}, got {tuple(images.shape)}")
    types = [torch.uint8, *[torch.float64] * doubles, torch.float32, *HALF_TYPES]
    if images.dtype not in types:
        *names, last, got = (str(each).removeprefix("torch.") for each in [*types, images.dtype])
        raise TypeError(f"images: expected {', '.join(names)} or {last}, got {got}")


def _expect_data(name: str, tensor: object) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    expect_no_gradient(name, tensor)


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
    if images.is_contiguous() or images.movedim(1, -1).is_contiguous():
        return images
    return images.contiguous()


def as_pixels(images: torch.Tensor) -> tuple[torch.Tensor, DTypeName | None]:
    """``(B, C, H, W)`` as the kernels read it, seen as ``(B, H, W, C)``, and its type if a half."""
    halves: dict[torch.dtype, DTypeName] = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
    return readable(images).permute(0, 2, 3, 1), halves.get(images.dtype)


def as_images(mixed: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """``(B, C, H, W)`` of what was mixed of :func:`as_pixels`, and lies in memory as they do."""
    return mixed.permute(0, 3, 1, 2) if pixels.is_contiguous() else mixed


def blended(images: torch.Tensor, plan: np.ndarray, **how: object) -> torch.Tensor:
    """:func:`dali_msda.blend` of ``(B, C, ...)``, in the memory order in which they are.

    Interpolations, if there are any, follow one another.
    """
    planes = images.is_contiguous()
    mixed = blend(images.movedim(1, -1), plan, layout="CHW" if planes else "HWC", **how)
    mixed = mixed.flatten(0, plan.ndim - 1)
    return mixed if planes else mixed.movedim(-1, 1)


def mixed_doubles(images: torch.Tensor, plan: np.ndarray) -> torch.Tensor:
    """:func:`blended` of float64, which the kernels do not read, in new memory."""
    indices = [torch.from_numpy(plan[name].astype(np.int64)) for name in ("own", "partner")]
    own, partner = (images[index.to(images.device)] for index in indices)
    weights = torch.from_numpy(mask(plan, shape=tuple(images.shape[2:]))).to(own)[:, None]
    mixed = weights * own + (1 - weights) * partner
    return torch.where(weights == 1, own, torch.where(weights == 0, partner, mixed))


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
