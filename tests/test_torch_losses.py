"""The loss for soft labels: both forms of a label give the same number and the same gradient."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import dali_msda as msda
from dali_msda.torch import soft_target_binary_cross_entropy as binary
from dali_msda.torch import soft_target_cross_entropy as loss


def batch(rows=7, classes=11, sources=3, dtype=torch.float64, seed=0):
    """Logits, labels with repetitions in a row, weights, and the same labels as dense rows."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, classes, generator=generator, dtype=dtype)
    labels = torch.randint(classes, (rows, sources), generator=generator)
    labels[0] = labels[0, 0]
    weights = torch.rand(rows, sources, generator=generator, dtype=dtype)
    weights /= weights.sum(1, keepdim=True)
    dense = torch.zeros(rows, classes, dtype=dtype).scatter_add_(1, labels, weights)
    return logits.requires_grad_(), labels, weights, dense


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("sources", [1, 2, 4])
def test_compact_equals_dense_and_so_does_its_gradient(smoothing, sources):
    logits, labels, weights, dense = batch(sources=sources)
    smoothed = (1 - smoothing) * dense + smoothing / dense.shape[1]
    expected = functional.cross_entropy(logits, smoothed)
    (slope,) = torch.autograd.grad(expected, logits)
    for targets in ((dense,), (labels, weights)):
        ours = loss(logits, *targets, smoothing=smoothing)
        torch.testing.assert_close(ours, expected, rtol=1e-14, atol=1e-14)
        (ours,) = torch.autograd.grad(ours, logits)
        torch.testing.assert_close(ours, slope, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("sources", [1, 2, 4])
def test_binary_compact_equals_dense_and_so_does_its_gradient(smoothing, sources):
    logits, labels, weights, dense = batch(sources=sources)
    smoothed = (1 - smoothing) * dense + smoothing / 2
    expected = functional.binary_cross_entropy_with_logits(logits, smoothed)
    (slope,) = torch.autograd.grad(expected, logits)
    for targets in ((dense,), (labels, weights)):
        ours = binary(logits, *targets, smoothing=smoothing)
        torch.testing.assert_close(ours, expected, rtol=1e-14, atol=1e-14)
        (ours,) = torch.autograd.grad(ours, logits)
        torch.testing.assert_close(ours, slope, rtol=1e-12, atol=1e-15)


def test_binary_serves_rows_of_several_labels():
    """Multi-hot rows are mixed as they are; the loss is linear in them."""
    logits = torch.randn(9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    several = (np.random.default_rng(2).random((9, 6)) < 0.4).astype(np.float32)
    plan = msda.draw(msda.Mixup(), 9, 4, 4, seed=0, step=0)
    mixed = torch.from_numpy(msda.targets(several, plan))
    own, partner = (torch.from_numpy(several[plan[name]]).double() for name in ("own", "partner"))
    weight = torch.from_numpy(plan["weight"]).double()
    each = [binary(logits, rows, reduction="none") for rows in (own, partner)]
    torch.testing.assert_close(
        binary(logits, mixed.double(), reduction="none"),
        weight * each[0] + (1 - weight) * each[1],
        rtol=1e-6,
        atol=1e-7,
    )


def test_binary_of_great_logits():
    logits = torch.tensor([[1e4, -1e4, 45.0, 38.0]], dtype=torch.float64)
    rows = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor((45 + np.log1p(np.exp(-38.0))) / 4, dtype=torch.float64)
    torch.testing.assert_close(binary(logits, rows), expected, rtol=1e-15, atol=0)
    assert binary(logits.float(), torch.tensor([0])).isfinite()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_without_weights_are_hard(smoothing):
    logits, labels, _, _ = batch()
    expected = functional.cross_entropy(logits, labels[:, 0], label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, labels[:, 0], smoothing=smoothing), expected)


def test_it_takes_what_targets_makes():
    policy, labels = msda.Mixup(n=3), np.arange(8) % 5
    plan = msda.draw(policy, 8, 4, 4, seed=0, step=0)
    dense = torch.from_numpy(msda.targets(labels, plan, num_classes=5))
    compact = [torch.from_numpy(part) for part in msda.targets(labels, plan, compact=True)]
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(logits, *compact), loss(logits, dense))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reductions(reduction):
    logits, labels, weights, _ = batch()
    each = loss(logits, labels, weights, reduction="none")
    assert each.shape == (len(logits),)
    torch.testing.assert_close(
        loss(logits, labels, weights, reduction=reduction), getattr(each, reduction)()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype):
    logits, labels, weights, _ = batch(classes=1000, dtype=torch.float32)
    half = logits.detach().to(dtype)
    for kind in (loss, binary):
        ours = kind(half, labels, weights, smoothing=0.1)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, kind(half.float(), labels, weights, smoothing=0.1))


def test_great_logits_do_not_overflow():
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    assert loss(logits, torch.tensor([[0, 0]]), torch.tensor([[0.5, 0.5]])) == 0
    assert loss(logits, torch.tensor([[1, 1]]), torch.tensor([[0.5, 0.5]])) == 2e4


L, W = torch.zeros(2, 2, dtype=torch.long), torch.full((2, 2), 0.5)


@pytest.mark.parametrize(
    "logits, targets, options, message",
    [
        (torch.zeros(2), (L, W), {}, r"logits: expected shape \(B, C\), got \(2,\)"),
        (torch.zeros(2, 3), (L + 3, W), {}, r"targets: expected labels in \[0, 3\), got 3"),
        (torch.zeros(2, 3), (L - 1, W), {}, r"targets: expected labels in \[0, 3\), got -1"),
        (torch.zeros(2, 3), (L,), {}, r"targets: expected labels \(2,\), or \(2, n\) and weights"),
        (torch.zeros(2, 3), (L, W[:, :1]), {}, "weights: expected the shape of the labels"),
        (torch.zeros(3, 3), (L, W), {}, "targets: expected 3 rows, as in logits, got 2"),
        (torch.zeros(2, 3), (W,), {}, r"targets: expected the shape of logits, \(2, 3\)"),
        (torch.zeros(2, 2), (W, W), {}, "weights: expected none with rows of floats"),
        (torch.zeros(2, 3), (L, W), {"smoothing": 1.5}, r"smoothing: expected a share in \[0, 1\]"),
        (torch.zeros(2, 3), (L, W), {"reduction": "max"}, "reduction: expected 'mean', 'sum'"),
    ],
)
def test_errors(logits, targets, options, message):
    for kind in (loss, binary):
        with pytest.raises(ValueError, match=message):
            kind(logits, *targets, **options)
