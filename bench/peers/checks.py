"""Checks that a peer did the work: its pixels against its labels, and both against our kernels.

Draws differ from library to library, so they are read off the output. Every label is unique. A row
of soft labels therefore names the partner and the own weight, and the pixels must show the same.
"""

import numpy as np

import dali_msda as msda
from bench.cases import Mismatch
from bench.memory import MEAN, STD
from dali_msda.policy import METHODS

CLOSE = 1e-4  # largest error of normalised pixels and of weights
CLEAR = 60.0  # least distance of two images of `samples` in any pixel, in grey levels
SLACK = {False: 1e-3, True: 0.03}  # largest error of a pixel's weight, by whether it was rounded
ROUNDED = 1.01 / min(STD)  # largest error that rounding to bytes before the normalisation makes


def samples(batch: int, height: int, width: int) -> np.ndarray:
    """Images to check with, uint8, at most 18: each is noise around a colour of its own.

    Whichever two of them are mixed, every pixel tells with which weight.
    """
    levels = np.array((24, 120, 216))
    colours = np.stack(np.meshgrid(levels, levels, levels[::2]), -1).reshape(-1, 3)[:batch]
    noise = np.random.default_rng(0).integers(0, 24, (batch, height, width, 3))
    return (colours[:, None, None] + noise).astype(np.uint8)


def check(
    images: np.ndarray, method: str, mixed: np.ndarray, rows: np.ndarray, *, rounded: bool = False
) -> None:
    """Compare an output with what its own labels say, and with a blend by our kernels.

    Args:
        images: Those of :func:`samples`; the label of image i is i.
        method: What was asked for.
        mixed: Normalised float32 ``(B, C, H, W)``.
        rows: Soft labels ``(B, classes)``.
        rounded: Whether the pixels went through uint8 after they were mixed.

    Raises:
        Mismatch: If a type, a shape, a label or a pixel is not what it should be.
    """
    batch, height, width, channels = images.shape
    _expect(
        "images", (str(mixed.dtype), mixed.shape), ("float32", (batch, channels, height, width))
    )
    _expect("targets", (str(rows.dtype), rows.shape[0]), ("float32", batch))
    if not np.allclose(rows.sum(1), 1, atol=CLOSE):
        raise Mismatch(f"targets: expected rows that sum to 1, got {rows.sum(1)}")
    plan = msda.draw(msda.Mixup(prob=0.0), batch, height, width, seed=0, step=0)
    for i, row in enumerate(rows):
        partner = _partner(row, i)
        if abs(row[i] + (partner != i) * row[partner] - 1) > CLOSE:
            raise Mismatch(f"targets[{i}]: expected an own label and a partner's, got {row}")
        weights = _own_weights(mixed[i], images[i], images[partner], f"images[{i}]", rounded)
        _record(plan[i], method, partner, float(row[i]), weights, rounded)
    if method in ("mixup", "cutmix"):
        want = msda.blend(images, plan, mean=MEAN, std=STD, dtype="float32", layout="CHW")
        apart = float(np.abs(want - mixed).max())
        if apart > (ROUNDED if rounded else CLOSE):
            raise Mismatch(f"images: expected our blend of the same plan, got {apart:.3g} off it")


def _expect(name: str, got: tuple, wanted: tuple) -> None:
    if got != wanted:
        raise Mismatch(f"{name}: expected {wanted}, got {got}")


def _partner(row: np.ndarray, own: int) -> int:
    """The sample that a row of soft labels names beside the own one, or else the own one."""
    partner = int(np.delete(row, own).argmax())
    partner += partner >= own
    return partner if row[partner] > 0 else own


def _own_weights(
    mixed: np.ndarray, own: np.ndarray, partner: np.ndarray, name: str, rounded: bool
) -> np.ndarray:
    """Own weight of each pixel, ``(H, W)``; NaN where the two sources are one."""
    grey = mixed.transpose(1, 2, 0) * np.float32(STD) + np.float32(MEAN)
    difference = own.astype(np.float32) - partner
    length = (difference**2).sum(-1)
    weights = ((grey - partner) * difference).sum(-1) / np.maximum(length, 1)
    rest = np.abs(grey - partner - weights[..., None] * difference).max()
    if not rest <= (1.8 if rounded else 0.02):
        raise Mismatch(f"{name}: expected pixels between two images, got one {rest:.3g} off")
    weights[length < CLEAR**2] = np.nan
    slack = SLACK[rounded]
    if np.nanmin(weights, initial=0) < -slack or np.nanmax(weights, initial=1) > 1 + slack:
        raise Mismatch(f"{name}: expected weights in [0, 1]")
    return weights


def _record(
    record: np.void, method: str, partner: int, weight: float, weights: np.ndarray, rounded: bool
) -> None:
    """Fill in the record of a plan that the labels and the pixels show."""
    if partner == record["own"] or np.isnan(weights).all():
        return  # a sample mixed with itself stays as it is
    known = weights[~np.isnan(weights)]
    slack = SLACK[rounded]
    if method in ("cutmix", "fmix") and np.minimum(abs(known), abs(1 - known)).max() > slack:
        raise Mismatch(f"{method}: expected pixels of one image or the other, got a mixture")
    if method == "mixup" and abs(known - weight).max() > slack:
        raise Mismatch(f"mixup: expected the label's weight {weight}, got {known.min()} in a pixel")
    bias = slack if rounded else slack / 10  # FFCV rounds pixels down
    if abs(known.mean() - weight) > 1 / weights.size + bias:  # FMix rounds to whole pixels
        raise Mismatch(f"{method}: expected the label's weight {weight}, got {known.mean()} of it")
    record["sources"], record["partner"] = 2, partner
    record["weight"], record["partner_weight"] = weight, 1 - weight
    record["lam"] = weight
    record["method"] = METHODS[method].code
    record["inside"], record["outside"] = weight, weight
    if method == "cutmix":
        _box(record, weights, weight)


def _box(record: np.void, weights: np.ndarray, weight: float) -> None:
    inside = np.nan_to_num(weights, nan=1.0) < 0.5
    ys, xs = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    box = (ys[0], ys[-1] + 1, xs[0], xs[-1] + 1) if len(ys) else (0, 0, 0, 0)
    for name, edge in zip(("y0", "y1", "x0", "x1"), box, strict=True):
        record[name] = edge
    area = (box[1] - box[0]) * (box[3] - box[2])
    if abs(1 - area / weights.size - weight) > CLOSE:
        raise Mismatch(
            f"cutmix: expected the label's weight {weight}, got a box of {area} of {weights.size}"
        )
    record["inside"], record["outside"] = 0, 1
