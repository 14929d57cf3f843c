"""A sheet of some images as the classifier saw them, with its answers and the boxes it found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from dali_msda.commands.sheets import SOURCES, Cell, sheet

SIDE = 160  # least pixels of a picture's side
RIGHT, WRONG = SOURCES[2], "#c0392b"  # bars below answers
TITLE = "Answers and their confidence; green bars: right; boxes: blue true, orange found"


class Seen(NamedTuple):
    """An image that the classifier saw.

    Attributes:
        what: What was done to it, as the heading has it.
        image: uint8 ``(H, W, 3)`` or ``(H, W)``.
        label: The true class.
        best: The answer.
        confidence: Its probability.
        boxes: The true ones and, after them, the one that was found, ``x0, y0, x1, y1`` each.
        found: Whether the last of these is one that was found.
    """

    what: str
    image: np.ndarray
    label: int
    best: int
    confidence: float
    boxes: Sequence[Sequence[int]] = ()
    found: bool = False


def answers_sheet(rows: Sequence[Sequence[Seen]], names: Sequence[str]) -> Image.Image:
    """Draw a row for each image; names are those of the classes."""
    cells = []
    for number, row in enumerate(rows):
        cells.append([])
        for seen in row:
            bar = ((seen.confidence, RIGHT if seen.best == seen.label else WRONG),)
            text = f"{names[seen.best]} {100 * seen.confidence:.0f} %"
            head = "" if number else seen.what
            cells[-1].append(Cell(_with_boxes(seen), text, bar, head))
    return sheet(cells, title=TITLE)


def _with_boxes(seen: Seen) -> np.ndarray:
    """The image, each pixel several times if it is small, and its boxes."""
    times = -(-SIDE // len(seen.image))
    picture = Image.fromarray(seen.image.repeat(times, 0).repeat(times, 1)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for number, (x0, y0, x1, y1) in enumerate(seen.boxes):
        if x0 < x1 and y0 < y1:
            colour = SOURCES[seen.found and number == len(seen.boxes) - 1]
            edges = (x0 * times, y0 * times, x1 * times - 1, y1 * times - 1)
            pen.rectangle(edges, outline=colour, width=3)
    return np.asarray(picture)
