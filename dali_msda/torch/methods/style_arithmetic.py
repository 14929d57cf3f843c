"""The arithmetic of StyleMix: features and images whose content and style are mixed apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

VARIANCE = 1e-5  # added to each channel's variance


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Features of one image with the style of another: its channels' means and deviations.

    Args:
        content: Floats ``(B, C, h, w)`` of at least two cells.
        style: Likewise; its cells may be others.

    Returns:
        ``(B, C, h, w)``.

    Reference:
        Huang and Belongie, AdaIN, ICCV 2017, arXiv:1703.06868, eq. 8.
    """
    (mean, deviation), (new_mean, new_deviation) = _style(content), _style(style)
    return (content - mean) / deviation * new_deviation + new_mean


def stylemix(
    own: Tensor,
    partner: Tensor,
    content: Tensor | float,
    style: Tensor | float,
    both: Tensor | float,
) -> Tensor:
    """Features of a pair, mixed with one ratio for the content and one for the style.

    ::

        t * own + (1 - r_c - r_s + t) * partner
        + (r_c - t) * adain(own, partner) + (r_s - t) * adain(partner, own)

    Args:
        own: Features ``(B, C, h, w)``.
        partner: Likewise.
        content: Own share r_c of the content, a number or ``(B, 1, 1, 1)``; so are the next two.
        style: Own share r_s of the style.
        both: Share t that has the content and the style of the own image.

    Returns:
        ``(B, C, h, w)``.

    Reference:
        Hong et al., StyleMix, CVPR 2021, and the authors' code.
    """
    kept = both * own + (1 - content - style + both) * partner
    return kept + (content - both) * adain(own, partner) + (style - both) * adain(partner, own)


def stylecutmix(
    own: Tensor,
    partner: Tensor,
    own_styled: Tensor,
    partner_styled: Tensor,
    content: Tensor,
    style: Tensor | float,
    gamma: Tensor | float,
) -> Tensor:
    """Images of a pair, pasted and mixed in style.

    With ``g = gamma * own + (1 - gamma) * own_styled``, ``h`` the same of the partner and
    ``T = max(0, R + r_s - 1)`` in each pixel::

        T * own + (1 - R - r_s + T) * partner + (R - T) * g + (r_s - T) * h

    Args:
        own: Images ``(B, 3, H, W)``.
        partner: Likewise.
        own_styled: The own images in the style of the partners.
        partner_styled: The partners in the style of the own images.
        content: R: 1 where the own content shows, else 0, ``(B, 1, H, W)``.
        style: Own share r_s of the style, a number or ``(B, 1, 1, 1)``.
        gamma: Share of its own style that each image keeps, likewise.

    Returns:
        ``(B, 3, H, W)``.

    Reference:
        Hong et al., StyleMix, CVPR 2021, and the authors' code (StyleCutMix).
    """
    both = (content + style - 1).clamp(min=0)
    own_new = gamma * own + (1 - gamma) * own_styled
    partner_new = gamma * partner + (1 - gamma) * partner_styled
    kept = both * own + (1 - content - style + both) * partner
    return kept + (content - both) * own_new + (style - both) * partner_new


def style_vectors(features: Sequence[Tensor]) -> Tensor:
    """Means and deviations of the channels of several feature maps, ``(B, 2 * channels)``.

    Args:
        features: Maps ``(B, C, h, w)``, such as those of ``relu1_1`` to ``relu4_1``.
    """
    return torch.cat([part.flatten(1) for maps in features for part in _style(maps)], 1)


def style_gammas(vectors: Tensor, labels: Tensor, num_classes: int, delta: float) -> Tensor:
    """How much of its style an image keeps beside one of another class: StyleCutMix's "Auto".

    It is ``tanh(d / delta)``, where ``d`` is the mean square of the difference of the classes' mean
    style vectors. (The authors' code counts only one of the samples of a class in each batch.)

    Args:
        vectors: Style vectors of many images, ``(n, d)``.
        labels: Class indices, ``(n,)``.
        num_classes: Number of classes.
        delta: 3 for CIFAR-100 and 1 for CIFAR-10 in the authors' README.

    Returns:
        ``(num_classes, num_classes)``; NaN for classes without an image.
    """
    sums = vectors.new_zeros((num_classes, vectors.shape[1])).index_add_(0, labels, vectors)
    means = sums / torch.bincount(labels, minlength=num_classes)[:, None]
    distances = (means[:, None] - means[None]).square().mean(2)
    return (distances / delta).tanh()


def _style(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, ``(B, C, 1, 1)``."""
    variance, mean = torch.var_mean(features, (2, 3), keepdim=True)
    return mean, (variance + VARIANCE).sqrt()
