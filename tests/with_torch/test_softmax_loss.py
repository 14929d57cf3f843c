"""Binary cross-entropy of softmax probabilities, against torch's in float64 and where that ends."""

import math

import pytest
import torch
from torch import nn

from dali_msda.torch import softmax_binary_cross_entropy
from tests.reference import hidden as reference

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(4, 7, generator=GENERATOR)
ROWS = torch.rand(4, 7, generator=GENERATOR)
ROWS /= ROWS.sum(1, keepdim=True)
LABELS = torch.tensor([[0, 6], [3, 3], [5, 1], [2, 4]])
WEIGHTS = torch.tensor([[0.3, 0.7], [0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])


def released(logits, rows, reduction="mean"):
    return nn.BCELoss(reduction=reduction)(logits.double().softmax(1), rows.double())


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_it_is_that_of_the_released_code(smoothing):
    rows = (1 - smoothing) * ROWS + smoothing / 7
    got = softmax_binary_cross_entropy(LOGITS, ROWS, smoothing=smoothing)
    torch.testing.assert_close(got.double(), released(LOGITS, rows), rtol=1e-6, atol=0)
    each = softmax_binary_cross_entropy(LOGITS, ROWS, smoothing=smoothing, reduction="none")
    torch.testing.assert_close(each.double(), released(LOGITS, rows, "none").mean(1))
    total = softmax_binary_cross_entropy(LOGITS, ROWS, smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(total, each.sum())


def test_labels_with_weights_stand_for_rows():
    rows = torch.zeros(4, 7).scatter_add_(1, LABELS, WEIGHTS)
    for how in ({}, {"smoothing": 0.2}):
        want = softmax_binary_cross_entropy(LOGITS, rows, **how)
        got = softmax_binary_cross_entropy(LOGITS, LABELS, WEIGHTS, **how)
        torch.testing.assert_close(got, want)
    one = softmax_binary_cross_entropy(LOGITS, LABELS[:, 0])
    hot = torch.zeros(4, 7).scatter_(1, LABELS[:, :1], 1.0)
    torch.testing.assert_close(one, softmax_binary_cross_entropy(LOGITS, hot))


def test_gradients_are_those_of_the_released_code():
    logits = LOGITS.double().requires_grad_()
    (want,) = torch.autograd.grad(released(logits, ROWS), logits)
    (got,) = torch.autograd.grad(softmax_binary_cross_entropy(logits, ROWS.double()), logits)
    torch.testing.assert_close(got, want)
    assert torch.autograd.gradcheck(
        lambda x: softmax_binary_cross_entropy(x, ROWS.double()), logits
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_formula(smoothing):
    logits, rows = LOGITS.double().requires_grad_(), ROWS.double()
    smoothed = (1 - smoothing) * rows + smoothing / 7
    expected = reference.softmax_binary_cross_entropy(logits.detach(), smoothed)
    for name in ("mean", "sum"):
        found = softmax_binary_cross_entropy(logits, rows, smoothing=smoothing, reduction=name)
        assert found.item() == pytest.approx(getattr(expected, name)(), rel=1e-12)
    for target in ((rows,), (LABELS, WEIGHTS.double())):
        assert torch.autograd.gradcheck(
            lambda x, t=target: softmax_binary_cross_entropy(x, *t, smoothing=smoothing), (logits,)
        )


def test_no_logarithm_is_below_that_of_the_released_code():
    """Where p and 1 - p are far from what float32 can tell from 0 and 1."""
    logits = torch.tensor([[0.0, 300.0, 300.0]], requires_grad=True)
    loss = softmax_binary_cross_entropy(logits, torch.tensor([0]))
    # log p[0] ends at -100; the others are 1/2 each
    assert loss.item() == pytest.approx((100 + 2 * math.log(2)) / 3)
    assert loss.item() == pytest.approx(released(logits.detach(), torch.eye(3)[:1]).item())
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.isfinite().all() and slope.abs().max() < 1e-6


@pytest.mark.parametrize("gap", [30.0, 60.0, 90.0])
def test_certain_models_have_finite_losses_and_gradients(gap):
    """In float32 the probability is 1; the loss still grows with the gap, and pulls it back."""
    logits = torch.tensor([[gap, 0.0, 0.0]], requires_grad=True)
    loss = softmax_binary_cross_entropy(logits, torch.tensor([1]))
    # -log p[1] is gap, -log(1 - p[0]) is gap - log 2, and the rest is 0
    assert loss.item() == pytest.approx((2 * gap - math.log(2)) / 3, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.tensor([[2.0, -1.5, -0.5]]) / 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(dtype):
    got = softmax_binary_cross_entropy(LOGITS.to(dtype), ROWS)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, softmax_binary_cross_entropy(LOGITS.to(dtype).float(), ROWS))


def test_equal_logits_have_one_greatest():
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = softmax_binary_cross_entropy(logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.25, 0.25], [0.25, -0.25]]))


@pytest.mark.parametrize(
    "logits, targets, error, text",
    [
        (LOGITS[:, :1], ROWS[:, :1], ValueError, "logits: expected at least 2 classes, got 1"),
        (LOGITS, ROWS[:, :3], ValueError, "targets: expected the shape of logits"),
        (LOGITS.int(), ROWS, TypeError, "logits: expected a floating type"),
        (LOGITS, LABELS, ValueError, "targets: expected labels"),
    ],
)
def test_what_is_refused(logits, targets, error, text):
    with pytest.raises(error, match=text):
        softmax_binary_cross_entropy(logits, targets)
