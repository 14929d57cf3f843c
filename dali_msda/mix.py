"""A batch mixed in one call: drawn, blended and labelled."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from dali_msda.backends import backend_of
from dali_msda.ops import SHAPES, blend, targets
from dali_msda.plan import draw
from dali_msda.policy import Policy, expect_loader_policy
from dali_msda.saliency import saliency
from dali_msda.types import Array, DType, Layout, PerChannel


def mix(
    images: Array,
    labels: Any,
    policy: Policy,
    *,
    seed: int,
    step: int,
    rank: int = 0,
    ids: ArrayLike | None = None,
    lam: ArrayLike | None = None,
    distinct: int | None = None,
    num_classes: int | None = None,
    smoothing: float = 0.0,
    compact: bool = False,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    mirror: ArrayLike | None = None,
    dtype: DType | None = None,
    layout: Layout = "HWC",
    out: object = None,
    threads: int = 0,
) -> tuple[Array, Any]:
    """Draw a plan and apply it to images and labels: :func:`draw`, :func:`blend`, :func:`targets`.

    On a GPU the caller does not wait, except with :class:`SaliencyMix`: plans are drawn on the CPU,
    which must know the peaks of the images.

    Args:
        images: uint8 or float32 ``(B, H, W, C)``; ``(B, L, C)`` or ``(B, D, H, W, C)`` for policies
            of Mixup and FMix.
        labels: Class indices ``(B,)`` or soft labels ``(B, C)``.
        policy: What to draw. For :class:`SaliencyMix` the images must be such as :func:`saliency`
            takes: one channel or three, floats in 0 to 255.
        seed: As :func:`draw` takes it; so are the next five.
        step: Number of the batch.
        rank: Number of the process.
        ids: Dataset index of each sample.
        lam: Nominal lambda instead of a drawn one.
        distinct: How many samples are not padding.
        num_classes: As :func:`targets` takes it; so are the next two.
        smoothing: Share of the mass that is spread over all classes.
        compact: Return labels and weights instead of dense rows.
        mean: As :func:`blend` takes it; so are all that follow.
        std: Divided by.
        mirror: One flag per input sample.
        dtype: Type of the mixed images.
        layout: Layout of the mixed images.
        out: Memory for the mixed images.
        threads: Threads to use on the CPU.

    Returns:
        The mixed images and their targets; from :class:`MultiMix` with an axis of interpolations.

    Raises:
        TypeError, ValueError: As the three functions do.
    """
    shape: tuple[int, ...] = getattr(images, "shape", ())
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"images: expected {SHAPES}, got {tuple(shape)}")
    batch = shape[0]
    if not hasattr(labels, "__len__") or not getattr(labels, "ndim", 1):
        raise TypeError(f"labels: expected {batch}, one per image, got {labels!r}")
    if len(labels) != batch:
        raise ValueError(f"labels: expected {batch}, one per image, got {len(labels)}")
    peaks: Any = None
    expect_loader_policy(policy)
    if policy.needs_peaks:
        peaks = saliency(images, mirror=mirror, threads=threads)
        peaks = backend_of(peaks).arrays.on_cpu(peaks)
    plan = draw(
        policy,
        batch,
        shape=tuple(shape[1:-1]),
        seed=seed,
        step=step,
        rank=rank,
        ids=ids,
        lam=lam,
        distinct=distinct,
        peaks=peaks,
    )
    mixed = blend(
        images,
        plan,
        mean=mean,
        std=std,
        mirror=mirror,
        dtype=dtype,
        layout=layout,
        out=out,
        threads=threads,
    )
    return mixed, targets(
        labels, plan, num_classes=num_classes, smoothing=smoothing, compact=compact
    )
