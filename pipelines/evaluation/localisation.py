"""Weakly supervised localisation: class activation maps, the boxes they tell, and their scores."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

THRESHOLD = 0.25  # of a map's greatest value; what is above belongs to the object
PUBLISHED_OVERLAP, RELEASED_OVERLAP = 0.25, 0.5  # of the box found with a true one

FLAT = 1e-5  # differences in a map, as a share of its values, that are those of rounding


class ActivationMaps:
    """Makes class activation maps of a classifier that averages a map before its last layer.

    As in Co-Mixup's released code the map of a class is the feature map weighted by the last
    layer's row for it, summed over channels and over each place's 3 x 3 neighbours, enlarged
    bicubically and brought to [0, 1] for each image.

    Args:
        model: Makes logits of images; in evaluation mode.

    Raises:
        ValueError: If it has no linear layer. In a call, if it is of another kind than the above.

    Reference:
        Zhou et al., Learning deep features for discriminative localization, CVPR 2016, section 2.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            raise self._unsuited()
        self.last = layers[-1]

    def __call__(self, images: Tensor, classes: Tensor) -> Tensor:
        """Make a map for each image.

        Args:
            images: As the model takes them, ``(B, 3, H, W)``.
            classes: Of which the maps are, numbers of the model's, int64 ``(B,)``.

        Returns:
            ``(B, H, W)``; a map without differences, but for rounding, is 0.
        """
        with _LastMap(self.last.in_features) as seen:
            logits = self.model(images)
        features = seen.map
        if features is None or features.shape[0] != len(images):
            raise self._unsuited()
        again = self.last(features.mean((2, 3)))
        slack = 1e-3 * float(logits.abs().max())
        if again.shape != logits.shape or not torch.allclose(again, logits, rtol=0, atol=slack):
            raise self._unsuited()
        small = torch.einsum("bc,bchw->bhw", self.last.weight[classes], features)[:, None]
        summed = 9 * functional.avg_pool2d(small, 3, stride=1, padding=1)
        large = functional.interpolate(summed, size=images.shape[2:], mode="bicubic")[:, 0]
        low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
        differ = high - low > FLAT * torch.maximum(high.abs(), low.abs())
        return torch.where(differ, (large - low) / (high - low), 0)

    def _unsuited(self) -> ValueError:
        return ValueError(
            "localise: expected a model that averages a feature map of several pixels before its "
            f"last, linear layer, as ResNets do, got {type(self.model).__name__}. Leave it out, or "
            "give a greater --size."
        )


class _LastMap(TorchFunctionMode):
    """Keeps the last feature map of so many channels that anything is computed of."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels, self.map = channels, None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        for one in args:
            if isinstance(one, Tensor) and one.ndim == 4 and one.shape[1] == self.channels:
                pooled = one.shape[2:] == (1, 1) and self.map is not None
                self.map = self.map if pooled else one
        return function(*args, **(kwargs or {}))


def box_of(activation: np.ndarray, threshold: float = THRESHOLD) -> tuple[int, int, int, int]:
    """The rectangle around the largest part of a map above a share of its greatest value.

    As in Co-Mixup's released code values are cut to 256 steps first, and a part's size is the area
    within the line through the centres of its outermost pixels, holes included. Pixels that touch
    at a corner belong together.

    Args:
        activation: ``(H, W)``, in [0, 1].
        threshold: That share.

    Returns:
        ``x0, y0, x1, y1`` in pixels, half-open; of the first pixel if nothing is above.
    """
    grey = np.clip(activation * 255, 0, 255).astype(np.uint8)
    parts, count = connected_parts(grey > int(threshold * grey.max()), corners=True)
    boxes, best = [], (0, 0, 1, 1)
    for number in range(1, count + 1):
        ys, xs = np.nonzero(parts == number)
        boxes.append((int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1))
    if len(boxes) == 1:
        return boxes[0]
    largest = -1.0
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        area = _outlined_area(parts[y0:y1, x0:x1] == number)
        if area > largest:
            best, largest = (x0, y0, x1, y1), area
    return best


def connected_parts(mask: np.ndarray, *, corners: bool) -> tuple[np.ndarray, int]:
    """Number the connected parts of a mask.

    Args:
        mask: bool ``(H, W)``.
        corners: Whether pixels that touch at a corner only belong together.

    Returns:
        int64 ``(H, W)``, 0 outside the mask, and the number of parts, which count from 1.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = (one.tolist() for one in np.nonzero(edges == 1))
    ends = np.nonzero(edges == -1)[1].tolist()
    parents, reach, above = list(range(len(rows))), int(corners), 0

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    for run, row in enumerate(rows):  # each run of a row with those of the row above
        while rows[above] < row - 1 or (
            rows[above] == row - 1 and ends[above] + reach <= starts[run]
        ):
            above += 1
        near = above
        while rows[near] == row - 1 and starts[near] < ends[run] + reach:
            first, second = sorted((root(near), root(run)))
            parents[second] = first
            near += 1
    numbers: dict[int, int] = {}
    parts = np.zeros(mask.shape, np.int64)
    for run, row in enumerate(rows):
        number = numbers.setdefault(root(run), len(numbers) + 1)
        parts[row, starts[run] : ends[run]] = number
    return parts, len(numbers)


def _outlined_area(part: np.ndarray) -> float:
    """Area within the line through the centres of the outermost pixels of a connected part."""
    around = np.pad(~part, 1, constant_values=True)
    outside, _ = connected_parts(around, corners=False)
    filled = (outside != outside[0, 0]).astype(int)
    corners = filled[1:, 1:] + filled[1:, :-1] + filled[:-1, 1:] + filled[:-1, :-1]
    return float((corners == 4).sum() + 0.5 * (corners == 3).sum())


def overlap(box: tuple[int, int, int, int], others: np.ndarray) -> float:
    """Greatest intersection over union of a box with one of several, ``(n, 4)``, n at least 1."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    own = (box[2] - box[0]) * (box[3] - box[1])
    return float((both / (own + (others[:, 2:] - others[:, :2]).prod(1) - both)).max())


def scores(overlaps: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Localisation accuracy in per cent, as it was published and as the released code has it.

    Args:
        overlaps: Greatest intersection over union of the box found in each image, ``(N,)``.
        right: Whether the class was right, bool ``(N,)``.

    Reference:
        Published: the multi-mix paper, section IV-D: an overlap greater than 0.25. Released:
        Co-Mixup's ``comix-localization/eval.py``: one of at least 0.5, and the right class.
    """
    released = (overlaps >= RELEASED_OVERLAP) & right
    return {
        "published": 100 * float((overlaps > PUBLISHED_OVERLAP).mean()),
        "released": 100 * float(released.mean()),
        "mean_overlap": float(overlaps.mean()),
    }
