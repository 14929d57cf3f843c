"""Accuracy and calibration on clean images, and accuracy on mixed ones; over all processes."""

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

BINS = 15


class CleanMetrics:
    """Loss, top-1, top-5 and expected calibration error of a classifier.

    The error is that of Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3:
    samples are binned by their greatest probability, in 15 equal bins ``(k / 15, (k + 1) / 15]``,
    and it is the mean over samples of ``|accuracy - mean confidence|`` of their bin.

    Everything is one vector of sums, so that processes add theirs with a single call and a sample
    counts once wherever it was seen.

    Attributes:
        sums: float64: samples, loss, top-1, top-5; per bin, correct - confidence.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.sums = torch.zeros(4 + BINS, dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits ``(B, C)`` and labels, int64 ``(B,)``."""
        logits = logits.float()
        confidence, best = logits.softmax(1).max(1)
        correct = (best == labels).double()
        top5 = logits.topk(min(5, logits.shape[1]), 1).indices.eq(labels[:, None])
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
        self.sums[0] += len(labels)
        self.sums[1] += loss
        self.sums[2] += correct.sum()
        self.sums[3] += top5.sum()
        self.sums[4:].index_add_(0, bins, correct - confidence.double())

    def join(self) -> None:
        """Add up what all processes have counted."""
        dist.all_reduce(self.sums)

    def result(self) -> dict[str, float]:
        """Return ``val_loss``, and ``top1``, ``top5`` and ``ece`` in per cent."""
        samples, loss, top1, top5, *gaps = self.sums.tolist()
        return {
            "val_loss": loss / samples,
            "top1": 100 * top1 / samples,
            "top5": 100 * top5 / samples,
            "ece": 100 * sum(map(abs, gaps)) / samples,
        }


class MultilabelMetrics:
    """Loss, mean average precision and F1 of a classifier whose images have any number of labels.

    The average precision of a class is the mean over its images of the precision at their score,
    equal scores counting as one, as scikit-learn's ``average_precision_score`` has it; the mean is
    over the classes that occur. F1 is that of all answers, at a probability of 1/2.
    """

    def __init__(self):
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, logits: Tensor, rows: Tensor) -> None:
        """Count a batch: logits and multi-hot rows, ``(B, C)`` each."""
        self.parts.append((logits.float().cpu().numpy(), rows.cpu().numpy()))

    def join(self) -> None:
        """Bring together what all processes have counted."""
        gathered = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, self.parts)
        self.parts = [part for parts in gathered for part in parts]

    def result(self) -> dict[str, float]:
        """Return ``val_loss``, and ``map`` and ``f1`` in per cent."""
        logits, rows = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        loss = functional.binary_cross_entropy_with_logits(*map(torch.from_numpy, (logits, rows)))
        said = logits > 0
        hits = (said * rows).sum()
        found = [average_precision(*pair) for pair in zip(logits.T, rows.T, strict=True)]
        return {
            "val_loss": float(loss),
            "map": 100 * float(np.mean([value for value in found if value is not None] or [0])),
            "f1": 100 * float(2 * hits / max(said.sum() + rows.sum(), 1)),
        }


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """Average precision of one class, of scores and zeros or ones ``(N,)``; None without ones."""
    order = np.argsort(-scores)
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # the last of equal scores
    hits = truth[order].cumsum(dtype=np.float64)[ends]
    if not hits[-1]:
        return None
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / hits[-1])


def correct_mass(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum over a batch of the weight that the answer has in the label.

    Of single labels it counts the right answers. Of a sample mixed from 0.7 and 0.3 it counts 0.7
    for the one class and 0.3 for the other, so that the mean over mixed samples stays below 1
    however good the answers are.

    Args:
        logits: ``(B, C)``.
        targets: As the losses of :mod:`dali_msda.torch` take them.
        weights: Likewise.

    Returns:
        A scalar.
    """
    best = logits.argmax(1, keepdim=True)
    if targets.is_floating_point():
        return targets.gather(1, best).sum()
    if weights is None:
        return (targets == best[:, 0]).sum()
    return ((targets == best) * weights).sum()


def mixed_rows(rows: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Rows of soft labels, of labels that are numbers of rows.

    Args:
        rows: ``(S, C)``.
        labels: ``(B, n)`` with weights, ``(B,)`` without.
        weights: ``(B, n)``, or nothing.

    Returns:
        ``(B, C)``.
    """
    chosen = rows[labels]
    return chosen if weights is None else (weights[..., None] * chosen).sum(1)
