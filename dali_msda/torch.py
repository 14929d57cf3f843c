"""For PyTorch: the loss for soft labels."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["soft_target_cross_entropy"]


def soft_target_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy with soft labels: dense rows, or labels with weights.

    With ``p = softmax(logits)`` and a row ``t`` it is ``-sum(t * log p)``. Since it is linear in
    ``t``, the row need not exist: labels ``a, b`` with weights ``w, 1 - w`` give
    ``-(w * log p[a] + (1 - w) * log p[b])``, the same number. Smoothing, which replaces ``t`` by
    ``(1 - s) * t + s / C``, adds the mean of ``log p`` over the ``C`` classes; so do not smooth the
    targets as well.

    Args:
        logits: ``(B, C)``, any floating type; computed in float32, or in float64 if they are.
        targets: Rows of floats ``(B, C)``; or integer labels, ``(B, n)`` with weights, ``(B,)``
            without. A label may come twice in a row: its weights add up.
        weights: ``(B, n)``, or nothing.
        smoothing: Share ``s`` of the label that is spread over all classes, in [0, 1].
        reduction: "mean" or "sum" over the batch, or "none" for ``(B,)``.

    Returns:
        A scalar, or ``(B,)``.

    Raises:
        ValueError: If shapes do not fit, a number is out of range, or, on the CPU, a label is. On
            a GPU the check would wait for it; there PyTorch stops the kernel instead.

    Reference:
        The identity: Zhang et al., mixup, ICLR 2018, arXiv:1710.09412, as in the authors' code;
        smoothing: Szegedy et al., arXiv:1512.00567, section 7.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits: expected shape (B, C), got {tuple(logits.shape)}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing: expected a share in [0, 1], got {smoothing}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    log_p = functional.log_softmax(logits, dim=1)
    if targets.is_floating_point():
        loss = _dense(log_p, targets, weights)
    else:
        loss = _compact(log_p, targets, weights)
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * log_p.mean(1)
    return loss if reduction == "none" else getattr(loss, reduction)()


def _dense(log_p: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    if weights is not None:
        raise ValueError("weights: expected none with rows of floats, got a tensor")
    if targets.shape != log_p.shape:
        raise ValueError(
            f"targets: expected the shape of logits, {tuple(log_p.shape)}, "
            f"got {tuple(targets.shape)}"
        )
    return -(targets * log_p).sum(1)


def _compact(log_p: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    batch, classes = log_p.shape
    if weights is None and labels.shape != (batch,):
        raise ValueError(
            f"targets: expected labels ({batch},), or ({batch}, n) and weights, "
            f"got {tuple(labels.shape)} and none"
        )
    if weights is not None and not (labels.ndim == 2 and labels.shape == weights.shape):
        raise ValueError(
            f"weights: expected the shape of the labels, ({batch}, n), got {tuple(weights.shape)} "
            f"for {tuple(labels.shape)}"
        )
    if len(labels) != batch:
        raise ValueError(f"targets: expected {batch} rows, as in logits, got {len(labels)}")
    labels = labels.long()
    if labels.device.type == "cpu" and labels.numel():
        low, high = labels.aminmax()
        if low < 0 or high >= classes:
            wrong = int(low if low < 0 else high)
            raise ValueError(f"targets: expected labels in [0, {classes}), got {wrong}")
    if weights is None:
        return -log_p.gather(1, labels[:, None])[:, 0]
    return -(weights * log_p.gather(1, labels)).sum(1)
