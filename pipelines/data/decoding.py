"""Decodes and crops image files with Pillow, as the DALI loaders decode and crop them."""

import contextlib
import math

import numpy as np
from PIL import Image

from dali_msda import loader_draws
from dali_msda.pipelines.data import image_formats
from dali_msda.pipelines.data.image_formats import Undecodable

ORIENTATION = 0x0112  # the EXIF tag
TURNS = {  # how the camera was held -> how to turn its picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: str) -> Image.Image:
    """Decode a file to RGB, upright.

    Transparency is left out, and 16 bits are cut to 8.

    Raises:
        OSError: If the file cannot be read or is empty.
        Undecodable: If it cannot be decoded, or image_formats.py does not list its format.
    """
    data = image_formats.read_file(path)
    image = image_formats.opened(data)
    try:
        image.load()
    except Exception as error:  # Pillow's plugins raise what they like
        raise Undecodable(image_formats.described(image_formats.kind_of(data), data)) from error
    image_formats.expect_whole(data, image)
    orientation = None
    with contextlib.suppress(Exception):  # a damaged EXIF does not make a picture useless
        orientation = image.getexif().get(ORIENTATION)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode != "RGB":
        image = image.convert("RGB")
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def random_crop_box(
    width: int,
    height: int,
    min_area: float,
    max_area: float = 1.0,
    *,
    index: int,
    seed: int,
    epoch: int,
) -> tuple[int, int, int, int]:
    """Draw a part of an image, a function of the seed, the epoch and the sample's index.

    Its area is uniform in [min_area, max_area] of the image's and the logarithm of its aspect ratio
    in that of [3/4, 4/3]; of 100 attempts the first that fits is taken, or else the largest part in
    the middle that has such a ratio.

    Returns:
        ``x0, y0, x1, y1``, in pixels, half-open.
    """
    (part,) = loader_draws.crops(
        [index], [height], [width], area=(min_area, max_area), seed=seed, step=epoch
    ).tolist()
    y0, x0, y1, x1 = part
    return x0, y0, x1, y1


def middle(width: int, height: int, w: int, h: int) -> tuple[int, int, int, int]:
    """The part of ``w`` x ``h`` pixels in the middle of an image, as ``x0, y0, x1, y1``."""
    x, y = ((all_ - part + 1) // 2 for all_, part in ((width, w), (height, h)))
    return x, y, x + w, y + h


def resized_crop(image: Image.Image, part: tuple[int, int, int, int], size: int) -> np.ndarray:
    """A part of an image, brought to a size by a triangle filter that does not alias.

    As with DALI and torchvision, nothing outside the part is seen.

    Returns:
        uint8 ``(size, size, 3)``.
    """
    return _resized(image.crop(part), size, size)


def central_crop(image: Image.Image, resize: int, size: int) -> np.ndarray:
    """The middle of an image whose shorter side is brought to ``resize`` pixels.

    Returns:
        uint8 ``(size, size, 3)``.
    """
    shorter = min(image.size)
    width, height = (max(1, math.floor(side * resize / shorter + 0.5)) for side in image.size)
    x0, y0, x1, y1 = middle(width, height, size, size)
    return _resized(image, width, height)[y0:y1, x0:x1]


def _resized(image: Image.Image, width: int, height: int) -> np.ndarray:
    """An image by the filter that Pillow calls ``BILINEAR``, as torch does it.

    Torch's takes a third of the time of Pillow's, and gives the same bytes on every processor.
    """
    import torch  # `python -m dali_msda.pipelines.check` does without it

    pixels = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)  # in channels-last memory
    how = dict(mode="bilinear", antialias=True)
    scaled = torch.nn.functional.interpolate(pixels, (height, width), **how)
    return scaled.permute(0, 2, 3, 1)[0].numpy()
