"""Files as they are found in image folders: odd ones that decode, and those that do not."""

import io
import os

import numpy as np
from PIL import Image


def picture(width=60, height=40, mode="RGB"):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encode(image, kind="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


JPEG, PNG = encode(picture()), encode(picture(), "PNG")
BROKEN_EXIF = b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(40))
NOISE16 = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27)
GOOD = {
    "plain.jpg": JPEG,
    "cmyk.JPEG": encode(picture(mode="CMYK")),
    "grey.jpg": encode(picture(mode="L")),
    "progressive.jpg": encode(picture(), progressive=True),
    "png_by_another_name.JPEG": PNG,
    "broken_exif.jpg": JPEG[:2]
    + b"\xff\xe1\0"
    + bytes([len(BROKEN_EXIF) + 2])
    + BROKEN_EXIF
    + JPEG[2:],
    "trailing_bytes.jpg": JPEG + b"more" * 100,
    "sixteen_bit.png": encode(NOISE16, "PNG"),
    "palette.png": encode(picture(mode="P"), "PNG"),
    "alpha.png": encode(picture(mode="RGBA"), "PNG"),
    "one_pixel.jpg": encode(picture(1, 1)),
    "one_pixel.png": encode(picture(1, 1), "PNG"),
    "twenty_megapixels.jpg": encode(picture(5472, 3648), quality=60),
    "with space, é and 雪.jpg": JPEG,
    "ends in a number 7.jpg": JPEG,
}
BAD = {
    "empty.jpg": (b"", "empty file"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "truncated JPEG"),
    "without_end.jpg": (JPEG[:-2], "truncated JPEG"),
    "header_only.jpg": (JPEG[:40], "truncated JPEG"),
    "truncated.png": (PNG[: len(PNG) // 2], "truncated PNG"),
    "flipped_byte.png": (PNG[:400] + bytes([PNG[400] ^ 0xFF]) + PNG[401:], "damaged PNG"),
    "text.jpg": (b"not a picture\n", "not an image"),
    "README.txt": (b"Photographs.\n", "not the name of an image"),
    ".DS_Store": (b"\0\0\0\1Bud1", "not the name of an image"),
    "animation.gif": (encode(picture(), "GIF"), "not the name of an image"),
    "two\nlines.jpg": (JPEG, "line break"),
}


def write_hostile(root):
    """Two classes of hostile files, and links and folders where images should be."""
    (root / "bad").mkdir()
    (root / "good").mkdir()
    for name, data in GOOD.items():
        (root / "good" / name).write_bytes(data)
    for name, (data, _) in BAD.items():
        (root / "bad" / name).write_bytes(data)
    (root / "bad" / "still_good.jpg").write_bytes(JPEG)
    (root / "bad" / "folder.jpg" / ".checkpoints").mkdir(parents=True)
    for place in ("folder.jpg", "folder.jpg/.checkpoints"):
        (root / "bad" / place / "inside.jpg").write_bytes(JPEG)
    (root / "bad" / "link.jpg").symlink_to("nowhere")
    os.mkfifo(root / "bad" / "pipe.jpg")
    (root / "stray.jpg").write_bytes(JPEG)
    return root
