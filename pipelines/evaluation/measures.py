"""Measures of a classifier's answers: accuracy, loss, calibration, and all of it by class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional


class Answers(NamedTuple):
    """What a classifier answered to N images.

    Attributes:
        labels: The true classes, int64 ``(N,)``.
        best: The answers, the classes of the greatest logit, int64 ``(N,)``.
        confidence: Softmax probability of each answer, float64 ``(N,)``.
        in_top5: Whether the true class has one of the five greatest logits, bool ``(N,)``.
        loss: Cross-entropy, float64 ``(N,)``.
    """

    labels: np.ndarray
    best: np.ndarray
    confidence: np.ndarray
    in_top5: np.ndarray
    loss: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is the true class, bool ``(N,)``."""
        return self.best == self.labels


def answers_of(logits: Tensor, labels: Tensor) -> Answers:
    """What logits ``(B, C)`` answer, the true classes being labels ``(B,)``.

    Raises:
        FloatingPointError: If a logit is not finite: no answer could be told from it.
    """
    logits = logits.double()
    if not bool(logits.isfinite().all()):
        wrong = int((~logits.isfinite().all(1)).sum())
        raise FloatingPointError(
            f"logits: expected finite numbers, got others for {wrong} of the {len(logits)} images "
            "of a batch. Give a checkpoint of a training that did not diverge."
        )
    confidence, best = logits.softmax(1).max(1)
    top5 = logits.topk(min(5, logits.shape[1]), 1).indices.eq(labels[:, None]).any(1)
    loss = functional.cross_entropy(logits, labels, reduction="none")
    return Answers(*(one.cpu().numpy() for one in (labels, best, confidence, top5, loss)))


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers to several batches, as one."""
    return Answers(*map(np.concatenate, zip(*parts, strict=True)))


def summary(answers: Answers, bins: int) -> dict[str, float]:
    """Images, loss, and in per cent top-1, top-5 and the expected calibration error.

    The error is the mean over images of ``|accuracy - mean confidence|`` of their bin (Guo et al.,
    On Calibration of Modern Neural Networks, ICML 2017, eq. 3), of :func:`calibration`.
    """
    gaps = [
        row["images"] * abs(row["accuracy"] - row["confidence"])
        for row in calibration(answers, bins)
        if row["images"]
    ]
    count = len(answers.labels)
    return {
        "images": count,
        "top1": 100 * float(answers.right.mean()),
        "top5": 100 * float(answers.in_top5.mean()),
        "loss": float(answers.loss.mean()),
        "ece": sum(gaps) / count,
    }


def calibration(answers: Answers, bins: int) -> list[dict]:
    """Accuracy and mean confidence, in per cent, of the images of each bin of confidence.

    Bins are equal and closed above: ``(k / bins, (k + 1) / bins]``. An empty one has None for both.
    """
    places = np.clip(np.ceil(answers.confidence * bins).astype(int), 1, bins) - 1
    return [
        {
            "above": k / bins,
            "to": (k + 1) / bins,
            "images": int((places == k).sum()),
            "accuracy": _per_cent(answers.right[places == k]),
            "confidence": _per_cent(answers.confidence[places == k]),
        }
        for k in range(bins)
    ]


def by_class(answers: Answers, names: Sequence[str]) -> list[dict]:
    """A row for each class: its images, top-1 and top-5 in per cent, loss, and the usual mistake.

    The usual mistake is the wrong answer that was given most often, the first of several. Where
    a class has no images, or no wrong answers, None stands for what is not known.
    """
    order = np.argsort(answers.labels, kind="stable")
    ends = np.searchsorted(answers.labels[order], np.arange(len(names) + 1))
    rows = []
    for label, name in enumerate(names):
        own = order[ends[label] : ends[label + 1]]
        mistakes = answers.best[own][~answers.right[own]]
        rows.append(
            {
                "class": name,
                "images": len(own),
                "top1": _per_cent(answers.right[own]),
                "top5": _per_cent(answers.in_top5[own]),
                "loss": float(answers.loss[own].mean()) if len(own) else None,
                "mistaken_for": names[np.bincount(mistakes).argmax()] if len(mistakes) else None,
            }
        )
    return rows


def _per_cent(values: np.ndarray) -> float | None:
    return 100 * float(values.mean()) if len(values) else None
