"""The binary cross-entropy of softmax outputs: the formula, for dense and compact labels."""

import numpy as np
import pytest
import torch
from torch import nn

from dali_msda.torch import softmax_binary_cross_entropy as loss
from tests.reference import hidden as reference

ROWS, CLASSES = 6, 5


def example(scale=2.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(ROWS, CLASSES, generator=generator, dtype=dtype)
    labels = torch.randint(CLASSES, (ROWS, 2), generator=generator)
    labels[0] = labels[0, 0]
    own = torch.rand(ROWS, 1, generator=generator, dtype=dtype)
    weights = torch.cat([own, 1 - own], 1)
    dense = torch.zeros(ROWS, CLASSES, dtype=dtype).scatter_add_(1, labels, weights)
    return logits.requires_grad_(), labels, weights, dense


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_formula(smoothing):
    logits, labels, weights, dense = example()
    rows = (1 - smoothing) * dense + smoothing / CLASSES
    expected = reference.softmax_binary_cross_entropy(logits.detach(), rows)
    for target in ((dense,), (labels, weights)):
        for name in ("mean", "sum"):
            found = loss(logits, *target, smoothing=smoothing, reduction=name)
            assert found.item() == pytest.approx(getattr(expected, name)(), rel=1e-12)
        each = loss(logits, *target, smoothing=smoothing, reduction="none")
        np.testing.assert_allclose(each.detach(), expected, rtol=1e-12)
        assert torch.autograd.gradcheck(
            lambda x, t=target: loss(x, *t, smoothing=smoothing), (logits,)
        )
    one_hot = nn.functional.one_hot(labels[:, 0], CLASSES).double()
    torch.testing.assert_close(loss(logits, labels[:, 0]), loss(logits, one_hot))


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
def test_it_is_the_loss_of_the_released_code(scale):
    """BCELoss clamps logarithms at -100; where p rounds to 0 or 1, gradients are finite."""
    logits, *_, dense = example(scale, torch.float32)
    theirs = nn.BCELoss()(logits.softmax(1), dense)
    ours = loss(logits, dense)
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-6)
    (slope,) = torch.autograd.grad(ours, logits)
    assert slope.isfinite().all() and slope.abs().sum() > 0


def test_half_precision_is_computed_in_full():
    logits, *_, dense = example(dtype=torch.float32)
    half = logits.detach().bfloat16()
    assert torch.equal(loss(half, dense), loss(half.float(), dense))


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="targets: expected the shape of logits"):
        loss(torch.rand(2, 3), torch.rand(2, 4))
