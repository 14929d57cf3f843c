"""Co-Mixup once more: NumPy float64, written from the definition, for tests.

Kim, Choo, Jeong and Song, ICLR 2021, arXiv:2102.03065, and the authors' code. A part of m inputs
becomes m outputs of ``side * side`` blocks; ``z[j, p, i]`` is the share of input i in block p of
output j.
"""

import itertools

import numpy as np

from tests.reference.cuts import every_label, grid_borders, maximum_flow
from tests.reference.puzzle import SHARE_ONE, shares

HALF_BONUS = 5e-4


def costs(maps, alphas, side, eta):
    """What a block of each input costs, ``(m, n)``: hidden saliency and the prior."""
    hidden = np.array([shares(each, side)[0] for each in maps]) / SHARE_ONE
    return -hidden - eta / side**2 * np.log(np.asarray(alphas) + 1e-8)[:, None]


def peak(saliency, window, stride):
    """Where the window with the greatest sum lies, in strides, the first of several."""
    height, width = (min(window, size) for size in saliency.shape)
    parts = np.lib.stride_tricks.sliding_window_view(saliency, (height, width))[::stride, ::stride]
    sums = parts.sum((2, 3))
    return np.unravel_index(sums.argmax(), sums.shape)


def likeness(peaks, omega):
    """The matrix A."""
    peaks = np.asarray(peaks, float)
    apart = np.abs(peaks[:, None] - peaks).sum(2)
    m = len(peaks)
    scaled = m * apart / apart.sum() if apart.any() else apart
    return (1 - omega) * np.eye(m) + omega * scaled


def shares_of(sources, m):
    """Shares z of the sources ``(m, side, side, 2)`` of one part, counted from its first sample."""
    return np.eye(m)[sources].mean(-2).reshape(len(sources), -1, m)


def objective(z, costs, likes, side, *, beta, gamma, tau, soft=False):
    """What a part costs."""
    n = side * side
    near, far = grid_borders(side, side).T
    total = (z * costs.T).sum() + beta / n / 2 * ((z[:, near] - z[:, far]) ** 2).sum()
    counts = z.sum(1)
    for j, own in enumerate(counts):
        shown = likes @ (counts.sum(0) - counts[j])
        weight = np.where(shown > tau * n, shown - tau * n * soft, 0)
        total += gamma / n * (weight * own).sum()
    return total


def half_labels(unaries, counts):
    """Unaries ``(L, n)`` with half-and-half labels, distances ``(L, L)``, and all labels' inputs.

    ``counts`` says how many blocks of the output show each input; None for no further labels.
    """
    m = len(unaries)
    inputs = [(i, i) for i in range(m)]
    if counts is not None and (counts > 0).sum() >= 2:
        most = np.sort(np.argsort(-counts, kind="stable")[: min(3, (counts > 0).sum())])
        inputs += itertools.combinations(most.tolist(), 2)
    distance = 1.0 - np.eye(len(inputs))
    for label, pair in enumerate(inputs[m:], m):
        distance[label, pair] = distance[pair, label] = 0.25
    added = [unaries[list(pair)].mean(0) - HALF_BONUS for pair in inputs[m:]]
    return np.array([*unaries, *added]), distance, inputs


def energy(unaries, distance, weight, side, labels):
    """Energy of labels ``(..., n)``."""
    near, far = grid_borders(side, side).T
    alone = unaries[labels, np.arange(side * side)].sum(-1)
    return alone + weight * distance[labels[..., near], labels[..., far]].sum(-1)


def swap(unaries, distance, weight, side):
    """Labels by alpha-beta swap from label 0, as the authors' solver does it.

    Each swap is a minimum cut: of all cells with one of two labels, those that had better have the
    other. It costs ``weight * distance`` to part two of them (Boykov, Veksler and Zabih, 2001).
    """
    labels = np.zeros(side * side, int)
    best = energy(unaries, distance, weight, side, labels)
    while True:
        before = best
        for a, b in itertools.combinations(range(len(unaries)), 2):
            changed = _swapped(unaries, distance, weight, side, labels, a, b)
            now = energy(unaries, distance, weight, side, changed)
            if now < best - 1e-12:
                labels, best = changed, now
        if best >= before:
            return labels


def _swapped(unaries, distance, weight, side, labels, a, b):
    n, one = side * side, 2**40  # whole capacities
    free = (labels == a) | (labels == b)
    take_b = unaries[b] - unaries[a]
    arcs = []
    for p, q in grid_borders(side, side):
        if free[p] and free[q]:
            capacity = round(weight * distance[a, b] * one)
            arcs.append((p, q, capacity, capacity))
        for cell, other in ((p, q), (q, p)):
            if free[cell] and not free[other]:
                fixed = distance[:, labels[other]]
                take_b[cell] += weight * (fixed[b] - fixed[a])
    for p in np.flatnonzero(free):
        loss = round(take_b[p] * one)
        arcs.append((n, p, -loss, 0) if loss < 0 else (p, n + 1, loss, 0))
    _, reached = maximum_flow(n + 2, arcs, n, n + 1)
    side_of_b = np.array([p in reached for p in range(n)])
    return np.where(free, np.where(side_of_b, b, a), labels)


def least_labels(unaries, distance, weight, side):
    """Labels of least energy of a small grid."""
    every = every_label(len(unaries), side * side)
    return every[energy(unaries, distance, weight, side, every).argmin()]


def solved(start, costs, likes, side, solver, *, sweeps, resolve, beta, gamma, tau, soft=False):
    """Shares z of a part by the authors' iteration, from start labels ``(m, n)``.

    ``solver`` finds the labels of an output, as :func:`swap` does.
    """
    (m, n), z = costs.shape, np.eye(len(costs))[start]
    apart, before = np.zeros((m, m)), None
    plain = dict(beta=beta, gamma=gamma, tau=-1.0)  # every input counts, whatever is shown of it
    for sweep in range(-1, sweeps):
        for j in range(m if sweep >= 0 else 0):
            counts = z.sum(1)
            shown = likes @ (counts.sum(0) - counts[j])
            added = 2 * np.where(shown > tau * n, shown - tau * n * soft, 0) + apart[j]
            unaries, distance, inputs = half_labels(
                costs + gamma / n * added[:, None], counts[j] if sweep > 0 else None
            )
            labels = solver(unaries, distance, beta / n, side)
            z[j] = np.eye(m)[np.array(inputs)[labels]].mean(1)
        if sweep == sweeps - 2 and resolve:
            apart = told_apart(z.sum(1) > 0)
        now = objective(z, costs, np.eye(m), side, **plain)
        if before is not None and abs(before - now) < 1e-6 * abs(now):
            break
        before = now
    return z


def told_apart(shows):
    """1 where an output, of those ``(m, m)`` flags, pays more for an input."""
    apart = np.zeros(shows.shape)
    for j, k in itertools.combinations(range(len(shows)), 2):
        inputs = np.flatnonzero(shows[j])
        if (shows[j] == shows[k]).all() and len(inputs) > 1:
            apart[j, inputs[0]] = apart[k, inputs[1]] = 1
    return apart


def mixed(images, sources):
    """Mixed images in float64; ``images`` are ``(B, H, W, C)``."""
    side = sources.shape[1]
    rows, columns = (size // side for size in images.shape[1:3])
    out = np.zeros(images.shape)
    for j, row, column, half in np.ndindex(*sources.shape):
        y, x = row * rows, column * columns
        block = images[sources[j, row, column, half], y : y + rows, x : x + columns]
        out[j, y : y + rows, x : x + columns] += block / 2
    return out
