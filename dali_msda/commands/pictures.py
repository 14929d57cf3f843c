"""Images of a folder, or of folders of them, decoded with Pillow."""

from __future__ import annotations

import os
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# What Pillow may decode. Others of its plugins start programs, as Ghostscript for EPS, and it goes
# by a file's content, not by its name.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "JPEG2000", "TIFF", "PPM")


def load(root: str | os.PathLike, count: int, size: tuple[int, int], seed: int) -> list[tuple]:
    """Load images from a folder and its folders, chosen at random, in turn from each folder.

    Files that PIL cannot decode are passed over, with a line on stderr.

    Args:
        root: The folder.
        count: Most images to load.
        size: Height and width; images are scaled and cropped to fill it.
        seed: Seed of the choice.

    Returns:
        (image, name) of each: uint8 ``(H, W, 3)``, and the folder that it lies in, or the file's
        own name if that is the root.
    """
    root, found = Path(root), []
    if not root.is_dir():
        got = "a file" if root.exists() else "nothing of that name"
        raise ValueError(f"folder: expected a folder of images, got {str(root)!r} ({got})")
    for path in _image_files(root, np.random.default_rng(seed)):
        if len(found) == count:
            break
        try:
            image = decode(path, size)
        except Exception as error:  # PIL raises nearly anything for a broken file
            print(f"passed over {path}: {error}", file=sys.stderr)
            continue
        found.append((image, path.parent.name if path.parent != root else path.stem))
    return found


def _image_files(folder: Path, rng: np.random.Generator) -> Iterator[Path]:
    """Files with the name of an image: own ones at random, then one of each folder in turn.

    A folder is read when it is its turn, so that a few files of ImageNet need only a few folders.
    """
    from PIL import Image

    formats = Image.registered_extensions()
    entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    entries = [entries[i] for i in rng.permutation(len(entries))]
    for entry in entries:
        if formats.get(Path(entry.name).suffix.lower()) in FORMATS and entry.is_file():
            yield Path(entry.path)
    turns = deque(_image_files(Path(entry.path), rng) for entry in entries if entry.is_dir())
    while turns:
        files = turns.popleft()
        for path in files:
            yield path
            turns.append(files)
            break


def decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Decode one image: uint8 ``(H, W, 3)``, upright, scaled and cropped to ``size``."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
        warnings.simplefilter("ignore")  # of broken EXIF
        image.draft("RGB", (2 * size[1], 2 * size[0]))  # saves most of the work for a large JPEG
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) / 257 + 0.5).astype(np.uint8))
        return np.asarray(ImageOps.fit(image.convert("RGB"), (size[1], size[0])))
