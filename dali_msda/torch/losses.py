"""Losses of PyTorch for soft labels, given as dense rows or as labels with weights."""

import torch
from torch import Tensor
from torch.nn import functional

from dali_msda.policy import number

__all__ = ["lamix_loss", "soft_target_binary_cross_entropy", "soft_target_cross_entropy"]


def soft_target_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy with soft labels: dense rows, or labels with weights.

    With ``p = softmax(logits)`` and a row ``t`` it is ``-sum(t * log p)``. Since it is linear in
    ``t``, the row need not exist: labels ``a, b`` with weights ``w, 1 - w`` give
    ``-(w * log p[a] + (1 - w) * log p[b])``, the same number. Smoothing, which replaces ``t`` by
    ``(1 - s) * t + s / C``, adds the mean of ``log p`` over the ``C`` classes; so do not smooth the
    targets as well.

    Args:
        logits: ``(B, C)``, any floating type; computed in float32, or in float64 if they are.
        targets: Rows of floats ``(B, C)``; or integer labels, ``(B, n)`` with weights, ``(B,)``
            without. A label may come twice in a row: its weights add up.
        weights: ``(B, n)``, or nothing.
        smoothing: Share ``s`` of the label that is spread over all classes, in [0, 1].
        reduction: "mean" or "sum" over the batch, or "none" for ``(B,)``.

    Returns:
        A scalar, or ``(B,)``.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind, shapes do not fit, a number is
            out of range, or, on the CPU, a label is. On a GPU the check would wait for it; there,
            and in what ``torch.compile`` made, PyTorch stops the kernel instead.

    Reference:
        The identity: Zhang et al., mixup, ICLR 2018, arXiv:1710.09412, as in the authors' code;
        smoothing: Szegedy et al., arXiv:1512.00567, section 7.
    """
    expect_loss_arguments(logits, targets, weights, smoothing)
    if targets.is_floating_point() or torch.compiler.is_compiling() or _inside_torch_func():
        return _cross_entropy(_log_softmax(logits), targets, weights, smoothing, reduction)
    if weights is None:
        targets, weights = targets[:, None], torch.ones_like(targets[:, None])
    return _CrossEntropyOfLabels.apply(logits, targets, weights, smoothing, reduction)


def soft_target_binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with soft labels, each class a question of its own, mean over classes.

    It serves multi-label data, whose multi-hot rows are mixed as they are, and single labels that
    are trained class by class. With a row ``t`` it is ``mean(log(1 + exp(x)) - t * x)`` over the
    ``C`` classes; labels ``a, b`` with weights ``w, 1 - w`` stand for a row that is ``w`` at ``a``,
    ``1 - w`` at ``b`` and 0 elsewhere (their sum where they are equal), and the row need not exist.
    Smoothing replaces ``t`` by ``(1 - s) * t + s / 2``, which is what it is for two classes; so do
    not smooth the targets as well.

    Args:
        logits: ``(B, C)``, any floating type; computed in float32, or in float64 if they are.
        targets: Rows of floats in [0, 1], ``(B, C)``; or integer labels, ``(B, n)`` with weights,
            ``(B,)`` without.
        weights: ``(B, n)``, or nothing.
        smoothing: Share ``s`` of each answer that is spread over yes and no, in [0, 1].
        reduction: "mean" or "sum" over the batch, or "none" for ``(B,)``.

    Returns:
        A scalar, or ``(B,)``.

    Raises:
        TypeError, ValueError: As :func:`soft_target_cross_entropy` does.

    Reference:
        For mixed single labels: Wightman et al., ResNet strikes back, arXiv:2110.00476, section
        3.2; smoothing: Szegedy et al., arXiv:1512.00567, section 7, of two classes.
    """
    expect_loss_arguments(logits, targets, weights, smoothing)
    x = in_full_precision(logits)
    expected = (1 - smoothing) * weighted_sum(x, targets, weights)
    if smoothing:
        expected = expected + smoothing / 2 * x.sum(1)
    # Beyond 40, log(1 + exp(x)) is x to the last bit of float64.
    loss = (functional.softplus(x, threshold=40).sum(1) - expected) / x.shape[1]
    return reduced(loss, reduction)


def lamix_loss(
    local_logits: Tensor,
    global_logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    beta: float = 0.5,
    smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Loss of LaMix: cross-entropy with a label that the model itself draws part of.

    A second linear head on the same features gives the global logits ``g``, and from them the
    global label ``p = softmax(sigmoid(g))``. With the mixed label ``t`` of the loader, which for
    originals is their own, and ``q = softmax(local_logits)`` of the classifier::

        target = beta * t + (1 - beta) * p
        loss   = -sum(target * log q)

    The gradient flows through ``p`` as well: the second head learns from nothing else. (The paper
    does not say so. It also prints the loss without its sign.) Because of the sigmoid, ``p`` stays
    within a factor of e of uniform. Only the classifier is used after training.

    Args:
        local_logits: ``(B, C)`` of the classifier, any floating type; computed in float32, or in
            float64 if they are.
        global_logits: ``(B, C)`` of the second head, likewise.
        targets: As in :func:`soft_target_cross_entropy`; so is what follows but ``beta``.
        weights: Of labels, ``(B, n)``, or nothing.
        beta: Share of the mixed label, in [0, 1]; 1 leaves the global label out.
        smoothing: Share of the mixed label that is spread over all classes, in [0, 1].
        reduction: "mean" or "sum" over the batch, or "none" for ``(B,)``.

    Returns:
        A scalar, or ``(B,)``.

    Raises:
        TypeError, ValueError: As :func:`soft_target_cross_entropy` does; or if the two logits
            differ in shape or ``beta`` is out of range.

    Reference:
        Bypassing the Random Input Mixing in Mixup, ICLR 2021 submission, eqs. 9 to 11.
    """
    number("beta", beta, 0.0, 1.0, "a share in [0, 1]")
    _check_tensors(local_logits=local_logits, global_logits=global_logits)
    if global_logits.shape != local_logits.shape:
        raise ValueError(
            f"global_logits: expected the shape of local_logits, {tuple(local_logits.shape)}, got "
            f"{tuple(global_logits.shape)}"
        )
    options = dict(smoothing=smoothing, reduction="none")
    mixed = soft_target_cross_entropy(local_logits, targets, weights, **options)
    label = in_full_precision(global_logits).sigmoid().softmax(1)
    shared = soft_target_cross_entropy(local_logits, label, reduction="none")
    return reduced(beta * mixed + (1 - beta) * shared, reduction)


class _CrossEntropyOfLabels(torch.autograd.Function):
    """Loss whose gradient is made in one tensor: ``p``, scaled, less a few entries.

    Autograd alone makes a tensor of zeros, scatters into it, and reads it again for log_softmax.
    (``setup_context``, which torch.func wants, would cost every call about what this saves.)
    """

    @staticmethod
    def forward(ctx, logits, labels, weights, smoothing, reduction):
        x = in_full_precision(logits)
        p, top = x.softmax(1), x.amax(1, keepdim=True)
        log_top = p.amax(1, keepdim=True).log_()  # log p is x - top + log_top
        loss = (weights * (top - _at_labels(x, labels)).sub_(log_top)).sum(1)
        if smoothing:
            all_log_p = (x - top).sum(1) + x.shape[1] * log_top[:, 0]
            loss = (1 - smoothing) * loss - smoothing / x.shape[1] * all_log_p
        loss = reduced(loss, reduction)
        ctx.save_for_backward(logits, labels, weights, p if ctx.needs_input_grad[0] else None)
        ctx.save_for_forward(logits, labels, weights)
        ctx.options = smoothing, reduction
        return loss

    @staticmethod
    def backward(ctx, grad):
        logits, labels, weights, p = ctx.saved_tensors
        smoothing, reduction = ctx.options
        labels = labels.long()
        if reduction != "sum":
            grad = grad[:, None] if reduction == "none" else grad / len(logits)
        logit_gradient = weight_gradient = None
        if torch.is_grad_enabled() or ctx.needs_input_grad[2]:  # p is a constant to autograd
            log_p = _log_softmax(logits)
            p, weight_gradient = log_p.exp(), (smoothing - 1) * grad * log_p.gather(1, labels)
        if ctx.needs_input_grad[0]:
            each = weights * grad
            mass = each.sum(1, keepdim=True)
            if smoothing:
                each, mass = (1 - smoothing) * each, (1 - smoothing) * mass + smoothing * grad
            logit_gradient = p * mass
            if smoothing:
                logit_gradient -= smoothing / p.shape[1] * grad
            logit_gradient.scatter_add_(1, labels, -each.to(logit_gradient.dtype))
        return logit_gradient, None, weight_gradient, None, None

    @staticmethod
    def jvp(ctx, logit_tangent, _labels, weight_tangent, *_options):
        logits, labels, weights = ctx.saved_tensors
        smoothing, reduction = ctx.options
        log_p = _log_softmax(logits)
        logit_tangent = logit_tangent - (log_p.exp() * logit_tangent).sum(1, keepdim=True)
        change = _cross_entropy(logit_tangent, labels, weights, smoothing, "none")
        change = change - (1 - smoothing) * weighted_sum(log_p, labels, weight_tangent)
        return reduced(change, reduction)


def _cross_entropy(
    log_p: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float, reduction: str
) -> Tensor:
    """The loss, in operations that autograd, torch.func and torch.compile all know."""
    loss = -weighted_sum(log_p, targets, weights)
    if smoothing:
        # A mean would divide its gradient entry by entry; this divides one number.
        loss = (1 - smoothing) * loss - smoothing / log_p.shape[1] * log_p.sum(1)
    return reduced(loss, reduction)


def _inside_torch_func() -> bool:
    """Whether torch.func is at work; ``apply`` asks this too, and refuses without setup_context."""
    return torch._C._are_functorch_transforms_active()


def reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")
    return loss if reduction == "none" else getattr(loss, reduction)()


def in_full_precision(logits: Tensor) -> Tensor:
    """The logits in float32, or in float64 if they are."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def _log_softmax(logits: Tensor) -> Tensor:
    return functional.log_softmax(in_full_precision(logits), dim=1)


def expect_loss_arguments(
    logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
) -> None:
    _check_tensors(logits=logits, targets=targets)
    if not logits.is_floating_point():
        raise TypeError(f"logits: expected a floating type, got {logits.dtype}")
    if logits.ndim != 2:
        raise ValueError(f"logits: expected shape (B, C), got {tuple(logits.shape)}")
    number("smoothing", smoothing, 0.0, 1.0, "a share in [0, 1]")
    if weights is not None:
        _check_tensors(weights=weights)
    if targets.is_floating_point():
        _check_rows(logits, targets, weights)
    else:
        _check_labels(logits, targets, weights)


def _check_tensors(**tensors: object) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name}: expected a tensor, got {type(tensor).__name__}; torch.as_tensor() makes "
                "one"
            )


def _check_rows(logits: Tensor, rows: Tensor, weights: Tensor | None) -> None:
    if weights is not None:
        raise ValueError("weights: expected none with rows of floats, got a tensor")
    if rows.shape != logits.shape:
        raise ValueError(
            f"targets: expected the shape of logits, {tuple(logits.shape)}, got {tuple(rows.shape)}"
        )


def _check_labels(logits: Tensor, labels: Tensor, weights: Tensor | None) -> None:
    batch = len(logits)
    if labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"targets: expected labels of an integer type or rows of floats, got {labels.dtype}"
        )
    if weights is None and labels.shape != (batch,):
        raise ValueError(
            f"targets: expected labels ({batch},), or ({batch}, n) and weights, "
            f"got {tuple(labels.shape)} and none"
        )
    if weights is not None and not (labels.ndim == 2 and labels.shape == weights.shape):
        raise ValueError(
            f"weights: expected the shape of the labels, ({batch}, n), got {tuple(weights.shape)} "
            f"for {tuple(labels.shape)}"
        )
    if len(labels) != batch:
        raise ValueError(f"targets: expected {batch} rows, as in logits, got {len(labels)}")


def weighted_sum(values: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of target times value in each row; of labels, only their values are read."""
    if targets.is_floating_point():
        return (targets * values).sum(1)
    if weights is None:
        return _at_labels(values, targets[:, None])[:, 0]
    return (weights * _at_labels(values, targets)).sum(1)


def _at_labels(values: Tensor, labels: Tensor) -> Tensor:
    """The values at the labels, ``(B, n)``; on the CPU, PyTorch checks every label."""
    try:
        return values.gather(1, labels.long())
    except RuntimeError:
        wrong = labels[(labels < 0) | (labels >= values.shape[1])]
        if not len(wrong):
            raise
        raise ValueError(
            f"targets: expected labels in [0, {values.shape[1]}), got {int(wrong[0])}"
        ) from None
