"""Measures of a classifier beyond its accuracy."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, on average.

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)``.
        bins: Intervals ``((m - 1) / bins, m / bins]`` of the greatest probability.

    Returns:
        The mean over samples, in [0, 1], of the distance of the means in their interval.

    Reference:
        Guo et al., arXiv:1706.04599, section 2.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    inside = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = (predicted == labels).double() - confidence
    return float(torch.zeros(bins).double().index_add(0, inside, gaps).abs().sum() / len(labels))


def attack_direction(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Signs of the gradient of the loss: where the fast gradient sign method moves each value.

    Args:
        model: In evaluation mode.
        images: Floats ``(n, C, H, W)``, as the model takes them.
        labels: ``(n,)``.

    Reference:
        Goodfellow et al., arXiv:1412.6572, section 4.
    """
    pixels = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(model(pixels), labels), pixels)
    return gradient.sign()
