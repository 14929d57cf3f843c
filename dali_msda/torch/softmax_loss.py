"""Binary cross-entropy of softmax probabilities: the loss of Puzzle Mix and Manifold Mixup."""

import torch
from torch import Tensor

from dali_msda.torch.losses import expect_loss_arguments, in_full_precision, reduced, weighted_sum

LEAST_LOG = -100.0  # of a probability, as torch.nn.BCELoss has it


def softmax_binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with soft labels, of the probabilities that classes share.

    With ``p = softmax(logits)`` and a row ``t`` it is
    ``-mean(t * log(p) + (1 - t) * log(1 - p))`` over the ``C`` classes. It is neither cross-entropy
    nor the binary cross-entropy of sigmoids, and its gradient is about ``2 / C`` of the former's,
    which is why learning rates of 0.1 to 0.2 go with it. Logarithms are at least -100, as those of
    ``torch.nn.BCELoss`` are, and exact where the probability itself rounds to 0 or 1.

    Args:
        logits: ``(B, C)`` with at least two classes, any floating type; computed in float32, or in
            float64 if they are.
        targets: As :func:`dali_msda.torch.soft_target_cross_entropy` takes them; so are the rest.
        weights: Of labels, ``(B, n)``, or nothing.
        smoothing: Share of the label that is spread over all classes, in [0, 1].
        reduction: "mean" or "sum" over the batch, or "none" for ``(B,)``.

    Returns:
        A scalar, or ``(B,)``.

    Raises:
        TypeError, ValueError: As :func:`dali_msda.torch.soft_target_cross_entropy` does; or if
            there is one class only, whose probability is always 1.

    Reference:
        Verma et al., Manifold Mixup, ICML 2019, arXiv:1806.05236, and Kim, Choo and Song, Puzzle
        Mix, ICML 2020, arXiv:2009.06962, as in the authors' code for CIFAR-100 and Tiny ImageNet
        (``BCELoss`` of a softmax).
    """
    expect_loss_arguments(logits, targets, weights, smoothing)
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"logits: expected at least 2 classes, got {classes}")
    x = in_full_precision(logits)
    log_p = x.log_softmax(1)
    log_rest = _log_of_others(x, log_p).clamp(min=LEAST_LOG)
    log_p = log_p.clamp(min=LEAST_LOG)
    odds = log_p - log_rest
    expected = (1 - smoothing) * weighted_sum(odds, targets, weights)
    if smoothing:
        expected = expected + smoothing / classes * odds.sum(1)
    return reduced(-(expected + log_rest.sum(1)) / classes, reduction)


def _log_of_others(x: Tensor, log_p: Tensor) -> Tensor:
    """``log(1 - p)`` of each class.

    No class but the greatest is more probable than 1/2. For that one the others are added up.
    """
    top = x.argmax(1, keepdim=True)
    is_top = torch.zeros_like(x, dtype=torch.bool).scatter_(1, top, True)
    others = x.masked_fill(is_top, -torch.inf).logsumexp(1, keepdim=True)
    log_rest_of_top = others - x.logsumexp(1, keepdim=True)
    return torch.where(is_top, log_rest_of_top, torch.log1p(-log_p.masked_fill(is_top, -1.0).exp()))
