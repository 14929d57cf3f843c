"""Images made harder: FGSM, and other backgrounds. Pixels are float32 in [0, 1]."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NOISE = 0.1  # standard deviation of the noise, of pixels in [0, 1]


def fgsm(
    classifier: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor, steps: Sequence[float]
) -> list[Tensor]:
    """Move each pixel by a step up or down, whichever makes the loss greater to first order.

    Args:
        classifier: Makes logits ``(B, C)`` of pixels; in evaluation mode.
        pixels: ``(B, 3, H, W)``.
        labels: The true classes, int64 ``(B,)``.
        steps: Sizes of steps, in 255ths of the range of pixels, as ``4``.

    Returns:
        For each step ``clip(pixels + step / 255 * sign(gradient), 0, 1)``.

    Reference:
        Goodfellow et al., Explaining and harnessing adversarial examples, arXiv:1412.6572.
    """
    signs = gradient_signs(classifier, pixels, labels)
    return [(pixels.detach() + step / 255 * signs).clamp(0, 1) for step in steps]


def gradient_signs(
    classifier: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> Tensor:
    """Signs of the gradient of the loss: where FGSM moves each value of images ``(B, C, H, W)``."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        loss = functional.cross_entropy(classifier(images), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
    return gradient.sign()


def replace_background(pixels: Tensor, others: Tensor, inside: Tensor) -> Tensor:
    """Take the pixels of other images outside the boxes.

    Args:
        pixels: ``(B, 3, H, W)``.
        others: Likewise.
        inside: Whether a pixel lies in one of the boxes, bool ``(B, H, W)``.

    Reference:
        Kim et al., Co-Mixup, ICLR 2021, arXiv:2102.03065, section 5.4.
    """
    return torch.where(inside[:, None], pixels, others)


def add_noise_to_background(pixels: Tensor, inside: Tensor, rng: np.random.Generator) -> Tensor:
    """Add noise of ``N(0, 0.1^2)`` outside the boxes, and clip pixels to [0, 1].

    The generator's numbers are used image by image, so that they do not depend on the batches.

    Args:
        pixels: As for :func:`replace_background`.
        inside: Likewise.
        rng: What draws the noise, in CPU memory wherever the pixels are.
    """
    noise = rng.standard_normal(pixels.shape, np.float32)
    noisy = pixels + NOISE * torch.from_numpy(noise).to(pixels.device)
    return torch.where(inside[:, None], pixels, noisy.clamp(0, 1))


def other_images(count: int, rng: np.random.Generator) -> np.ndarray:
    """A random one of the other images for each image, int64 ``(count,)``; each is taken once.

    Raises:
        ValueError: If there is one image only.
    """
    if count < 2:
        raise ValueError(f"boxes: expected at least 2 images to swap backgrounds, got {count}")
    order, others = rng.permutation(count), np.empty(count, np.int64)
    others[order] = np.roll(order, 1)
    return others
