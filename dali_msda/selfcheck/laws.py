"""What theory says about the masks: every mask that a method can draw, and how often.

Written from the definitions in float64 NumPy, and independent of the kernels. A mask is given by
the partner's share of each pixel, which is 1 - M for the own weight M.

Sources: Yun et al., arXiv:1905.04899; Park et al., arXiv:2208.09913, eq. 10, 11 and Figure 4 (a_jk,
the mean over all draws of the product of the partner's shares of the pixels j and k); Qin et al.,
arXiv:2012.11101; DeVries and Taylor, arXiv:1708.04552; Harris et al., arXiv:2002.12047, eq. 3 to 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dali_msda.policy import CutMix, Cutout, GMix, HMix, Leaf, Mixup, ResizeMix


def box_side(n: int, share: float, box: str) -> int:
    """Side of a box of ``share`` of an axis, in pixels."""
    return int(n * share) // 2 * 2 if box == "clip" else round(n * share)


def places(n: int, side: int, box: str) -> np.ndarray:
    """Where a box lies on an axis of ``n`` pixels, ``(places, n)`` of 0 and 1; all equally likely.

    Args:
        n: Pixels of the axis.
        side: Pixels of the box.
        box: As :class:`~dali_msda.CutMix` takes it, or ``"shift"``: centred on any pixel and then
            shifted inside.
    """
    begin = np.arange(n - side + 1 if box == "inside" else n)
    if box in ("clip", "shift"):
        begin = begin - side // 2
    if box == "shift":
        begin = np.clip(begin, 0, n - side)
    distance = np.arange(n) - begin[:, None]
    if box == "wrap":
        distance %= n
    return ((distance >= 0) & (distance < side)).astype(float)


def bumps(n: int, falloff: np.ndarray | float) -> np.ndarray:
    """Gaussian bumps around every pixel of an axis, ``(n, n)``."""
    distance = np.arange(n) - np.arange(n)[:, None]
    return np.exp(-falloff * distance**2)


def shares(policy: Leaf, height: int, width: int, lam: float) -> Iterator[np.ndarray]:
    """The partner's share of each pixel in every mask that a method draws at one lambda.

    Args:
        policy: A method whose masks can be counted: any but FMix.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        lam: Nominal lambda.

    Yields:
        ``(places, H, W)``, the places along x for one along y; all masks are equally likely.
    """
    if isinstance(policy, Mixup):
        yield np.full((1, height, width), 1 - lam)
    elif isinstance(policy, GMix):
        yield from _gmix(policy.mode, height, width, lam)
    else:
        rows, columns = _box(policy, height, width, lam)
        for row in rows:
            boxes = row[:, None] * columns[:, None, :]
            yield _hmix(policy, boxes, lam) if isinstance(policy, HMix) else boxes


def _box(policy: Leaf, height: int, width: int, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of the box along y and x."""
    share = math.sqrt(1 - lam)
    if isinstance(policy, Cutout):
        box, sides = "clip", (policy.length // 2 * 2,) * 2
    elif isinstance(policy, ResizeMix):
        box, sides = "shift", (int(height * share), int(width * share))
    elif isinstance(policy, CutMix | HMix):
        box = policy.box
        share *= math.sqrt(policy.r) if isinstance(policy, HMix) else 1
        sides = box_side(height, share, box), box_side(width, share, box)
    else:
        raise TypeError(f"policy: expected a method with masks to be counted, got {policy!r}")
    return places(height, sides[0], box), places(width, sides[1], box)


def _hmix(policy: HMix, boxes: np.ndarray, lam: float) -> np.ndarray:
    """Mixup around the boxes."""
    area = (1 - lam) * policy.r if policy.mode == "nominal" else boxes.mean((1, 2), keepdims=True)
    return 1 - lam / (1 - area) * (1 - boxes)


def _gmix(mode: str, height: int, width: int, lam: float) -> Iterator[np.ndarray]:
    own_bump = mode == "code" and lam < 0.5
    area = lam if own_bump else 1 - lam
    falloff = math.pi / (area * height * width) / (2 if mode == "paper" else 1)
    for y in range(height):
        if mode == "exact":
            falloff = _falloff_of_mean(y, height, width, area)[:, None]
        bump = bumps_at(y, height, falloff)[..., None] * bumps(width, falloff)[:, None, :]
        yield 1 - bump if own_bump else bump


def bumps_at(point: int, n: int, falloff: np.ndarray | float) -> np.ndarray:
    """Gaussian bumps of one falloff or several, ``(k, 1)``, around one pixel of an axis."""
    return np.exp(-falloff * (np.arange(n) - point) ** 2)


def _falloff_of_mean(y: int, height: int, width: int, mean: float) -> np.ndarray:
    """For each x, the falloff whose bump around (y, x) has a given mean, found by bisection."""
    low, high = np.full(width, math.log(1e-12)), np.full(width, math.log(64.0))
    for _ in range(80):
        middle = (low + high) / 2
        falloff = np.exp(middle)[:, None]
        found = bumps_at(y, height, falloff).mean(1) * bumps(width, falloff).mean(1)
        low, high = np.where(found > mean, middle, low), np.where(found > mean, high, middle)
    return np.exp((low + high) / 2)


def eq_11(lam: float, n: int, dy: int, dx: int) -> float:
    """a_jk of GMix as printed, on an infinite plane (eq. 11)."""
    return (1 - lam) * math.exp(-math.pi * (dy**2 + dx**2) / 4 / ((1 - lam) * n**2))


def clipped_share(n: int) -> float:
    """E of the partner's label weight of CutMix's clipped box, for lambda uniform on (0, 1).

    The cut is k where ``(k / n)^2 <= 1 - lambda < ((k + 1) / n)^2``; of a box of half the side h,
    ``2 h - h^2 / n`` pixels of an axis lie in the image on average.
    """
    cut = np.arange(n)
    half = cut // 2
    kept = (2 * half - half**2 / n) / n
    return float(np.sum((2 * cut + 1) / n**2 * kept**2))


def resized_area(n: int, low: float, high: float) -> float:
    """E of ResizeMix's share of the pixels, ``floor(n tau)^2 / n^2`` for uniform tau."""
    side = np.arange(n + 1)
    chance = np.clip((side + 1) / n, low, high) - np.clip(side / n, low, high)
    return float(np.sum((side / n) ** 2 * chance) / (high - low))


def beta_moments(alpha: float, beta: float) -> tuple[float, float, float]:
    """E x, E x^2 and E x^3 of Beta(alpha, beta)."""
    total = alpha + beta
    first = alpha / total
    second = first * (alpha + 1) / (total + 1)
    return first, second, second * (alpha + 2) / (total + 2)


# --------------------------------------------------------------------------- several interpolations


def mixup_statistic(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean square of Mixup's output, for uniform lambda.

    It is of degree 2 in lambda and its square of degree 4, which three Gauss-Legendre nodes
    integrate exactly.

    Args:
        images: Pairs, ``(P, 2, H, W)``.

    Returns:
        Values, ``(P, 3)``, and the chance of each column.
    """
    nodes, chance = np.polynomial.legendre.leggauss(3)
    own, partner = images[:, None, 0], images[:, None, 1]
    lam = (nodes[:, None, None] + 1) / 2
    return ((lam * own + (1 - lam) * partner) ** 2).mean((2, 3)), chance / 2


def cutmix_statistic(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean square of CutMix's output: square images, clipped boxes, uniform lambda.

    Args:
        images: Pairs, ``(P, 2, n, n)``.

    Returns:
        Values, ``(P n n, n)``: a row for each pair and centre, a column for each side; and the
        chance of each column, as in :func:`clipped_share`.
    """
    n = images.shape[-1]
    cut = np.arange(n)
    values = []
    for side in cut // 2 * 2:
        lines = places(n, side, "clip")
        boxes = (lines[:, None, :, None] * lines[None, :, None, :]).reshape(1, n * n, n, n)
        shown = np.where(boxes > 0, images[:, 1:], images[:, :1])
        values.append((shown**2).mean((2, 3)).ravel())
    return np.stack(values, 1), (2 * cut + 1) / n**2


def variance_of_mean(
    values: np.ndarray, chance: np.ndarray, batch: int, k: int, share: str
) -> float:
    """Variance of a statistic's mean over a batch of ``batch`` pairs with ``k`` lambdas each.

    The statistic is a function l(p, lambda) of a pair p (with all that its interpolations share,
    such as the centre of a box) and of lambda. Pairs are independent, and so are lambdas. With

        V = Var l(p, lambda),  V_pair = Var_p E[l | p],  V_lambda = Var_lambda E[l | lambda]

    two of the B K terms have the covariance V if they are the same, V_pair if they have the pair in
    common, V_lambda if lambda, and 0 if neither. Where all pairs have the same K lambdas, that sums
    up to

        (1/K) [V/B + (B-1)/B V_lambda] + (1 - 1/K) V_pair/B

    and where each pair draws its own, so that two pairs have none in common, to

        (1/B) [V_pair + (V - V_pair)/K]

    which is less by (B-1)/(B K) V_lambda (Shen et al., Mixup Augmentation with Multiple
    Interpolations, section III, has the former).

    Args:
        values: l, ``(pairs, lambdas)``; the pairs are equally likely.
        chance: Of each lambda.
        batch: B.
        k: K.
        share: As :class:`~dali_msda.MultiMix` takes it.
    """
    mean = (values @ chance).mean()
    total = ((values - mean) ** 2 @ chance).mean()
    by_pair = (values @ chance).var()
    by_lam = chance @ (values.mean(0) - mean) ** 2
    if share == "batch":
        return float((total / batch + (batch - 1) / batch * by_lam + (k - 1) * by_pair / batch) / k)
    return float((by_pair + (total - by_pair) / k) / batch)


# ----------------------------------------------------------------------------------- FMix's fields


def power(height: int, width: int, decay: float) -> np.ndarray:
    """Power of every frequency of a field, ``(H, W)``: f^(-2 decay), and 0 for the constant."""
    square = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.fftfreq(width) ** 2
    square[0, 0] = np.inf
    return square**-decay


def correlation(height: int, width: int, decay: float) -> np.ndarray:
    """Correlation of a field's pixels by their displacement, ``(H, W)``."""
    covariance = np.fft.ifft2(power(height, width, decay)).real
    return covariance / covariance[0, 0]


def both_own(height: int, width: int, decay: float) -> np.ndarray:
    """P(two pixels of a field are both above 0) by displacement: the arcsine law."""
    rho = np.clip(correlation(height, width, decay), -1, 1)
    return 0.25 + np.arcsin(rho) / (2 * math.pi)


def chance_of_odd_pattern(ratio: float) -> float:
    """P(the middle two values of a smallest field make the pattern of its highest frequency).

    A field of four pixels is the sum of three independent normal waves. At 1 x 4 the greater two of
    its values are neighbours, unless twice the highest wave c exceeds |a| + |b|, the sum of the two
    others; at 2 x 2 they lie on a diagonal if the diagonal wave exceeds both others. Either is a
    pyramid over a square around the axis of c, whose solid angle is known.

    Args:
        ratio: Power of the highest frequency over that of the lowest.
    """
    return 2 / math.pi * math.asin(ratio / (1 + ratio))


def ratio_of_odd_pattern(chance: float) -> float:
    """The inverse of :func:`chance_of_odd_pattern`."""
    sine = math.sin(math.pi / 2 * chance)
    return sine / (1 - sine)


def field_masks(
    rng: np.random.Generator,
    draws: int,
    height: int,
    width: int,
    decay: float,
    law: str = "paper",
    lam: float = 0.5,
) -> np.ndarray:
    """FMix masks, drawn with NumPy: ``(draws, H, W)`` of 0 and 1, where a pixel stays own."""
    if law == "paper":  # eq. 3 and 4: a complex normal for every frequency of the whole grid
        noise = rng.standard_normal((2, draws, height, width))
        amplitude = np.sqrt(power(height, width, decay))
        values = np.fft.ifft2((noise[0] + 1j * noise[1]) * amplitude).real
    else:  # ecs-vlc/FMix: rows 0 and 1 of the half spectrum, taken for real and imaginary part
        half = width // 2 + 1 + width % 2
        square = np.fft.fftfreq(height)[:2, None] ** 2 + np.fft.fftfreq(width)[:half] ** 2
        amplitude = np.maximum(np.sqrt(square), 1 / max(height, width)) ** -decay
        noise = rng.standard_normal((draws, 2, half, 2)) * amplitude[..., None]
        values = np.fft.irfft2(noise[:, 0] + 1j * noise[:, 1], (height, width))
    flat = values.reshape(draws, -1)
    count = round(lam * height * width)
    own = np.argpartition(-flat, count - 1, axis=1)[:, :count]
    masks = np.zeros_like(flat)
    np.put_along_axis(masks, own, 1, axis=1)
    return masks.reshape(values.shape)
