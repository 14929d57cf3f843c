"""Contact sheets: tables of pictures with captions, drawn with Pillow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

# Measures of a sheet in pixels, and its colours.
MARGIN, GAP, BAR, TITLE_SIZE, TEXT_SIZE = 28, 14, 6, 22, 15
PAPER, INK, LINE = "white", "#1c1f24", "#d5d9df"
SOURCES = ("#2a6fb0", "#e08a2b", "#4c9a5b", "#8d63a8")  # own, partner, third, fourth


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet.

    Attributes:
        image: uint8 ``(H, W, 3)`` or ``(H, W)``.
        text: Caption.
        shares: Length (a share of the width) and colour of the pieces of a bar under the image.
        head: Heading above the image; it may run on over cells that have none.
    """

    image: np.ndarray
    text: str = ""
    shares: tuple[tuple[float, str], ...] = ()
    head: str = ""


Rows = Sequence[Sequence[Cell | None]]
"""Cells of a sheet, all of one height and width; None leaves a place empty."""


def corners(rows: Rows, titled: bool = True) -> tuple[list[list[tuple[int, int]]], int]:
    """Where images lie: x and y of the upper left corner of each, and the height of the sheet.

    A row has room for headings and captions only if one of its cells has one.
    """
    height, width = next(cell for cell in rows[0] if cell).image.shape[:2]
    y, found = MARGIN + TITLE_SIZE + 2 * GAP if titled else GAP, []
    for number, row in enumerate(rows):
        cells = [cell for cell in row if cell]
        if any(cell.head for cell in cells):
            y += TEXT_SIZE + GAP // 2 + (GAP if number else 0)
        found.append([(MARGIN + column * (width + GAP), y) for column in range(len(row))])
        y += height + GAP // 2
        if any(cell.shares for cell in cells):
            y += BAR + GAP // 3
        if any(cell.text for cell in cells):
            y += TEXT_SIZE + GAP
    return found, y - GAP // 2 + MARGIN // 2


def sheet(rows: Rows, *, title: str = "") -> Image:
    """Draw a table of pictures with headings and captions.

    Args:
        rows: The cells.
        title: First line of the sheet; empty for none.

    Returns:
        A PIL image, RGB.
    """
    from PIL import Image, ImageDraw, ImageFont

    large, font = ImageFont.load_default(TITLE_SIZE), ImageFont.load_default(TEXT_SIZE)
    places, bottom = corners(rows, bool(title))
    height, width = next(cell for cell in rows[0] if cell).image.shape[:2]
    right = max(max(x for x, _ in row) + width for row in places)
    right = max(right, MARGIN + round(large.getlength(title)))
    paper = Image.new("RGB", (right + MARGIN, bottom), PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((MARGIN, MARGIN), title, INK, large)
    for cells, row in zip(rows, places, strict=True):
        for column, (cell, (x, y)) in enumerate(zip(cells, row, strict=True)):
            if cell is None:
                continue
            pen.rectangle((x - 1, y - 1, x + width, y + height), outline=LINE)
            paper.paste(Image.fromarray(cell.image).convert("RGB"), (x, y))
            _caption(pen, (x, y + height + GAP // 2), width, cell, font)
            free = next((k for k in range(column + 1, len(cells)) if _heads(cells[k])), len(cells))
            room = row[free - 1][0] + width - x
            pen.text((x, y - TEXT_SIZE - GAP // 2), _cut(cell.head, room, font), INK, font)
    return paper


def _heads(cell: Cell | None) -> bool:
    return cell is not None and bool(cell.head)


def _cut(text: str, width: float, font: FreeTypeFont) -> str:
    """The text, or as much of it as there is room for."""
    while font.getlength(text) > width and len(text) > 2:
        text = text[:-2].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    return text


def _caption(
    pen: ImageDraw, corner: tuple[int, int], width: int, cell: Cell, font: FreeTypeFont
) -> None:
    """Draw the bar and the text below an image."""
    x, y = corner
    end = 0.0
    for share, colour in cell.shares:
        start, end = end, end + share
        if round(end * width) > round(start * width):
            box = (x + round(start * width), y, x + round(end * width) - 1, y + BAR - 1)
            pen.rectangle(box, colour)
    if cell.shares:
        y += BAR + GAP // 3
    pen.text((x, y), _cut(cell.text, width, font), INK, font)


def save(picture: Image, path: str | os.PathLike) -> None:
    """Save a sheet: the whole file or none.

    Raises:
        ValueError: If the file name's suffix is not that of an image format.
        OSError: If the file cannot be written.
    """
    path = output(path)
    options = {"quality": 85} if path.suffix.lower() in (".jpg", ".jpeg", ".webp") else {}
    try:
        handle, scratch = tempfile.mkstemp(".part" + path.suffix, f".{path.stem}.", path.parent)
        try:
            os.close(handle)
            picture.save(scratch, **options)
            os.chmod(scratch, 0o644)  # mkstemp makes it private
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"output: expected a file to write, got {str(path)!r} ({why})") from error


def output(path: str | os.PathLike) -> Path:
    """Check an output path before the work rather than after it.

    Raises:
        ValueError: If the suffix is not that of an image format, or the folder does not exist.
    """
    from PIL import Image

    path = Path(path)
    known = Image.registered_extensions()  # loads the formats
    if known.get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(
            f"output: expected a file name that ends in .png, .jpg or .webp, got {str(path)!r}"
        )
    if not path.parent.is_dir():
        raise ValueError(
            f"output: expected a file in an existing folder, got {str(path)!r}; "
            f"make it with: mkdir -p {path.parent}"
        )
    return path
