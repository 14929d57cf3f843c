"""The loss for soft labels: both forms of a label give the same number and the same gradient."""

import numpy as np
import pytest
import torch
from torch import func
from torch.nn import functional

import dali_msda as msda
from dali_msda.torch import lamix_loss
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


OF_DENSE_ROWS = {  # PyTorch's own loss, and what smoothing adds to a row of so many classes
    loss: (functional.cross_entropy, lambda smoothing, classes: smoothing / classes),
    binary: (functional.binary_cross_entropy_with_logits, lambda smoothing, classes: smoothing / 2),
}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("sources", [1, 2, 4])
@pytest.mark.parametrize("kind", [loss, binary])
def test_compact_equals_dense_and_so_does_its_gradient(kind, smoothing, sources):
    logits, labels, weights, dense = batch(sources=sources)
    reference, added = OF_DENSE_ROWS[kind]
    smoothed = (1 - smoothing) * dense + added(smoothing, dense.shape[1])
    expected = reference(logits, smoothed)
    (slope,) = torch.autograd.grad(expected, logits)
    for targets in ((dense,), (labels, weights)):
        ours = kind(logits, *targets, smoothing=smoothing)
        torch.testing.assert_close(ours, expected, rtol=1e-14, atol=1e-14)
        (ours,) = torch.autograd.grad(ours, logits)
        torch.testing.assert_close(ours, slope, rtol=1e-13 if kind is loss else 1e-12, atol=1e-15)


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


# PyTorch's forward derivatives of log_softmax's gradient
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", [loss, binary])
def test_derivatives_of_logits_and_of_weights_that_need_not_sum_to_1(kind, smoothing):
    """First and second, backward and forward, one by one and several at a time."""
    logits, labels, weights, _ = batch(rows=2, classes=3, sources=2)
    weights = (3 * weights).requires_grad_()

    def of(logits, weights):
        return kind(logits, labels, weights, smoothing=smoothing, reduction="none")

    for inputs in ((logits, weights), (logits, weights.detach()), (logits.detach(), weights)):
        assert torch.autograd.gradcheck(
            of,
            inputs,
            check_batched_grad=True,
            check_forward_ad=True,
            check_batched_forward_grad=True,
        )
        assert torch.autograd.gradgradcheck(
            of, inputs, check_batched_grad=True, check_fwd_over_rev=True
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", [loss, binary])
def test_transforms_of_functions_see_compact_and_dense_alike(kind, smoothing):
    logits, labels, weights, dense = batch()
    logits = logits.detach()
    several = torch.stack([logits, 2 * logits, -logits])

    def compact(logits):
        return kind(logits, labels, weights, smoothing=smoothing)

    def rows(logits):
        return kind(logits, dense, smoothing=smoothing)

    for transform in (func.grad, func.jacrev, func.jacfwd, func.hessian):
        torch.testing.assert_close(transform(compact)(logits), transform(rows)(logits))
    each = func.vmap(func.grad(lambda x, a, w: kind(x[None], a[None], w[None])))
    torch.testing.assert_close(
        each(logits, labels, weights), len(logits) * func.grad(lambda x: kind(x, dense))(logits)
    )
    for transform in (lambda f: f, func.grad):
        torch.testing.assert_close(
            func.vmap(transform(compact))(several), func.vmap(transform(rows))(several)
        )
    torch.testing.assert_close(
        func.jvp(compact, (logits,), (several[1],)), func.jvp(rows, (logits,), (several[1],))
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", [loss, binary])
def test_compiled_it_is_the_same(kind, smoothing):
    logits, labels, weights, _ = batch()
    weights.requires_grad_()

    def of(logits, weights):
        return kind(logits, labels, weights, smoothing=smoothing)

    results = []
    for function in (of, torch.compile(of, backend="aot_eager", fullgraph=True)):
        value = function(logits, weights)
        results.append((value, *torch.autograd.grad(value, (logits, weights))))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("kind", [loss, binary])
def test_a_graph_that_is_kept_gives_the_gradient_again(kind):
    logits, labels, weights, _ = batch()
    value = kind(logits, labels, weights)
    (first,) = torch.autograd.grad(value, logits, retain_graph=True)
    (again,) = torch.autograd.grad(value, logits)
    assert torch.equal(first, again)


@pytest.mark.parametrize("kind", [loss, binary])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradients_are_of_the_type_of_what_they_belong_to(dtype, kind):
    """The weights' type takes part in that of the loss, as in any product."""
    logits, labels, weights, _ = batch()
    of_logits, of_weights = {}, {}
    for other in (torch.float32, torch.float64):
        inputs = [logits.detach().to(dtype), weights.to(other)]
        value = kind(*[inputs[0].requires_grad_(), labels, inputs[1].requires_grad_()])
        assert value.dtype == max(torch.float32, dtype, other, key=lambda d: d.itemsize)
        of_logits[other], of_weights[other] = torch.autograd.grad(value, inputs)
        assert of_logits[other].dtype == dtype and of_weights[other].dtype == other
    torch.testing.assert_close(of_logits[torch.float32], of_logits[torch.float64])
    torch.testing.assert_close(of_weights[torch.float32], of_weights[torch.float64].float())
    precise = logits.detach().to(dtype).double().requires_grad_()
    (expected,) = torch.autograd.grad(kind(precise, labels, weights), precise)
    torch.testing.assert_close(of_logits[torch.float32], expected.to(dtype))


@pytest.mark.parametrize("kind", [loss, binary])
def test_under_autocast(kind):
    logits, labels, weights, _ = batch(dtype=torch.float32)
    expected = kind(logits, labels, weights)
    (slope,) = torch.autograd.grad(expected, logits)
    with torch.autocast("cpu", torch.bfloat16):
        ours = kind(logits, labels, weights)
        (inside,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (outside,) = torch.autograd.grad(ours, logits)
    torch.testing.assert_close((ours, inside, outside), (expected, slope, slope))


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


@pytest.mark.parametrize(
    "logits, targets, options, message",
    [
        (np.zeros((2, 3)), (L, W), {}, "logits: expected a tensor, got ndarray"),
        ([[0.0, 1.0]], (L, W), {}, "logits: expected a tensor, got list"),
        (torch.zeros(2, 3), (L.numpy(), W), {}, "targets: expected a tensor, got ndarray"),
        (torch.zeros(2, 3), (None,), {}, "targets: expected a tensor, got NoneType"),
        (torch.zeros(2, 3), (L, W.tolist()), {}, "weights: expected a tensor, got list"),
        (torch.zeros(2, 3), (W, 1.0), {}, "weights: expected a tensor, got float"),
        (torch.zeros(2, 3).long(), (L, W), {}, "logits: expected a floating type, got torch.int64"),
        (torch.zeros(2, 3).cfloat(), (L, W), {}, "logits: expected a floating type"),
        (torch.zeros(2, 3), (L.bool(), W), {}, "targets: expected labels of an integer type or"),
        (torch.zeros(2, 3), (L, W), {"smoothing": "0.1"}, "smoothing: expected a share in"),
        (torch.zeros(2, 3), (L, W), {"smoothing": None}, "smoothing: expected a share in"),
    ],
)
def test_wrong_kinds(logits, targets, options, message):
    for kind in (loss, binary):
        with pytest.raises(TypeError, match=message):
            kind(logits, *targets, **options)


def test_wrong_kinds_for_lamix():
    logits = torch.zeros(2, 3)
    for arguments, message in [
        ((logits, logits.numpy(), L[:, 0]), "global_logits: expected a tensor, got ndarray"),
        ((None, logits, L[:, 0]), "local_logits: expected a tensor, got NoneType"),
        ((logits, logits, [0, 1]), "targets: expected a tensor, got list"),
    ]:
        with pytest.raises(TypeError, match=message):
            lamix_loss(*arguments)
    with pytest.raises(TypeError, match="beta: expected a share"):
        lamix_loss(logits, logits, L[:, 0], beta="0.5")
