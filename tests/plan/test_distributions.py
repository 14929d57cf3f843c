"""The draws have the distributions they claim. Bounds are 5 sigma or p > 1e-6, and seeds fixed."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import special, stats

import dali_msda as msda

DRAWS = 200_000


def lambdas(policy, draws=DRAWS, seed=0):
    return msda.draw(policy, draws, 1, 1, seed=seed, step=0)["lam"]


def kolmogorov_smirnov(values, cdf):
    """p-value for float32 ``values`` that were rounded from a law with this ``cdf``.

    At alpha 0.1 one value in six rounds to 1. So the law is rounded as well: a value stands for all
    between its midpoints to its neighbours.
    """
    distinct, counts = np.unique(values, return_counts=True)
    above = np.nextafter(distinct, np.float32(np.inf)).astype(np.float64)
    below = np.nextafter(distinct, np.float32(-np.inf)).astype(np.float64)
    share = np.cumsum(counts) / len(values)
    high = share - cdf(np.clip((distinct + above) / 2, 0, 1))
    low = share - counts / len(values) - cdf(np.clip((distinct + below) / 2, 0, 1))
    return stats.kstwo.sf(max(np.abs(high).max(), np.abs(low).max()), len(values))


def assert_mean(values, mean):
    values = values.astype(np.float64)
    assert abs(values.mean() - mean) <= 5 * values.std() / len(values) ** 0.5


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("make", [msda.Mixup, msda.CutMix, msda.FMix, msda.HMix, msda.GMix])
def test_lambda_is_beta(make, alpha):
    lam = lambdas(make(alpha=alpha))
    assert kolmogorov_smirnov(lam, lambda x: special.betainc(alpha, alpha, x)) > 1e-6


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 8.0, 100.0])
def test_moments_of_lambda(alpha):
    lam = lambdas(msda.Mixup(alpha=alpha), seed=1).astype(np.float64)
    assert ((lam >= 0) & (lam <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert_mean(lam, 0.5)
    assert_mean((lam - 0.5) ** 2, variance)
    assert_mean((lam - 0.5) ** 3, 0)
    assert_mean((lam - 0.5) ** 4, 3 * variance**2 * (2 * alpha + 1) / (2 * alpha + 3))


def test_the_test_of_lambda_has_teeth():
    """The KS test tells Beta(1, 1) from laws that are nearly right."""
    lam = lambdas(msda.Mixup(alpha=1.05))
    assert kolmogorov_smirnov(lam, lambda x: x) < 1e-6
    folded = np.maximum(lam, 1 - lam)
    assert kolmogorov_smirnov(folded, lambda x: x) < 1e-6


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 5.0])
def test_more_sources_have_dirichlet_weights(n, alpha):
    plan = msda.draw(msda.Mixup(n=n, alpha=alpha), DRAWS // 4, 1, 1, seed=2, step=0)
    weights = [plan["weight"], plan["partner_weight"], *plan["extra_weight"].T][:n]
    for w in weights:
        assert kolmogorov_smirnov(w, lambda x: special.betainc(alpha, (n - 1) * alpha, x)) > 1e-6
    covariance = -1 / (n**2 * (n * alpha + 1))
    for a, b in itertools.combinations(weights, 2):
        assert_mean((a - 1 / n) * (b - 1 / n), covariance)


@pytest.mark.parametrize("n", [3, 4])
def test_a_given_lambda_leaves_the_other_weights_their_law(n, alpha=0.8, lam=0.3):
    """Given the first, the others of a Dirichlet vector are a smaller one, scaled."""
    policy = msda.Mixup(n=n, alpha=alpha)
    plan = msda.draw(policy, DRAWS // 4, 1, 1, seed=3, step=0, lam=lam)
    share = (plan["partner_weight"] / np.float32(1 - lam)).astype(np.float32)
    beta = lambda x: special.betainc(alpha, (n - 2) * alpha, x)  # noqa: E731
    assert kolmogorov_smirnov(share, beta) > 1e-6


def counted(policy, batch, draws, field="partner"):
    plans = (msda.draw(policy, batch, 1, 1, seed=4, step=step) for step in range(draws))
    return Counter(tuple(plan[field].ravel().tolist()) for plan in plans)


def assert_uniform_over(counts, possible):
    assert set(counts) == set(possible)
    if len(possible) > 1:
        assert stats.chisquare([counts[outcome] for outcome in possible]).pvalue > 1e-6


def is_pairing(order):
    return all(order[j] == i for i, j in enumerate(order))


@pytest.mark.parametrize("make", [msda.Mixup, msda.CutMix])
def test_permutations_are_uniform(make):
    every = list(itertools.permutations(range(4)))
    assert_uniform_over(counted(make(), 4, 6000), every)


@pytest.mark.parametrize("batch", [2, 3, 4, 5])
def test_derangements_are_uniform(batch):
    without_fixed_point = [
        order
        for order in itertools.permutations(range(batch))
        if all(i != j for i, j in enumerate(order))
    ]
    counts = counted(msda.Mixup(partner="derangement"), batch, 3000)
    assert_uniform_over(counts, without_fixed_point)


@pytest.mark.parametrize("batch, alone", [(2, 0), (4, 0), (5, 1), (6, 0)])
def test_pairings_are_uniform(batch, alone):
    pairings = [
        order
        for order in itertools.permutations(range(batch))
        if is_pairing(order) and sum(i == j for i, j in enumerate(order)) == alone
    ]
    assert_uniform_over(counted(msda.Mixup(scope="pair"), batch, 3000), pairings)


def test_further_sources_are_independent_permutations():
    every = list(itertools.permutations(range(3)))
    policy = msda.Mixup(n=4)
    joint = Counter()
    for step in range(6000):
        plan = msda.draw(policy, 3, 1, 1, seed=5, step=step)
        second, third, fourth = plan["partner"], plan["extra"][:, 0], plan["extra"][:, 1]
        joint[tuple(second), tuple(third)] += 1
        joint[tuple(third), tuple(fourth)] += 1
    assert_uniform_over(joint, list(itertools.product(every, every)))


def test_fixed_points_of_a_permutation():
    """One sample in a batch meets itself on average, whatever the size of the batch."""
    fixed = [
        np.sum(msda.draw(msda.Mixup(), 50, 1, 1, seed=6, step=step)["partner"] == np.arange(50))
        for step in range(3000)
    ]
    assert_mean(np.array(fixed), 1.0)


@pytest.mark.parametrize("prob", [0.0, 0.1, 0.5, 1.0])
def test_share_of_mixed_samples(prob):
    plan = msda.draw(msda.CutMix(prob=prob), DRAWS, 8, 8, seed=7, step=0)
    mixed = np.mean(plan["sources"] == 2)
    assert abs(mixed - prob) <= 5 * (prob * (1 - prob) / DRAWS) ** 0.5


@pytest.mark.parametrize("weights", [None, [1, 2, 5], [0.5, 0.499, 0.001]])
def test_shares_of_a_choice(weights):
    policies = [msda.Mixup(), msda.CutMix(), msda.CutMix(box="wrap")]
    plan = msda.draw(msda.Choice(policies, weights=weights), DRAWS, 8, 8, seed=8, step=0)
    share = np.array(weights or [1, 1, 1]) / sum(weights or [1, 1, 1])
    observed = np.bincount(plan["leaf"], minlength=3) / DRAWS
    assert (np.abs(observed - share) <= 5 * (share * (1 - share) / DRAWS) ** 0.5).all()


def test_draws_of_one_record_are_independent():
    """Lambda, position, prob and leaf come from streams of their own."""
    box = msda.draw(msda.CutMix(box="wrap"), DRAWS, 64, 64, seed=9, step=0)
    mixed = msda.draw(msda.Mixup(prob=0.5), DRAWS, 1, 1, seed=9, step=0)["sources"] == 2
    second = msda.draw(msda.Choice([msda.Mixup()] * 2), DRAWS, 1, 1, seed=9, step=0)["leaf"] == 1
    same_key = np.stack([box["lam"], box["y0"], box["x0"], mixed, second]).astype(np.float64)
    correlation = np.corrcoef(same_key) - np.eye(5)
    assert np.abs(correlation).max() < 5 / DRAWS**0.5
