"""Reads the tables of a .beton, FFCV's file format, and checks them before a loader does."""

import os

import numpy as np

# isort: off
import dali_msda.ffcv  # noqa: F401  first: it says what to do where FFCV is missing
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.rgb_image import IMAGE_MODES
from ffcv.reader import Reader
from ffcv.types import CURRENT_VERSION, FieldDescType, HeaderType
from ffcv.writer import MIN_PAGE_SIZE

# isort: on
from dali_msda.pipelines.data.image_formats import MAX_PIXELS

RAW, MODES = IMAGE_MODES["raw"], list(IMAGE_MODES.values())
# The most pixels in a byte of a JPEG: 16 x 16 pixels take six blocks of at least two bits each.
PIXELS_OF_A_BYTE = 16 * 16 * 8 // 12 + 1
FIELDS = {"image": RGBImageField, "label": IntField}


def read(path: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read what a :class:`dali_msda.pipelines.data.datasets.Beton` holds.

    Args:
        path: The file.
        name: What messages call it.

    Returns:
        Labels, int64 ``(N,)``; heights and widths, uint16 ``(N, 2)``; where the images begin in the
        file and how many bytes they take, uint64 ``(N, 2)``; and the names of all fields.

    Raises:
        ValueError: If the file is no .beton, was cut off, or has other fields.
    """
    size = os.path.getsize(path)
    try:
        if wrong := _what_is_wrong_with_header(path, size):
            raise ValueError(wrong)
        reader = Reader(path)
    except Exception as error:  # FFCV does not check the file, and fails in any way
        raise ValueError(
            f"{name}: expected a .beton file of FFCV's, got {path!r}: {error}; copy it or write it "
            "again"
        ) from error
    for field, kind in FIELDS.items():
        if not isinstance(reader.handlers.get(field), kind):
            raise ValueError(
                f"{name}: expected fields image (RGBImageField) and label (IntField), got "
                f"{', '.join(reader.field_names)} in {path!r}; "
                "`python -m dali_msda.pipelines.write_beton` writes them"
            )
    images, labels = (reader.metadata[f"f{reader.field_names.index(field)}"] for field in FIELDS)
    places = _places(images, reader.alloc_table)
    wrong = _what_is_wrong(images, places, size, int(reader.page_size))
    if (reader.alloc_table["sample_id"] >= len(images)).any():
        wrong = "which holds more images than it tells"
    if wrong:
        raise ValueError(
            f"{name}: expected a whole .beton file, got {path!r}, {wrong}; copy it or write it "
            "again"
        )
    labels = np.ascontiguousarray(labels, np.int64)
    if labels.min() < 0:
        raise ValueError(f"{name}: expected labels of at least 0 in {path!r}, got {labels.min()}")
    sizes = np.stack([images["height"], images["width"]], 1)
    return labels, sizes, places, tuple(reader.field_names)


def _what_is_wrong_with_header(path: str, size: int) -> str | None:
    """Say what cannot be true in a header, by which FFCV would allocate memory."""
    (header,) = np.fromfile(path, HeaderType, count=1)
    fields, rows, page = (int(header[k]) for k in ("num_fields", "num_samples", "page_size"))
    least = HeaderType.itemsize + fields * FieldDescType.itemsize + rows
    if header["version"] != CURRENT_VERSION:
        return f"a file of version {header['version']}, not {CURRENT_VERSION}"
    if page < MIN_PAGE_SIZE or page & (page - 1):
        return f"a page size of {page} bytes"
    if not rows:
        return "no images"
    if not least <= header["alloc_table_ptr"] <= size:
        return "tables that lie outside of it"
    return None


def _places(images: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Where each image begins and how many bytes it takes; 2^64 - 1 where no region has it."""
    order = np.argsort(regions["ptr"])
    at = np.searchsorted(regions["ptr"], images["data_ptr"], sorter=order)
    places = np.full((len(images), 2), 2**64 - 1, np.uint64)
    if len(order):
        region = regions[order[np.minimum(at, len(order) - 1)]]
        known = region["ptr"] == images["data_ptr"]
        places[known] = np.stack([region["ptr"], region["size"]], 1)[known]
    return places


def _what_is_wrong(images: np.ndarray, places: np.ndarray, size: int, page: int) -> str | None:
    """Say what in the tables of a file of ``size`` bytes cannot be true; None if all can be."""
    start, length = places.T
    # These compare a difference, because a sum could pass 2^64.
    if (start > size).any() or (length > size - start).any():
        return "whose end is missing, or whose images lie outside of it"
    if (start % page + length > page).any() or not np.isin(images["mode"], MODES).all():
        return "whose images cannot be stored as it tells"
    pixels = images["height"].astype(np.int64) * images["width"]
    most = np.where(images["mode"] == RAW, length // 3, length * np.uint64(PIXELS_OF_A_BYTE))
    if (pixels < 1).any() or (pixels > np.minimum(most, MAX_PIXELS).astype(np.int64)).any():
        return "whose images cannot have the sizes that it tells"
    return None
