"""Accuracy and calibration on clean images, summed over batches and processes."""

import torch
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

    def result(self) -> dict[str, float]:
        """Return ``val_loss``, and ``top1``, ``top5`` and ``ece`` in per cent."""
        samples, loss, top1, top5, *gaps = self.sums.tolist()
        return {
            "val_loss": loss / samples,
            "top1": 100 * top1 / samples,
            "top5": 100 * top5 / samples,
            "ece": 100 * sum(map(abs, gaps)) / samples,
        }
