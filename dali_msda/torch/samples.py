"""The samples of a batch, brought to one shape: images as bytes ``(B, H, W, C)``, and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate

from dali_msda.torch.batches import expect_no_gradient
from dali_msda.torch.indexed import Sample

MOST_CHANNELS = 4  # a longer axis is taken for a height or width
KEPT_MODES = ("L", "RGB", "RGBA")
CONVERTED_MODES = {"1": "L", "P": "RGB", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB"}


@dataclass(frozen=True)
class Fields:
    """Where samples have their image, their label and what tells them apart.

    Attributes:
        image: Name in a dictionary, or place in a tuple; None for ``"image"`` or 0.
        label: The same; None for ``"label"`` or 1.
        key: The same, of a whole number, a text or bytes; None where :class:`Indexed` numbers them.
    """

    image: str | int | None = None
    label: str | int | None = None
    key: str | int | None = None

    def __post_init__(self) -> None:
        for name in ("image", "label", "key"):
            place = getattr(self, name)
            if isinstance(place, bool) or not isinstance(place, str | int | None):
                raise TypeError(f"{name}: expected the name or the place of a field, got {place!r}")

    def places(self, value: Mapping | Sequence) -> tuple[str | int, str | int]:
        """Where this sample has its image and its label."""
        usual = ("image", "label") if isinstance(value, Mapping) else (0, 1)
        given = (self.image, self.label)
        return tuple(u if g is None else g for g, u in zip(given, usual, strict=True))


class Columns(NamedTuple):
    """A batch by columns: identities ``(B,)``, images ``(B, H, W, C)``, labels, and whole samples.

    Labels are int64 ``(B,)`` or float32 ``(B, classes)``; samples are dictionaries or tuples.
    """

    ids: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    values: list


def columns(samples: Sequence[Sample], layout: str | None, fields: Fields) -> Columns:
    """What the samples of a batch hold.

    Raises:
        TypeError, ValueError: If one is of another kind than :class:`Collate` says.
    """
    if not isinstance(samples, list | tuple) or not samples:
        got = "none" if isinstance(samples, list | tuple) else type(samples).__name__
        raise ValueError(f"samples: expected a list of at least one sample, got {got}")
    images, ids, labels, values = None, [], [], []
    for slot, sample in enumerate(samples):
        identity, name, value = _identified(slot, sample, fields)
        image, label = (_member(name, value, place) for place in fields.places(value))
        pixels = _pixels(name, image, layout)
        if images is None:
            images, first = np.empty((len(samples), *pixels.shape), np.uint8), name
        if pixels.shape != images.shape[1:]:
            raise ValueError(
                f"{name}: expected an image of height, width and channels {images.shape[1:]}, as "
                f"{first} has, got {pixels.shape}; crop or resize them first"
            )
        images[slot] = pixels
        ids.append(identity)
        labels.append(_label(name, label))
        values.append(value)
    if len({np.shape(label) for label in labels}) > 1:
        shapes = sorted({np.shape(label) for label in labels})
        raise ValueError(f"labels: expected one shape in a batch, got {shapes}")
    column = np.asarray(labels, np.float32 if np.ndim(labels[0]) else np.int64)
    return Columns(np.array(ids, np.uint64), images, column, values)


def batch_like(
    values: list, fields: Fields, made: tuple[torch.Tensor, ...], repeats: int
) -> dict[str, object] | tuple[object, ...]:
    """The batch that samples make: what was mixed in its place, and the rest of them collated.

    Args:
        values: The samples, dictionaries or tuples.
        fields: Where they have their image and label.
        made: Images, and targets or labels and weights.
        repeats: How many outputs each sample has; the rest of it is repeated as often.
    """
    values = [value for value in values for _ in range(repeats)]
    image, label = fields.places(values[0])
    images, targets, *weights = made
    if isinstance(values[0], Mapping):
        mixed = {image: images, label: targets}
        mixed |= {f"{label}_weights": part for part in weights}
        rest = [name for name in values[0] if name not in mixed]
        return mixed | {name: default_collate([value[name] for value in values]) for name in rest}
    if len(values[0]) == 2 and (image, label) == (0, 1):
        return made
    places = range(len(values[0]))
    mixed = {places[image]: [images], places[label]: [targets, *weights]}
    parts = [
        mixed[place] if place in mixed else [default_collate([value[place] for value in values])]
        for place in places
    ]
    return tuple(part for several in parts for part in several)


def _identified(slot: int, sample: object, fields: Fields) -> tuple[int, str, object]:
    """The identity of a sample, what errors call it, and what it holds."""
    indexed = isinstance(sample, Sample)
    if fields.key is None:
        if not indexed:
            raise TypeError(
                f"samples: expected those of Indexed(dataset), got {type(sample).__name__}; give "
                "the DataLoader Indexed(dataset), so that draws follow the samples, or the Collate "
                "of a stream key=, a field that tells them apart"
            )
        identity, name, value = sample.index, f"sample {sample.index}", sample.value
        if identity < 0:
            raise ValueError(f"{name}: expected an index from 0 on, got {identity}")
    else:
        value, name = sample.value if indexed else sample, f"sample in slot {slot}"
    if not isinstance(value, tuple | list | Mapping) or len(value) < 2:
        got = type(value).__name__
        got += f" of {len(value)}" if isinstance(value, tuple | list | Mapping) else ""
        raise TypeError(f"{name}: expected a pair (image, label), more or a dictionary, got {got}")
    if fields.key is not None:
        identity = _identity_of(name, _member(name, value, fields.key))
    return identity, name, value


def _member(name: str, value: object, place: str | int) -> object:
    try:
        return value[place]
    except (KeyError, IndexError, TypeError):
        has = list(value) if isinstance(value, Mapping) else f"a tuple of {len(value)}"
        raise ValueError(
            f"{name}: expected a field {place!r}, got {has}; Collate takes their names or places "
            "as image=, label= and key="
        ) from None


def _identity_of(name: str, key: object) -> int:
    """A number below 2**64 for a key; for a text or bytes it is a hash."""
    if isinstance(key, str | bytes):
        text = key.encode() if isinstance(key, str) else key
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    number = np.asarray(key)
    if number.ndim == 0 and number.dtype.kind in "iu" and number >= 0:
        return int(number)
    raise TypeError(f"{name}: expected a key that is a whole number >= 0 or a text, got {key!r}")


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
