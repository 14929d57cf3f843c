"""What the documentation of fn.msda.targets says, claim by claim."""

import numpy as np
import pytest
from nvidia.dali import fn

import dali_msda as msda
from tests.with_dali.dali_pipelines import given, run, source

B, H, W = 7, 9, 14
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (B, 1))


def drawn(policy):
    return msda.draw(policy, B, H, W, seed=5, step=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rows(smoothing):
    plan = drawn(msda.Mixup(n=3))
    arguments = dict(num_classes=4, smoothing=smoothing)
    (rows,) = run(lambda: fn.msda.targets(source(LABELS), given(plan), **arguments), B)
    s = np.float32(smoothing)
    np.testing.assert_array_equal(
        rows, msda.targets(LABELS[:, 0], plan, num_classes=4, smoothing=s)
    )
    np.testing.assert_allclose(rows.sum(1), 1, atol=3e-7)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_labels_of_any_integer_type(kind):
    plan = drawn(msda.CutMix())
    want = msda.targets(LABELS[:, 0], plan, num_classes=4)
    for labels in (LABELS, LABELS[:, 0]):  # (1,) and scalars
        typed = labels.astype(kind)
        (rows,) = run(lambda k=typed: fn.msda.targets(source(k), given(plan), num_classes=4), B)
        np.testing.assert_array_equal(rows, want)


def test_equal_labels_keep_a_sum_of_one():
    plan = drawn(msda.Mixup())
    (rows,) = run(
        lambda: fn.msda.targets(source(np.full((B, 1), 2)), given(plan), num_classes=4), B
    )
    np.testing.assert_array_equal(rows, np.eye(4, dtype=np.float32)[np.full(B, 2)])


def test_soft_rows():
    plan, soft = drawn(msda.CutMix()), RNG.dirichlet(np.ones(4), B).astype(np.float32)
    for arguments in ({}, {"num_classes": 4}):
        (rows,) = run(lambda a=arguments: fn.msda.targets(source(soft), given(plan), **a), B)
        np.testing.assert_array_equal(rows, msda.targets(soft, plan))


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_compact_is_lossless(columns):
    """Cross-entropy with rows is the weighted sum of cross-entropies with the classes."""
    plan = drawn(msda.Mixup(n=columns, prob=0.6))
    labels, weights, rows = run(
        lambda: (
            *fn.msda.targets(source(LABELS), given(plan), compact=True, sources=columns),
            fn.msda.targets(source(LABELS), given(plan), num_classes=4),
        ),
        B,
    )
    assert labels.shape == weights.shape == (B, columns)
    log_p = np.log(RNG.dirichlet(np.ones(4), B))
    compact = (weights * np.take_along_axis(log_p, labels, 1)).sum(1)
    np.testing.assert_allclose(compact, (rows * log_p).sum(1), rtol=1e-6)
    unmixed = plan["sources"] == 1
    assert unmixed.any() and (labels[unmixed] == LABELS[unmixed]).all()
    assert (weights[unmixed, 0] == 1).all() and (weights[unmixed, 1:] == 0).all()


def test_compact_has_four_columns_unless_told():
    plan = drawn(msda.CutMix())
    labels, weights = run(lambda: fn.msda.targets(source(LABELS), given(plan), compact=True), B)
    assert labels.shape == weights.shape == (B, 4)
