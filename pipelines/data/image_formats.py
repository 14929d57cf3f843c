"""Which image files can be read: one table that ``check``, ``write_beton`` and the loaders obey.

A file counts as what its first bytes say, whatever its name. The table holds only formats that
DALI's decoder and Pillow both read, to the same pixels, so that no loader shows what another does
not. Pillow may open nothing else, because some of its other plugins start programs, as Ghostscript
for EPS.
"""

import io
import os
import re
import stat
from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_PIXELS = 2**28  # of an image: 805 MB when it is decoded
MAX_BYTES = 2**30  # of a file
PNM_TO_255 = re.compile(rb"P[2356](?:(?:\s|#[^\n\r]*[\n\r])+\d+){2}(?:\s|#[^\n\r]*[\n\r])+0*255\s")
INCOMPLETE = "damaged JPEG (a part of the picture is missing)"


class Undecodable(ValueError):
    """A file that is no image, or a damaged one. The text says why."""


class Format(NamedTuple):
    """A format on the list.

    Attributes:
        start: A pattern of the first bytes.
        plugin: What Pillow calls the format.
        modes: Pillow's names of the kinds of pixels that DALI reads alike.
    """

    start: bytes
    plugin: str
    modes: frozenset[str]


def _format(start: bytes, plugin: str, modes: str) -> Format:
    return Format(start, plugin, frozenset(modes.split()))


FORMATS = {
    "JPEG": _format(rb"\xff\xd8\xff", "JPEG", "L RGB CMYK"),
    "PNG": _format(rb"\x89PNG\r\n\x1a\n", "PNG", "1 L LA P RGB RGBA I;16"),
    "WebP": _format(rb"RIFF....WEBP", "WEBP", "RGB RGBA"),
    "BMP": _format(rb"BM", "BMP", "1 L P RGB RGBA"),
    "JPEG 2000": _format(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "JPEG2000", "L RGB RGBA I;16"),
    "TIFF": _format(rb"II\*\x00|MM\x00\*", "TIFF", "L P RGB RGBA CMYK YCbCr I;16 I;16B"),
    "PNM": _format(rb"P[1-6]\s", "PPM", "1 L RGB"),
}
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "JPEG 2000": b"\xff\xd9"}
_OTHERS = {"GIF": rb"GIF8", "EPS": rb"%!PS", "AVIF or HEIF": rb"....ftyp"}


def read_file(path: str | os.PathLike) -> bytes:
    """Read a regular file whole.

    Raises:
        OSError: If it cannot be read, or is empty.
        Undecodable: If it is a pipe or another kind of file, or too large.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Undecodable("not a regular file")
        if status.st_size > MAX_BYTES:
            raise Undecodable(f"larger than {MAX_BYTES} bytes")
        data = file.read()
    if not data:
        raise OSError("empty file")
    return data


def kind_of(data: bytes) -> str:
    """Name of the format on the list that the first bytes tell.

    Raises:
        Undecodable: If they tell another one, or none.
    """
    start = bytes(data[:16])
    for name, kind in FORMATS.items():
        if re.match(kind.start, start, re.DOTALL):
            return name
    for name, pattern in _OTHERS.items():
        if re.match(pattern, start, re.DOTALL):
            raise Undecodable(f"{name}: the loaders do not take this format")
    raise Undecodable(f"not an image: it starts with {start[:8]!r}")


def opened(data: bytes) -> Image.Image:
    """Open an image, whose pixels are not decoded yet, and check that it is one of the table's.

    Raises:
        Undecodable: If its format, its kind of pixels or its size is not on the list.
    """
    name = kind_of(data)
    if name == "JPEG" and not _marks_follow(data):
        raise Undecodable(described(name, data))
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # MAX_PIXELS is checked instead
    try:
        image = Image.open(io.BytesIO(data), formats=[FORMATS[name].plugin])
    except Exception as error:  # Pillow's plugins raise what they like
        raise Undecodable(described(name, data)) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Undecodable(f"{width} x {height} pixels, more than {MAX_PIXELS}")
    other_maximum = name == "PNM" and image.mode != "1" and not PNM_TO_255.match(data)
    if image.mode not in FORMATS[name].modes or other_maximum:
        what = f"pixels of kind {image.mode!r}" + " with a maximum other than 255" * other_maximum
        raise Undecodable(f"{name} with {what}, which the loaders do not read alike")
    return image


def _marks_follow(data: bytes) -> bool:
    """Whether each part of a JPEG's header begins where the one before ends.

    Pillow looks for the next mark where DALI gives up.
    """
    at = 2
    while data[at : at + 1] == b"\xff":
        if data[at + 1 : at + 2] == b"\xda":  # the first scan
            return True
        if data[at + 1 : at + 2] in (b"", b"\0"):
            return False
        is_filling = data[at + 1] == 0xFF
        at += 1 if is_filling else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def expect_whole(data: bytes, image: Image.Image) -> None:
    """Raise :class:`Undecodable` if a JPEG that was decoded holds no or not all of its picture.

    libjpeg fills what is missing with grey and only warns, and Pillow drops the warning. So where
    the last pixel is of that grey, the file is decoded again, with other bytes before its end
    mark: they are no part of a whole picture, but a picture that lacks data changes with them.
    """
    if not data.startswith(b"\xff\xd8"):
        return
    corner = image.getpixel((image.width - 1, image.height - 1))
    if not (image.info.get("progressive") or is_grey(corner)):
        return
    end = data.rfind(b"\xff\xd9")
    again = data[: end if end > 0 else None] + b"\x55\xaa\x35" * 64 + b"\xff\xd9"
    padded = Image.open(io.BytesIO(again), formats=["JPEG"])
    if np.array_equal(np.asarray(image), np.asarray(padded)) and _restarts_fit(data, image):
        return
    raise Undecodable(INCOMPLETE)


def is_grey(pixel: object, slack: int = 0) -> bool:
    """Whether a pixel is what libjpeg fills in where data is missing, in any kind of pixels.

    ``slack`` is by how much another decoder may round its values otherwise.
    """
    return bool((np.abs(np.subtract(pixel, 127.5)) <= 0.5 + slack).all())


def _restarts_fit(data: bytes, image: Image.Image) -> bool:
    """Whether a JPEG that announces restart marks has any, where it needs some."""
    interval = re.search(rb"\xff\xdd\x00\x04(..)", data, re.DOTALL)
    every = int.from_bytes(interval[1], "big") if interval else 0
    # Each channel as Pillow tells it: name, samples across and down in a unit, and table.
    samples = np.array([layer[1:3] for layer in image.layer]).max(0)
    across, down = 8 * samples if len(image.layer) > 1 else (8, 8)
    if not every or every >= -(-image.width // across) * -(-image.height // down):
        return True
    return re.search(rb"\xff[\xd0-\xd7]", data) is not None


def described(name: str, data: bytes) -> str:
    """Say what is wrong with a file of a known format that does not decode, judging by its end."""
    if name in _ENDS:
        whole = _ENDS[name] in data[-16:]
    elif name in ("WebP", "BMP"):
        at = 4 if name == "WebP" else 2
        whole = len(data) >= int.from_bytes(data[at : at + 4], "little")
    else:
        whole = True
    return f"damaged {name}" if whole else f"truncated {name}"
