"""StyleMix and StyleCutMix once more: NumPy, one sample at a time, float64.

Sources: Hong et al., CVPR 2021, and the authors' code; AdaIN: Huang and Belongie, arXiv:1703.06868.
"""

import math

import numpy as np

from tests.reference.methods import Stream

STYLE = 249  # purpose of a draw


def both(slot, content, style, *, seed, step, rank=0):
    """Share that has the content and the style of the own image: uniform between its bounds."""
    low, high = max(0.0, content + style - 1), min(content, style)
    return low + (high - low) * Stream(seed, step).uniform((rank << 32) + slot, STYLE)


def adain(content, style):
    """Features ``(C, h, w)`` with the means and deviations of another's channels."""
    made = np.zeros(content.shape)
    for c, (a, b) in enumerate(zip(np.float64(content), np.float64(style), strict=True)):
        deviations = [
            math.sqrt(((part - part.mean()) ** 2).sum() / (part.size - 1) + 1e-5) for part in (a, b)
        ]
        made[c] = (a - a.mean()) / deviations[0] * deviations[1] + b.mean()
    return made


def stylemix(own, partner, content, style, t):
    """Features of a pair."""
    return (
        t * own
        + (1 - content - style + t) * partner
        + (content - t) * adain(own, partner)
        + (style - t) * adain(partner, own)
    )


def stylecutmix(own, partner, own_styled, partner_styled, box, style, gamma):
    """Images of a pair ``(3, H, W)``; the own content shows where ``box`` is 1."""
    made = np.zeros(own.shape)
    for y, x in np.ndindex(box.shape):
        a, b = own[:, y, x], partner[:, y, x]
        g = gamma * a + (1 - gamma) * own_styled[:, y, x]
        h = gamma * b + (1 - gamma) * partner_styled[:, y, x]
        # Inside the box T is r_s, outside it is 0.
        made[:, y, x] = style * a + (1 - style) * g if box[y, x] else (1 - style) * b + style * h
    return made
