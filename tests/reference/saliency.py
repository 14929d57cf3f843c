"""NumPy reference of the saliency filter, in float64, for tests.

Written from the definition: intensity is smoothed, and each pixel is compared with the mean of six
squares around it, brighter and darker apart (Montabone and Soto, Human detection using a mobile
platform and novel features derived from a visual saliency mechanism, Image and Vision Computing
2010; the constants are OpenCV's). Mean over a square by explicit slices, no integral image.
"""

from __future__ import annotations

import numpy as np

REACHES = (12, 24, 48, 28, 56, 112)


def grey(image: np.ndarray) -> np.ndarray:
    """Intensity of ``(H, W, 1)`` or RGB ``(H, W, 3)``, uint8 or float32 in 0 to 255, as integers.

    Luma weights 0.299, 0.587 and 0.114 in 15 bits.
    """
    values = np.nan_to_num(np.clip(np.rint(image.astype(np.float64)), 0, 255))
    if image.shape[2] == 1:
        return values[..., 0].astype(np.int64)
    weighted = values @ np.array([9798, 19235, 3735]) / 2**15
    return np.floor(weighted + 0.5).astype(np.int64)


def smooth(image: np.ndarray) -> np.ndarray:
    """A 3 x 3 binomial filter, mirrored at the border without repeating it; halves go up."""
    image = np.pad(image, 1, mode="reflect")
    image = image[:-2] + 2 * image[1:-1] + image[2:]
    image = image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]
    return np.floor(image / 16 + 0.5).astype(np.int64)


def contrasts(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much brighter and darker than its surroundings each pixel is, over the six squares."""
    height, width = image.shape
    brighter, darker = np.zeros((2, height, width))
    for reach in REACHES:
        for y in range(height):
            rows = image[max(0, y - reach + 1) : y + reach + 1]
            for x in range(width):
                square = rows[:, max(0, x - reach + 1) : x + reach + 1]
                if square.size == 1:
                    continue
                mean = (square.sum() - image[y, x]) / (square.size - 1)
                brighter[y, x] += np.floor(max(0.0, image[y, x] - mean))
                darker[y, x] += np.floor(max(0.0, mean - image[y, x]))
    return brighter, darker


def shares(image: np.ndarray) -> np.ndarray:
    """Sum of both kinds of contrast, each scaled to 255."""
    total = np.zeros(image.shape[:2], np.int64)
    for contrast in contrasts(smooth(smooth(grey(image)))):
        if contrast.max() > 0:  # the share in single precision, then exact
            share = (contrast.astype(np.float32) / np.float32(contrast.max())).astype(np.float64)
            total += np.floor(255 * share).astype(np.int64)
    return total


def saliency(image: np.ndarray) -> np.ndarray:
    """Saliency map, uint8 ``(H, W)``."""
    return np.minimum(shares(image), 255).astype(np.uint8)
