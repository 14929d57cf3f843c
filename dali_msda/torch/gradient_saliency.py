"""How much each pixel of a batch matters to a model: the gradient of its loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from dali_msda.torch.batches import uncompiled
from dali_msda.torch.methods.layers import unwrapped

LOSS_SCALE = 2.0**12  # lifts gradients of float16 out of its subnormals; no share depends on it


@uncompiled
def saliency(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    train: bool = False,
) -> Tensor:
    """Find how much the loss of each sample changes with each of its pixels.

    One forward pass, and a backward pass to the images alone: no gradient of a weight is computed,
    and those that have been accumulated stay as they are. The model is unwrapped first
    (``DistributedDataParallel``, ``torch.compile``), so that nothing is reduced over processes or
    compiled again. It runs under the autocast of the caller, if there is one.

    Args:
        model: Classifier, called as ``model(images)``.
        images: Floats ``(B, C, H, W)`` in any memory order, as the model takes them.
        labels: What ``loss`` takes beside the logits; class indices ``(B,)`` by default.
        loss: A mean or a sum over the batch, whose scale does not matter.
        train: Leave the model as it is, in the mode in which it trains: batch statistics then see
            this batch too. By default all modules are in evaluation mode during the pass, and each
            has its own mode again afterwards.

    Returns:
        float32 ``(B, H, W)``: the root of the mean over channels of the squared gradient. What is
        not finite there is the model's doing; :func:`dali_msda.puzzle.solve` counts it.

    Raises:
        TypeError, ValueError: If images are not such a batch, or the loss does not follow from
            them.

    Reference:
        Kim, Choo and Song, Puzzle Mix, ICML 2020, arXiv:2009.06962, section 4.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images: expected a tensor of floats, as the model takes them, got {got}")
    if images.ndim != 4:
        raise ValueError(f"images: expected shape (B, C, H, W), got {tuple(images.shape)}")
    module = unwrapped(model)
    modes = [] if train else [(part, part.training) for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        with torch.enable_grad():
            pixels = images.detach().requires_grad_()
            value = loss(module(pixels), labels)
            if not value.requires_grad:
                raise ValueError(
                    "loss: expected one that follows from the images, got one without a gradient; "
                    "the model must not run under torch.no_grad()"
                )
            return saliency_of_loss(value, pixels)
    finally:
        for part, mode in modes:
            part.training = mode


def saliency_of_loss(loss: Tensor, images: Tensor, *, keep_graph: bool = False) -> Tensor:
    """The saliency of images ``(B, C, H, W)`` that require a gradient, from a loss of them.

    ``keep_graph`` leaves the loss fit for a ``backward()`` of its own.
    """
    scaled = loss.float().sum() * LOSS_SCALE
    (gradient,) = torch.autograd.grad(scaled, images, retain_graph=keep_graph)
    return gradient.float().square().mean(1).sqrt()


def expect_maps(saliency: object) -> Tensor:
    """The maps; raise TypeError unless they are a tensor of floats."""
    if isinstance(saliency, Tensor) and saliency.is_floating_point():
        return saliency
    got = saliency.dtype if isinstance(saliency, Tensor) else type(saliency).__name__
    raise TypeError(f"saliency: expected a tensor of floats, got {got}")


def warn_of_uniform_maps(bad: int, count: int) -> None:
    """Warn that so many of a batch's maps were not usable, for who called the transform."""
    warnings.warn(
        f"saliency: expected finite maps with a value above 0, got {bad} of {count} others, which "
        "were taken to be uniform; further ones are counted in uniform_maps",
        RuntimeWarning,
        stacklevel=5,
    )
