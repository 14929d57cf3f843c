"""Mean features of a box in a feature map, as RoIAlign with one bin has them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def roi_features(
    feature_map: Tensor, boxes: object, image_size: tuple[int, int], *, transposed: bool = False
) -> Tensor:
    """Mean of a feature map over one box per sample, in bilinear interpolation.

    It equals torchvision's ``roi_align`` with ``output_size=1``, ``aligned=True`` and an adaptive
    number of points. Gradients flow to the feature map.

    Args:
        feature_map: Floats ``(B, C, h, w)``.
        boxes: ``y0, x0, y1, x1`` of each sample in pixels of the image, half-open, ``(B, 4)``, on
            the CPU.
        image_size: Height and width of the images, in pixels.
        transposed: Read a box as ``x0, y0, x1, y1``, as RecursiveMix's released code does.

    Returns:
        ``(B, C)``, zeros where a box is empty.

    Raises:
        ValueError: If shapes do not fit.

    Reference:
        He et al., Mask R-CNN, ICCV 2017, arXiv:1703.06870, section 3 (RoIAlign).
    """
    boxes = np.asarray(boxes)
    if feature_map.ndim != 4 or boxes.shape != (len(feature_map), 4):
        raise ValueError(
            f"boxes: expected one of 4 numbers per sample of a feature map (B, C, h, w), got "
            f"{boxes.shape} for {tuple(feature_map.shape)}"
        )
    first, second = (1, 0) if transposed else (0, 1)
    weights = []
    for axis, (start, image, cells) in enumerate(
        zip((first, second), image_size, feature_map.shape[2:], strict=True)
    ):
        ends = boxes[:, [start, start + 2]] * (cells / image) - 0.5
        made = np.stack([_weights(*pair, cells) for pair in ends]) if len(ends) else ends[:, :0]
        shape = (len(boxes), 1, cells, 1) if axis == 0 else (len(boxes), 1, 1, cells)
        weights.append(torch.from_numpy(made).to(feature_map).reshape(shape))
    return (feature_map * weights[0] * weights[1]).sum((2, 3))


def _weights(start: float, end: float, cells: int) -> np.ndarray:
    """Weight of each cell of an axis in the mean over points from ``start`` to ``end``."""
    weights = np.zeros(cells)
    points = math.ceil(end - start)
    for number in range(points):
        at = start + (number + 0.5) * (end - start) / points
        if not -1 <= at <= cells:
            continue
        at = min(max(at, 0), cells - 1)
        cell = int(at)
        weights[cell] += (cell + 1 - at) / points
        weights[min(cell + 1, cells - 1)] += (at - cell) / points
    return weights
