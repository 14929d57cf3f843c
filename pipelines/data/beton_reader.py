"""Reads the tables of a .beton, FFCV's file format, and checks them before a loader does."""

import os

import numpy as np

# isort: off
import dali_msda.ffcv  # noqa: F401  first: it says what to do where FFCV is missing
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.rgb_image import IMAGE_MODES
from ffcv.reader import Reader

# isort: on
from dali_msda.pipelines.data.image_formats import MAX_PIXELS

RAW = IMAGE_MODES["raw"]
# The most pixels in a byte of a JPEG: 16 x 16 pixels take six blocks of at least two bits each.
PIXELS_OF_A_BYTE = 16 * 16 * 8 // 12 + 1
FIELDS = {"image": RGBImageField, "label": IntField}


def read(path: str, name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read what a :class:`dali_msda.pipelines.data.datasets.Beton` holds.

    Args:
        path: The file.
        name: What messages call it.

    Returns:
        Labels, int64 ``(N,)``; heights and widths, uint16 ``(N, 2)``; and the names of all fields.

    Raises:
        ValueError: If the file is no .beton, was cut off, or has other fields.
    """
    try:
        reader = Reader(path)
    except Exception as error:  # FFCV does not check the file, and fails in any way
        raise ValueError(
            f"{name}: expected a .beton file of FFCV's, got {path!r}: {error}"
        ) from error
    size = os.path.getsize(path)
    for field, kind in FIELDS.items():
        if not isinstance(reader.handlers.get(field), kind):
            raise ValueError(
                f"{name}: expected fields image (RGBImageField) and label (IntField), got "
                f"{', '.join(reader.field_names)} in {path!r}; "
                "`python -m dali_msda.pipelines.write_beton` writes them"
            )
    images, labels = (reader.metadata[f"f{reader.field_names.index(field)}"] for field in FIELDS)
    if wrong := _what_is_wrong(images, reader.alloc_table, size):
        raise ValueError(
            f"{name}: expected a whole .beton file, got {path!r}, {wrong}; copy it or write it "
            "again"
        )
    labels = np.ascontiguousarray(labels, np.int64)
    if labels.min() < 0:
        raise ValueError(f"{name}: expected labels of at least 0 in {path!r}, got {labels.min()}")
    sizes = np.stack([images["height"], images["width"]], 1)
    return labels, sizes, tuple(reader.field_names)


def _what_is_wrong(images: np.ndarray, regions: np.ndarray, size: int) -> str | None:
    """Say what in the tables of a file of ``size`` bytes cannot be true; None if all can be."""
    # These compare a difference, because a sum could pass 2^64.
    if (regions["ptr"] > size).any() or (regions["size"] > size - regions["ptr"]).any():
        return "whose end is missing"
    order = np.argsort(regions["ptr"])
    at = np.searchsorted(regions["ptr"], images["data_ptr"], sorter=order)
    region = regions[order[np.minimum(at, len(order) - 1)]] if len(order) else regions
    if len(region) != len(images) or (region["ptr"] != images["data_ptr"]).any():
        return "whose images lie outside of it"
    pixels = images["height"].astype(np.int64) * images["width"]
    raw = images["mode"] == RAW
    most = np.where(raw, region["size"] // 3, region["size"] * np.uint64(PIXELS_OF_A_BYTE))
    if (pixels < 1).any() or (pixels > np.minimum(most, MAX_PIXELS).astype(np.int64)).any():
        return "whose images cannot have the sizes that it tells"
    return None
