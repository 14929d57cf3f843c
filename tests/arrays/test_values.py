"""Real values and rows of several labels: weighted means of what a sample's sources have."""

import numpy as np
import pytest
import torch

import dali_msda as msda
from tests.support.annotated import VARIANTS, plan_of


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tail", [(), (3,), (2, 4)])
@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_values_are_weighted_means(policy, tail, dtype):
    plan = plan_of(policy, (9, 8, 8))
    given = (np.random.default_rng(0).standard_normal((9, *tail)) * 100).astype(dtype)
    mixed = msda.values(given, plan)
    assert mixed.dtype == dtype and mixed.shape == given.shape
    sources = np.column_stack([plan["own"], plan["partner"], plan["extra"]])
    weights = np.column_stack([plan["weight"], plan["partner_weight"], plan["extra_weight"]])
    for i, used in enumerate(plan["sources"]):
        rows = given[sources[i, :used]].astype(np.float64)
        want = np.tensordot(weights[i, :used].astype(np.float64), rows, 1)
        np.testing.assert_allclose(mixed[i], want, rtol=1e-6, atol=1e-4)
        low, high = rows.min(0), rows.max(0)
        slack = 1e-6 * np.abs(rows).max()
        assert (mixed[i] >= low - slack).all() and (mixed[i] <= high + slack).all()
    tensor = msda.values(torch.from_numpy(given), plan)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), mixed)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_equal_values_stay_as_they_are(policy):
    """Exactly: float32 weights that sum to 1 but for rounding would show in a float64 value."""
    plan = plan_of(policy, (9, 8, 8))
    given = np.full(9, 1e9 / 3)
    np.testing.assert_array_equal(msda.values(given, plan), given)
    np.testing.assert_array_equal(msda.values(np.arange(9.0) * 0 + 0.1, plan), np.full(9, 0.1))


def test_values_and_targets_agree():
    plan = plan_of(VARIANTS[-1], (9, 8, 8))
    given = np.random.default_rng(0).random((9, 4)).astype(np.float32)
    np.testing.assert_allclose(msda.values(given, plan), msda.targets(given, plan), atol=3e-7)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_several_labels_a_sample(policy, kind):
    """Each label's row entry is the share of the sources that have it; rows sum to any number."""
    plan = plan_of(policy, (9, 8, 8))
    tags = (np.random.default_rng(0).random((9, 6)) < 0.4).astype(np.float32)
    rows = np.asarray(msda.targets(kind(tags), plan))
    sources = np.column_stack([plan["own"], plan["partner"], plan["extra"]])
    weights = np.column_stack([plan["weight"], plan["partner_weight"], plan["extra_weight"]])
    weights = np.where(np.arange(4) < plan["sources"][:, None], weights, 0)
    sources = np.where(np.arange(4) < plan["sources"][:, None], sources, 0)
    want = np.einsum("bk,bkc->bc", weights.astype(np.float64), tags[sources].astype(np.float64))
    np.testing.assert_allclose(rows, want, atol=3e-7)
    assert (rows >= 0).all() and (rows <= 1 + 1e-6).all()


@pytest.mark.parametrize("policy", [msda.CutMix(), msda.Mixup(), msda.FMix(), msda.HMix()], ids=str)
def test_nothing_changes_at_lambda_1(policy):
    plan = plan_of(policy, (5, 8, 11), lam=1.0)
    numbers = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_array_equal(msda.values(numbers, plan), numbers)


def test_an_empty_batch():
    plan = plan_of(msda.CutMix(), (0, 4, 5))
    assert msda.values(np.zeros((0, 2)), plan).shape == (0, 2)


PLAN = plan_of(msda.Mixup(), (4, 6, 5))
NUMBERS = np.zeros(4)
ERRORS = [
    (lambda: msda.values(np.arange(4), PLAN), "values: expected float32 or float64 .* got int64"),
    (lambda: msda.values(np.float64(3), PLAN), "values: expected"),
    (lambda: msda.values("ab", PLAN), "values: expected a NumPy array or a torch tensor, got str"),
    (lambda: msda.values(NUMBERS[:2], PLAN), r"plan\[\d\]: .*expected indices in \[0, 2\)"),
    (
        lambda: msda.values(np.array([[0, 1], [0, np.nan], [0, 0], [0, 0.0]]), PLAN),
        r"values\[1, 1\]: expected finite values, got nan; leave unknown",
    ),
    (lambda: msda.values(NUMBERS + np.inf, PLAN), r"values\[0\]: expected finite values, got inf"),
    (
        lambda: msda.values([[1.0], [2.0, 3.0], [1.0], [1.0]], PLAN),
        "values: expected .* a list whose",
    ),
]


@pytest.mark.parametrize("call, message", ERRORS, ids=[message for _, message in ERRORS])
def test_the_message(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
