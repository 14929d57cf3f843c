"""RecursiveMix once more, in NumPy and plain loops, float64.

Sources: Yang et al., arXiv:2203.06844, and the authors' code; He et al., arXiv:1703.06870, and
torchvision's code (RoIAlign).
"""

import math

import numpy as np

from tests.reference.methods import Stream

PASTE = 250  # purpose of a draw


def box(slot, size, alpha, *, seed, step, rank=0):
    """Box of a sample, ``y0, x0, y1, x1``: CutMix's of a uniform area, cut off at the border."""
    stream, identity = Stream(seed, step), (rank << 32) + slot
    area, *centre = (stream.uniform(identity, PASTE, number) for number in range(3))
    ends = []
    for n, at in zip(size, centre, strict=True):
        half, middle = int(n * math.sqrt(area * alpha)) // 2, int(at * n)
        ends.append((max(middle - half, 0), min(middle + half, n)))
    (y0, y1), (x0, x1) = ends
    return y0, x0, y1, x1


def paste(image, before, where):
    """An image ``(C, H, W)`` with the one before, shrunk to its nearest pixels, in the box."""
    y0, x0, y1, x1 = where
    made, (height, width) = image.copy(), image.shape[1:]
    for y in range(y0, y1):
        for x in range(x0, x1):
            row = math.floor((y - y0) * height / (y1 - y0))
            column = math.floor((x - x0) * width / (x1 - x0))
            made[:, y, x] = before[:, row, column]
    return made


def own_share(where, size):
    """Share of the pixels that stay own."""
    y0, x0, y1, x1 = where
    return 1 - max(y1 - y0, 0) * max(x1 - x0, 0) / (size[0] * size[1])


def roi_mean(feature_map, where, image_size):
    """RoIAlign of a map ``(C, h, w)`` with one bin, aligned, as many points as cells."""
    height, width = feature_map.shape[1:]
    scales = height / image_size[0], width / image_size[1]
    y0, x0, y1, x1 = (value * scales[k % 2] - 0.5 for k, value in enumerate(where))
    rows, columns = math.ceil(y1 - y0), math.ceil(x1 - x0)
    total = np.zeros(len(feature_map))
    for i in range(rows):
        for j in range(columns):
            y = y0 + (i + 0.5) * (y1 - y0) / rows
            x = x0 + (j + 0.5) * (x1 - x0) / columns
            total += _bilinear(feature_map, y, x)
    return total / max(rows * columns, 1)


def _bilinear(feature_map, y, x):
    height, width = feature_map.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(feature_map))
    y, x = max(y, 0), max(x, 0)
    low_y, low_x = min(int(y), height - 1), min(int(x), width - 1)
    high_y, high_x = min(low_y + 1, height - 1), min(low_x + 1, width - 1)
    y, x = min(y, height - 1), min(x, width - 1)
    weight_y, weight_x = y - low_y, x - low_x
    top = (1 - weight_x) * feature_map[:, low_y, low_x] + weight_x * feature_map[:, low_y, high_x]
    low = (1 - weight_x) * feature_map[:, high_y, low_x] + weight_x * feature_map[:, high_y, high_x]
    return (1 - weight_y) * top + weight_y * low


def region_loss(logits, before, own, omega):
    """``omega (1 - w)`` times cross-entropy with the softmax of the logits before, the mean."""
    total = 0.0
    for x, teacher, w in zip(np.float64(logits), np.float64(before), own, strict=True):
        log_p = x - x.max() - np.log(np.exp(x - x.max()).sum())
        target = np.exp(teacher - teacher.max()) / np.exp(teacher - teacher.max()).sum()
        total -= (1 - w) * (target * log_p).sum()
    return omega * total / len(logits)
