"""The tables of a .beton, FFCV's file format, checked before a loader maps the file."""

import os

import numpy as np

# isort: off
import dali_msda.ffcv  # noqa: F401  first: it says what to do where FFCV is missing
from ffcv.fields import IntField, RGBImageField
from ffcv.reader import Reader

FIELDS = {"image": RGBImageField, "label": IntField}


def read(path: str, name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read what :class:`dali_msda.pipelines.data.datasets.Beton` holds.

    Args:
        path: The file.
        name: What messages call it.

    Returns:
        Labels, int64 ``(N,)``; heights and widths, uint16 ``(N, 2)``; and the names of all fields.

    Raises:
        ValueError: If it is no such file, was cut off, or has other fields.
    """
    try:
        reader = Reader(path)
    except Exception as error:  # of whatever its first bytes mean to FFCV
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
    regions = reader.alloc_table
    ends = regions["ptr"] + regions["size"]
    if ends.max(initial=0) > size or not np.isin(images["data_ptr"], regions["ptr"]).all():
        raise ValueError(
            f"{name}: expected a whole .beton file, got {path!r}, whose end is missing; copy it or "
            "write it again"
        )
    labels = np.ascontiguousarray(labels, np.int64)
    if labels.min() < 0:
        raise ValueError(f"{name}: expected labels of at least 0 in {path!r}, got {labels.min()}")
    sizes = np.stack([images["height"], images["width"]], 1)
    return labels, sizes, tuple(reader.field_names)
