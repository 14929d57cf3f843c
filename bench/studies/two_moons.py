"""The loss of mixing on two moons, beside the approximation of it that Theorem 1 gives.

Park, Yun and Chun, arXiv:2208.09913, figure 1: logistic regression is trained with mixed samples,
and the true loss is plotted beside the quadratic approximation of equations 5 to 9. Mixup weighs
both coordinates by lambda; the other mask, CutMix's stand-in, keeps each coordinate with
probability lambda by itself.

The paper does not give the number of points, their noise, and the rate and number of steps. Here:
500 points with a noise of 0.1, lambda from Beta(1, 1), and 300 steps of gradient descent with a
rate of 1, the gradient of each taken from four draws. The true loss is the mean over many draws.
"""

from collections.abc import Iterator

import numpy as np

from bench import records
from bench.studies.lines import line
from dali_msda import Mixup, draw

POINTS, NOISE, RATE, DRAWS_OF_A_STEP = 500, 0.1, 1.0, 4
DRAWS = 400  # whose mean the true loss is
STEPS = (0, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300)
MASKS = ("Mixup", "independent coordinates")
MEAN_REST, MEAN_SQUARED_REST = 1 / 3, 1 / 6  # of 1 - lambda, where lambda has the law Beta(2, 1)


def run(steps: tuple[int, ...] = STEPS, draws: int = DRAWS, seed: int = 0) -> Iterator[dict]:
    """Train with each mask; yield a line with both losses at some steps."""
    points, labels = moons(seed)
    for mask in MASKS:
        weights = np.zeros(2)
        figures = dict(step=list(steps), true=[], approximate=[])
        for step in range(steps[-1] + 1):
            if step in steps:
                seen = (mixed(points, labels, mask, seed + 1, number) for number in range(draws))
                true = np.mean([logistic_loss(x @ weights, y) for x, y in seen])
                figures["true"].append(records.rounded(true))
                found = approximate_loss(points, labels, weights, mask)
                figures["approximate"].append(records.rounded(found))
            numbers = range(DRAWS_OF_A_STEP * step, DRAWS_OF_A_STEP * (step + 1))
            each = [mixed(points, labels, mask, seed, number) for number in numbers]
            slopes = [x.T @ (sigmoid(x @ weights) - y) / len(y) for x, y in each]
            weights -= RATE * np.mean(slopes, axis=0)
        yield line("two_moons", dict(mask=mask, draws=draws, seed=seed), figures)


def moons(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(n, 2)`` around their mean, and labels 0 or 1."""
    random = np.random.default_rng(seed)
    angle, labels = random.random(POINTS) * np.pi, random.integers(0, 2, POINTS)
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.where(labels[:, None] == 0, upper, (1.0, 0.5) - upper)
    points = points + NOISE * random.standard_normal(points.shape)
    return points - points.mean(0), labels


def mixed(
    points: np.ndarray, labels: np.ndarray, mask: str, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The whole data set, mixed once, with soft labels."""
    plan = draw(Mixup(alpha=1.0), len(points), 1, 1, seed=seed, step=step)
    lam, partner = plan["weight"].astype(np.float64), plan["partner"]
    kept = np.repeat(lam[:, None], 2, 1)
    if mask != "Mixup":
        kept = (np.random.default_rng([seed, step]).random(kept.shape) < kept).astype(float)
    inputs = kept * points + (1 - kept) * points[partner]
    return inputs, lam * labels + (1 - lam) * labels[partner]


def approximate_loss(
    points: np.ndarray, labels: np.ndarray, weights: np.ndarray, mask: str
) -> float:
    """The loss without mixing, and the regularisers of Theorem 1: of first and of second order.

    With ``r`` a partner, whose mean is 0, and ``a[j, k]`` the mean of the product of what the mask
    takes away at coordinates j and k, the second one weighs the products of
    ``(r - x)[j] * (r - x)[k]`` by ``a[j, k]``.
    """
    outputs = points @ weights
    shares = sigmoid(outputs)
    first = MEAN_REST * ((shares - labels) * -outputs).mean()
    a = np.full((2, 2), MEAN_SQUARED_REST)
    if mask != "Mixup":
        np.fill_diagonal(a, MEAN_REST)  # a coordinate is kept or not, so its square is itself
    spread = points.T @ points / len(points) + points[:, :, None] * points[:, None, :]
    curvature = np.einsum("jk,j,k,ijk->i", a, weights, weights, spread)
    second = (shares * (1 - shares) * curvature).mean() / 2
    return float(logistic_loss(outputs, labels) + first + second)


def logistic_loss(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the points, with labels in [0, 1]."""
    return float((np.logaddexp(0, outputs) - labels * outputs).mean())


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-values))."""
    return 1 / (1 + np.exp(-values))
