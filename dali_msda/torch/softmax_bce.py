"""Binary cross-entropy of softmax outputs: what Manifold Mixup and Puzzle Mix are trained with.

It is neither cross-entropy nor the binary cross-entropy of sigmoid outputs.
"""

import torch
from torch import Tensor

from dali_msda.torch.losses import _check, _log_softmax, _reduce, _weighted_sum

LEAST_LOG = -100.0  # of a probability, as torch.nn.BCELoss has it


def softmax_binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of each class's softmax output with soft labels, mean over classes.

    With ``p = softmax(logits)`` and a row ``t`` it is the mean over the ``C`` classes of
    ``-(t * log p + (1 - t) * log(1 - p))``, logarithms being at least -100. Its gradient is about
    ``2 / C`` of that of cross-entropy, so rates that fit one do not fit the other.

    Args:
        logits: ``(B, C)``, any floating type; computed in float32, or in float64 if they are.
        targets: Rows of floats in [0, 1], ``(B, C)``; or integer labels, ``(B, n)`` with weights,
            ``(B,)`` without.
        weights: ``(B, n)``, or nothing.
        smoothing: Share ``s`` of the label that is spread over all classes, in [0, 1]; so do not
            smooth the targets as well.
        reduction: "mean" or "sum" over the batch, or "none" for ``(B,)``.

    Returns:
        A scalar, or ``(B,)``.

    Raises:
        TypeError, ValueError: As :func:`soft_target_cross_entropy` does.

    Reference:
        Verma et al., Manifold Mixup, ICML 2019, arXiv:1806.05236, and Kim et al., Puzzle Mix, ICML
        2020, arXiv:2009.06962: the authors' code, ``BCELoss`` behind a softmax.
    """
    _check(logits, targets, weights, smoothing)
    log_p = _log_softmax(logits)
    log_q = _log_of_the_rest(log_p)
    log_p = log_p.clamp(min=LEAST_LOG)
    ratio = log_p - log_q
    expected = (1 - smoothing) * _weighted_sum(ratio, targets, weights) + log_q.sum(1)
    if smoothing:
        expected = expected + smoothing / ratio.shape[1] * ratio.sum(1)
    return _reduce(-expected / ratio.shape[1], reduction)


def _log_of_the_rest(log_p: Tensor) -> Tensor:
    """log(1 - p). Where p rounds to 1 it is the least value, and its gradient is 0, not NaN."""
    rest = -torch.expm1(log_p)
    log_q = rest.clamp(min=torch.finfo(rest.dtype).tiny).log()
    return torch.where(rest > 0, log_q, LEAST_LOG).clamp(min=LEAST_LOG)
