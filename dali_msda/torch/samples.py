"""The samples of a batch, brought to one shape: images as bytes ``(B, H, W, C)``, and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dali_msda.torch.batches import expect_no_gradient
from dali_msda.torch.indexed import Sample

MOST_CHANNELS = 4  # a longer axis is taken for a height or width
KEPT_MODES = ("L", "RGB", "RGBA")
CONVERTED_MODES = {"1": "L", "P": "RGB", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB"}


def columns(
    samples: Sequence[Sample], layout: str | None
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Indices, images ``(B, H, W, C)`` and labels, int64 ``(B,)`` or float32 ``(B, classes)``."""
    if not isinstance(samples, list | tuple) or not samples:
        got = "none" if isinstance(samples, list | tuple) else type(samples).__name__
        raise ValueError(f"samples: expected a list of at least one sample, got {got}")
    images, labels = None, []
    for slot, sample in enumerate(samples):
        name, (image, label) = _pair(sample)
        pixels = _pixels(name, image, layout)
        if images is None:
            images = np.empty((len(samples), *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise ValueError(
                f"{name}: expected an image of height, width and channels {images.shape[1:]}, as "
                f"sample {samples[0].index} has, got {pixels.shape}; crop or resize them first"
            )
        images[slot] = pixels
        labels.append(_label(name, label))
    if len({np.shape(label) for label in labels}) > 1:
        shapes = sorted({np.shape(label) for label in labels})
        raise ValueError(f"labels: expected one shape in a batch, got {shapes}")
    column = np.asarray(labels, np.float32 if np.ndim(labels[0]) else np.int64)
    return [sample.index for sample in samples], images, column


def _pair(sample: object) -> tuple[str, tuple[object, object]]:
    """The name that errors give the sample, and its image and label."""
    if not isinstance(sample, Sample):
        raise TypeError(
            f"samples: expected those of Indexed(dataset), got {type(sample).__name__}; give "
            "the DataLoader Indexed(dataset), so that draws follow the samples"
        )
    name, value = f"sample {sample.index}", sample.value
    if sample.index < 0:
        raise ValueError(f"{name}: expected an index from 0 on, got {sample.index}")
    if not isinstance(value, tuple | list) or len(value) != 2:
        got = type(value).__name__
        got += f" of {len(value)}" if isinstance(value, tuple | list) else ""
        raise TypeError(f"{name}: expected a pair (image, label), got {got}")
    return name, value


def _pixels(name: str, image: object, layout: str | None) -> np.ndarray:
    """An image as uint8 ``(H, W, C)``."""
    if hasattr(image, "mode") and hasattr(image, "convert"):  # a PIL image
        array, layout = np.asarray(_grey_or_colour(name, image)), "HWC"
    elif isinstance(image, torch.Tensor) and image.dtype == torch.uint8:
        array = image.cpu().numpy()
    else:
        array = image if isinstance(image, np.ndarray | torch.Tensor) else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        dtype = str(array.dtype).removeprefix("torch.")
        raise TypeError(
            f"{name}: expected an image of uint8, an array (H, W, C), a PIL image or a tensor "
            f"(C, H, W), got {type(image).__name__} {dtype} {tuple(array.shape)}; leave out "
            "ToDtype and Normalize, which mean= and std= do"
        )
    if array.ndim == 2:
        return array[..., None]
    usual = "CHW" if isinstance(image, torch.Tensor) else "HWC"
    other = "HWC" if usual == "CHW" else "CHW"
    first, last = array.shape[0], array.shape[2]
    channels, side = (first, last) if usual == "CHW" else (last, first)
    if layout is None and channels > MOST_CHANNELS >= side:
        raise ValueError(
            f"{name}: expected {usual} of {type(image).__name__}, got shape {array.shape}, which "
            f"looks like {other}; say which it is, Collate(..., layout={other!r}) or {usual!r}"
        )
    return array.transpose(1, 2, 0) if (layout or usual) == "CHW" else array


def _grey_or_colour(name: str, image: object) -> object:
    """A PIL image as one whose values are grey levels, or red, green, blue (and opacity)."""
    if image.mode in KEPT_MODES:
        return image
    if image.mode in CONVERTED_MODES:
        return image.convert(CONVERTED_MODES[image.mode])
    modes = ", ".join([*KEPT_MODES, *CONVERTED_MODES])
    raise TypeError(
        f"{name}: expected a PIL image of mode {modes}, got {image.mode}; convert it in the "
        'dataset, as by image.convert("RGB")'
    )


def _label(name: str, label: object) -> int | np.ndarray:
    """A class index, or a row of floats."""
    if isinstance(label, torch.Tensor):
        expect_no_gradient(f"{name}: label", label)
        label = label.detach().cpu()
        label = label.float() if label.dtype == torch.bfloat16 else label
    array = np.asarray(label)
    if array.ndim == 0 and array.dtype.kind in "iu" and array <= np.iinfo(np.int64).max:
        return int(array)
    if array.ndim == 1 and array.dtype.kind == "f":
        return array
    raise TypeError(
        f"{name}: expected a label that is a class index or a row of floats (classes,), got "
        f"{array.dtype} {array.shape}"
    )
