"""Puzzle Mix once more: NumPy, plain loops, written from the definition, for tests.

Kim, Choo and Song, ICML 2020, arXiv:2009.06962, and the authors' code. ``own`` is the sample whose
slot the output takes; a block's label t of 0 .. d says that its own weight is ``1 - t / d``. Images
are ``(H, W, C)`` with values in [0, 1], and ``cell`` is the side of what is averaged.
"""

import itertools
import math

import numpy as np

from tests.reference.cuts import Grid, grid_borders

LEAST_LAM = 2.0**-13
SHARE_ONE, COST_ONE, PIXEL_ONE = 2**24, 2**25, 65535


def pooled(values, rows, columns):
    """Sums over ``rows x columns`` equal parts of the first two axes."""
    height, width = values.shape[0] // rows, values.shape[1] // columns
    parts = values.reshape(rows, height, columns, width, *values.shape[2:])
    return parts.sum((1, 3))


def contrasts(own, partner, blocks, cell, across):
    """Mean absolute differences across borders: ``[near shows partner][far shows partner]``.

    The two images are pooled over cells; ``across`` is the axis that the borders lie across.
    """
    images = [np.moveaxis(image, across, 0) for image in (own, partner)]
    each = len(images[0]) // blocks  # cells of a block
    near = [image[each - 1 : -1 : each] for image in images]
    far = [image[each::each] for image in images]
    made = np.empty((2, 2, blocks - 1, blocks), images[0].dtype)
    for u, v in itertools.product(range(2), repeat=2):
        difference = np.abs(near[u] - far[v]).sum(2)
        made[u, v] = difference.reshape(blocks - 1, blocks, -1).sum(2)
    return made if across == 0 else made.swapaxes(2, 3)


def cells_of(image, blocks, cell):
    """How many cells an image has along its two axes."""
    return [size // min(cell, size // blocks) for size in image.shape[:2]]


def costs(own, partner, own_map, partner_map, lam, *, blocks, cell, levels, beta, gamma, eta):
    """The costs in real numbers, as the authors write them: unaries ``(n, levels)`` and borders."""
    d, n = levels - 1, blocks * blocks
    shown = np.arange(d, -1, -1) / d  # own weight of each label
    hidden_own, hidden_partner = (
        pooled(s, blocks, blocks).ravel() / s.sum() for s in (own_map, partner_map)
    )
    grids = cells_of(own, blocks, cell)
    area = own.shape[0] * own.shape[1] / np.prod(grids)
    means = [pooled(image, *grids) / area for image in (own, partner)]
    smoothness = beta / (16 * blocks)
    sums = [contrasts(*means, blocks, cell, axis) for axis in (1, 0)]
    counts = [grids[1 - axis] // blocks * own.shape[2] for axis in (1, 0)]
    pairs = grid_borders(blocks, blocks)
    split = np.split(pairs, 2)
    borders = []
    for made, count, group in zip(sums, counts, split, strict=True):
        scaled = smoothness * gamma * made.reshape(2, 2, -1) / count
        # D[u, v] of the near block showing u and the far one v: 1 for own, 0 for the partner
        d11, d10, d01, d00 = scaled[0, 0], scaled[0, 1], scaled[1, 0], scaled[1, 1]
        near, far = group.T
        np.add.at(hidden_partner, near, (d10 + d11) / 2)
        np.add.at(hidden_own, near, (d01 + d00) / 2)
        np.add.at(hidden_partner, far, (d01 + d11) / 2)
        np.add.at(hidden_own, far, (d10 + d00) / 2)
        weight = (d10 + d01 - d11 - d00) / 2 + smoothness
        borders += list(zip(near, far, weight, strict=True))
    lam = min(max(lam, LEAST_LAM), 1 - LEAST_LAM)
    prior = [
        -math.log(math.comb(d, t) * lam ** (d - t) * (1 - lam) ** t) * eta / n for t in range(d + 1)
    ]
    # Showing own costs what is then hidden of the partner.
    unaries = np.outer(hidden_partner, shown) + np.outer(hidden_own, 1 - shown) + prior
    return unaries, borders


def shares(saliency, places):
    """Shares of an image's saliency in units of 2**-24, and whether the map was good for it."""
    saliency = np.asarray(saliency, np.float32)
    good = np.isfinite(saliency).all() and (saliency >= 0).all() and saliency.max() > 0
    if not good:
        return np.full(places * places, int(SHARE_ONE / places**2 + 0.5)), False
    least = np.finfo(np.float32).smallest_normal  # the exponent of smaller values is not read
    exponent = 31 - np.frexp(np.float64(max(saliency.max(), least / 2)))[1]
    whole = np.trunc(np.ldexp(saliency.astype(np.float64), exponent)).astype(np.int64)
    parts = pooled(whole, places, places).ravel()
    return np.floor(parts / parts.sum() * SHARE_ONE + 0.5).astype(np.int64), True


def fixed_pixels(image, scale=None, shift=None):
    """Pixels as integers, 0 to 65535; floats become ``value * scale + shift`` first."""
    if image.dtype == np.uint8:
        return image.astype(np.int64) * 257
    if scale is not None:
        image = image * np.float32(scale) + np.float32(shift)
    scaled = image * np.float32(PIXEL_ONE) + np.float32(0.5)
    return np.trunc(np.nan_to_num(np.clip(scaled, 0, PIXEL_ONE))).astype(np.int64)


def grid_of(own, partner, own_shares, partner_shares, lam, *, blocks, cell, levels, **weights):
    """The costs as integers, d**2 times those of :func:`costs` in units of 2**-25.

    The images are those of :func:`fixed_pixels`, and the shares of as many parts as move.
    """
    beta, gamma, eta = (weights[name] for name in ("beta", "gamma", "eta"))
    d, n = levels - 1, blocks * blocks
    places = math.isqrt(len(own_shares))
    own_shares, partner_shares = (
        pooled(s.reshape(places, places), blocks, blocks).ravel()
        for s in (own_shares, partner_shares)
    )
    slopes = 2 * d * (own_shares - partner_shares)
    grids = cells_of(own, blocks, cell)
    area = own.shape[0] * own.shape[1] // (grids[0] * grids[1])
    sums = [pooled(image, *grids) for image in (own, partner)]
    smoothness = beta / (16.0 * blocks) * SHARE_ONE
    greatest = int(smoothness * gamma + 0.5)
    borders = []
    for axis, group in zip((1, 0), np.split(grid_borders(blocks, blocks), 2), strict=True):
        made = contrasts(*sums, blocks, cell, axis).reshape(2, 2, -1)
        most = own.shape[2] * (grids[1 - axis] // blocks) * area * PIXEL_ONE
        (oo, op), (po, pp) = np.floor(made / most * greatest + 0.5).astype(np.int64)
        near, far = group.T
        np.add.at(slopes, near, d * (po + pp - oo - op))
        np.add.at(slopes, far, d * (op + pp - oo - po))
        weight = op + po - oo - pp + 2 * int(smoothness + 0.5)
        borders += [tuple(map(int, border)) for border in zip(near, far, weight, strict=True)]
    lam = float(min(max(np.float32(lam), LEAST_LAM), 1 - LEAST_LAM))
    scale = d * d * eta / n * COST_ONE
    slopes = slopes + int(np.rint(scale * (math.log(lam) - math.log(1 - lam))))
    return Grid(levels, slopes, int(np.rint(scale * math.log(d))), borders)


def released_transport(visible, shares, move_cost):
    """Which block each place shows, by the authors' iteration over all pairs; -1 for none.

    Their costs are multiplied by 2**24, and so is the 1 that those who lose have added. Where a
    place is empty, a block of share 0 was to stay.
    """
    n, side = len(visible), math.isqrt(len(visible))
    y, x = np.divmod(np.arange(n), side)
    squares = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    step = max(1, int(move_cost / (side - 1) ** 2 * SHARE_ONE + 0.5))
    cost = (step * squares - shares[:, None] * visible.astype(np.int64)).astype(float)
    for _ in range(side):
        asked = np.zeros((n, n), bool)
        asked[np.arange(n), cost.argmin(1)] = True
        won = np.zeros((n, n), bool)
        won[(asked * cost).argmin(0), np.arange(n)] = True
        won &= asked
        cost += SHARE_ONE * (asked & ~won)
    return np.where(won.any(0), won.argmax(0), -1)


def moved(image, sources):
    """An image ``(H, W, C)`` with block ``sources[t]`` at place t."""
    side = math.isqrt(len(sources))
    height, width = image.shape[0] // side, image.shape[1] // side
    out = np.empty_like(image)
    for place, source in enumerate(sources):
        (y, x), (from_y, from_x) = divmod(place, side), divmod(int(source), side)
        out[y * height : (y + 1) * height, x * width : (x + 1) * width] = image[
            from_y * height : (from_y + 1) * height, from_x * width : (from_x + 1) * width
        ]
    return out


def mixed(own, partner, cells, levels):
    """The mixed image in float64; ``cells`` are ``(n, n, 3)``: own steps, own block, partner's."""
    places = len(cells)
    weight, own_source, partner_source = cells.reshape(-1, 3).T
    own, partner = moved(own, own_source), moved(partner, partner_source)
    mask = np.kron(
        weight.reshape(places, places) / (levels - 1),
        np.ones((own.shape[0] // places, own.shape[1] // places)),
    )[..., None]
    first, second = (np.where(w == 0, 0, image) for w, image in ((mask, own), (1 - mask, partner)))
    return mask * first.astype(np.float64) + (1 - mask) * second
