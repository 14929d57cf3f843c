"""The methods that mix what a model computes, once more: NumPy, plain loops, float64.

Sources: Verma et al., arXiv:1806.05236 (Manifold Mixup); Venkataramanan et al., arXiv:2103.15375
(AlignMix); Yang et al., arXiv:2203.06844 (RecursiveMix), and the authors' code of each.
"""

import itertools

import numpy as np

from tests.reference.methods import Stream

LAYER, DIRECTION = 252, 251  # purposes of draws


def layer(count, *, seed, step, rank=0):
    """Place of the layer that a batch is mixed at, among so many."""
    return int(Stream(seed, step).uniform(rank << 32, LAYER) * count)


def direction(slot, *, seed, step, rank=0):
    """Whether AlignMix moves the own features of a sample."""
    return int(Stream(seed, step).uniform((rank << 32) + slot, DIRECTION) < 0.5)


def mixed(hidden, plan):
    """Weighted sums of hidden states, an output for each record."""
    outputs = []
    for p in plan.reshape(-1):
        sources = [p["own"], p["partner"], *p["extra"]][: max(2, p["sources"])]
        weights = [p["weight"], p["partner_weight"], *p["extra_weight"]][: len(sources)]
        if p["sources"] <= 2:
            weights = [p["outside"], 1 - np.float64(p["outside"])]
        pairs = zip(sources, weights, strict=True)
        outputs.append(sum(np.float64(w) * hidden[i].astype(np.float64) for i, w in pairs))
    return np.stack(outputs)


def rows(labels, plan, classes):
    """Soft labels, an output for each record."""
    made = np.zeros((plan.size, classes))
    for row, p in zip(made, plan.reshape(-1), strict=True):
        sources = [p["own"], p["partner"], *p["extra"]][: p["sources"]]
        weights = [p["weight"], p["partner_weight"], *p["extra_weight"]]
        for i, w in zip(sources, weights, strict=False):
            row[labels[i]] += w
    return made


def transport(own, partner, iterations, epsilon=0.1):
    """Sinkhorn's plan of two maps ``(C, r)``, one entry of the potentials after the other."""
    points = range(own.shape[1])
    cost = np.zeros((len(points), len(points)))
    for n, m in itertools.product(points, points):
        cost[n, m] = ((own[:, n] - partner[:, m]) ** 2).sum()
    share = np.log(1 / len(points) + 1e-8)
    u, v = np.zeros(len(points)), np.zeros(len(points))
    for _ in range(iterations):
        for n in points:
            u[n] += epsilon * (share - _log_sum((-cost[n] + u[n] + v) / epsilon))
        for m in points:
            v[m] += epsilon * (share - _log_sum((-cost[:, m] + u + v[m]) / epsilon))
    return np.exp((-cost + u[:, None] + v) / epsilon)


def aligned(own, partner, lam, backwards, iterations):
    """AlignMix of two feature maps ``(C, ...)``."""
    shape, own, partner = own.shape, own.reshape(len(own), -1), partner.reshape(len(partner), -1)
    own, partner = own.astype(np.float64), partner.astype(np.float64)
    shares = own.shape[1] * transport(own, partner, iterations)
    made = np.zeros_like(own)
    for n in range(own.shape[1]):
        if backwards:
            moved = sum(shares[m, n] * own[:, m] for m in range(own.shape[1]))
            made[:, n] = lam * moved + (1 - lam) * partner[:, n]
        else:
            moved = sum(shares[n, m] * partner[:, m] for m in range(own.shape[1]))
            made[:, n] = lam * own[:, n] + (1 - lam) * moved
    return made.reshape(shape)


def _log_sum(values):
    greatest = values.max()
    return greatest + np.log(np.exp(values - greatest).sum())


def softmax_binary_cross_entropy(logits, rows):
    """One loss per sample: BCELoss behind a softmax."""
    losses = []
    for x, t in zip(np.float64(logits), np.float64(rows), strict=True):
        p = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
        losses.append(-np.mean(t * logs[0] + (1 - t) * logs[1]))
    return np.array(losses)
