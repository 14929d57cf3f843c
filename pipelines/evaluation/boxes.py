"""Boxes around the objects of images: their files, and where they lie in the central crop."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from dali_msda.pipelines.data.datasets import ImageFolder, first_few
from dali_msda.pipelines.data.decoding import ORIENTATION, middle

COLUMNS = ("path", "x0", "y0", "x1", "y1")
SIDES = ("xmin", "ymin", "xmax", "ymax")  # in PASCAL's files
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def read_boxes(path: str, source: ImageFolder) -> list[np.ndarray]:
    """Read the boxes of each image.

    Args:
        path: A folder of XML files as PASCAL VOC and ImageNet have them, named as the images are
            and side by side or in the images' folders; or a CSV with the columns ``path,x0,y0,x1,
            y1``, a line for each box, whose paths start from the images' folder.
        source: The images.

    Returns:
        For each image float64 ``(n, 4)``: ``x0, y0, x1, y1`` in pixels of the upright image, n at
        least 1.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one is malformed, a box is empty, or an image has none.
    """
    names = [os.path.relpath(file, source.root) for file in source.files]
    found = _of_folder(Path(path), names) if os.path.isdir(path) else _of_table(path)
    missing = [name for name in names if not len(found.get(name, ()))]
    if missing:
        raise ValueError(
            f"boxes: expected one or more for each image, got none in {path!r} for "
            f"{first_few(missing)}. Add them, or leave these images out by --val-list."
        )
    boxes = [np.asarray(found[name], np.float64) for name in names]
    for name, own in zip(names, boxes, strict=True):
        if not (np.isfinite(own).all() and (own[:, :2] < own[:, 2:]).all()):
            raise ValueError(
                f"boxes: expected x0 < x1 and y0 < y1, got {own.tolist()} for {name!r} in {path!r}"
            )
    return boxes


def in_crop(boxes: np.ndarray, width: int, height: int, resize: int, size: int) -> np.ndarray:
    """Where boxes lie in the central crop of an image.

    Args:
        boxes: ``(n, 4)``, in pixels of the image.
        width: Of the image, in pixels.
        height: Likewise.
        resize: Length of the shorter side before the crop.
        size: Height and width of the crop.

    Returns:
        int64 ``(n, 4)``, rounded down as Co-Mixup's released code does. Of what lies outside the
        crop nothing is left: such a box is empty.
    """
    scaled = [max(1, int(side * resize / min(width, height) + 0.5)) for side in (width, height)]
    corner = middle(*scaled, size, size)[:2]
    inside = boxes * np.tile(np.divide(scaled, (width, height)), 2) - np.tile(corner, 2)
    return np.floor(inside.clip(0, size)).astype(np.int64)


def masks(boxes: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Whether each pixel of a crop lies in one of its boxes, bool ``(B, size, size)``."""
    inside = np.zeros((len(boxes), size, size), bool)
    for mask, own in zip(inside, boxes, strict=True):
        for x0, y0, x1, y1 in own:
            mask[y0:y1, x0:x1] = True
    return inside


def upright_size(path: str) -> tuple[int, int]:
    """Width and height of an image file as the loaders decode it."""
    with Image.open(path) as image:
        turned = image.getexif().get(ORIENTATION) in SIDEWAYS
        return image.size[::-1] if turned else image.size


def _of_folder(folder: Path, names: Sequence[str]) -> dict[str, list]:
    found = {}
    for name in names:
        beside = folder / f"{Path(name).stem}.xml"
        file = beside if beside.is_file() else (folder / name).with_suffix(".xml")
        if file.is_file():
            found[name] = _of_xml(file)
    return found


def _of_xml(file: Path) -> list[list[float]]:
    try:
        boxes = ElementTree.parse(file).getroot().iter("bndbox")
        return [[float(box.findtext(side)) for side in SIDES] for box in boxes]
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise ValueError(
            f"boxes: expected XML with a bndbox of {', '.join(SIDES)}, got {error} in {str(file)!r}"
        ) from error


def _of_table(path: str) -> dict[str, list]:
    found: dict[str, list] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise ValueError(
                f"boxes: expected a folder of XML files, or a CSV with the first line "
                f"{','.join(COLUMNS)}, got {table.fieldnames} in {path!r}"
            )
        for row in table:
            try:
                found.setdefault(row["path"], []).append([float(row[x]) for x in COLUMNS[1:]])
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"boxes: expected four numbers in line {table.line_num} of {path!r}, got {row}"
                ) from error
    return found
