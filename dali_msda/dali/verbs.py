"""The verbs :func:`plan`, :func:`blend` and :func:`mix`, over the operators ``fn.msda.*``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import do_not_convert

from dali_msda.backends.cpu_arrays import scale_and_shift
from dali_msda.dali.plugin import DYNAMIC
from dali_msda.policy import Policy, expect_loader_policy

# For pipelines with conditions DALI rewrites the functions that they call, and with them whatever
# those call, in ways that the policies' code does not survive. The verbs need no rewriting: what
# they do never depends on the content of a batch. Hence ``do_not_convert``.

DTYPES = {"uint8": types.UINT8, "float32": types.FLOAT, "float16": types.FLOAT16}


@do_not_convert
def plan(
    images: Any,
    policy: Policy,
    *,
    shard_id: int = 0,
    seed: int = -1,
    rng: Any = None,
    lam: Any = None,
    padding: str = "detect",
    peaks: Any = None,
    mirror: Any = None,
) -> Any:
    """Draws one plan per sample, by ``fn.msda.plan`` with a policy.

    Args:
        images: Samples ``(H, W, C)``, ``(C, H, W)`` or ``(H, W)``, all of one shape; a ``DataNode``
            in a pipeline, a ``Batch`` in dynamic mode. They may lie on the CPU or on a GPU; plans
            are drawn on the CPU. Only size and source info are read. Policies of Mixup and FMix
            also take volumes and video (layouts ``"DHWC"``, ``"FHWC"``, ``"CDHW"``, ``"CFHW"``) and
            sequences (``"WC"``, ``"CW"``; sequences need their layout, because two axes without one
            are taken for ``"HW"``).
        policy: What to draw, for example ``CutMix()``.
        shard_id: Rank of the process. It enters every draw, so that ranks with one seed never
            repeat each other's decisions.
        seed: Seed of the draws in a pipeline; -1 derives one from the pipeline's seed, for each
            call its own. Two calls with one seed draw alike.
        rng: Dynamic mode only: ``ndd.random.RNG``, in place of a seed; the default is DALI's.
            Nothing counts batches there, so an ``Alternate`` draws its turn for each batch.
        lam: Nominal own weight in [0, 1] instead of the drawn one: a number, or a batch of them.
        padding: ``"detect"`` leaves the copies unmixed that ``pad_last_batch`` puts at the end of
            a batch, and says so once; ``"ignore"`` mixes them like any other sample. In dynamic
            mode nothing is found, since decoded samples have no source info there: read without
            ``pad_last_batch``.
        peaks: y and x of each sample's most salient pixel, int32 ``(2,)``, which
            :class:`dali_msda.SaliencyMix` needs; without them ``fn.msda.saliency(images)`` finds
            them, and ``images`` must be such as it takes: ``(H, W, C)``, uint8 or float, not
            normalised. On a GPU they are found there and come to the CPU, so that the plan waits
            for them.
        mirror: The flags that :func:`blend` will get. They are needed where peaks are to be found:
            mirrored samples have mirrored peaks.

    Returns:
        uint8 ``(160,)`` per sample, or ``(k, 160)`` from :class:`dali_msda.MultiMix`.
        ``np.asarray(...).view(PLAN_DTYPE)`` reads the records.

    Raises:
        TypeError: If ``images`` is no DALI batch, or ``rng`` or ``seed`` does not fit the mode.
    """
    arguments = {
        **_policy_arguments(policy),
        "shard_id": shard_id,
        "lam": lam,
        "padding": padding,
        **_randomness(images, seed, rng),
    }
    operators = _operators(images)
    if peaks is None and policy.needs_peaks:
        peaks = operators.saliency(images, **_given({"mirror": mirror}))
        if _device(images) != "cpu":
            peaks = peaks.cpu()  # where plans are drawn
    return operators.plan(images, device="cpu", **_given({**arguments, "peaks": peaks}))


@do_not_convert
def blend(
    images: Any,
    plans: Any,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    mirror: Any = None,
    dtype: str | Any = "float32",
    layout: str = "CHW",
) -> Any:
    """Mixes and normalises a batch as its plans say, by ``fn.msda.blend``.

    Args:
        images: uint8 or float32 ``(H, W, C)``, all of one shape; a ``DataNode`` in a pipeline, a
            ``Batch`` in dynamic mode. Volumes ``"DHWC"``, video ``"FHWC"`` and sequences ``"WC"``
            likewise. They are mixed where they are, on the CPU or on a GPU, to the same bits.
        plans: One per sample, from :func:`plan`, on the CPU.
        mean: Mean in units of the input's pixels (0 to 255 for uint8): one, or one per channel.
        std: Standard deviation in the same units: one, or one per channel.
        mirror: 1 to flip a sample left to right, 0 not to: a number, or a batch of them such as
            ``fn.random.coin_flip()``.
        dtype: ``"float32"``, ``"float16"``, or ``"uint8"`` for uint8 images that are not
            normalised; or the DALI type.
        layout: ``"CHW"`` or ``"HWC"``, of the output: channels first or last, for any number of
            axes. ``"CHW"`` makes ``"CDHW"``, ``"CFHW"`` or ``"CW"`` of the others.

    Returns:
        ``(C, H, W)`` or ``(H, W, C)`` per sample; of volumes, video and sequences likewise. Plans
        ``(k, 160)`` put their axis in front: ``(k, C, H, W)`` or ``(k, H, W, C)``.

    Raises:
        TypeError: If ``images`` is no DALI batch.
        ValueError: If ``dtype`` is a type that DALI does not have, or ``mean`` and ``std`` do not
            fit each other.
    """
    operators = _operators(images)
    arguments = {"mirror": mirror, "dtype": _dali_dtype(dtype), "output_layout": layout}
    return operators.blend(images, plans, **_normalisation(mean, std), **_given(arguments))


@do_not_convert
def mix(
    images: Any,
    labels: Any,
    policy: Policy,
    *,
    num_classes: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    dtype: str | Any = "float32",
    layout: str = "CHW",
    mirror: Any = None,
    smoothing: float = 0.0,
    compact: bool = False,
    shard_id: int = 0,
    seed: int = -1,
    rng: Any = None,
    lam: Any = None,
    padding: str = "detect",
) -> tuple[Any, ...]:
    """Mixes a batch and its labels, and normalises it: plan, blend and targets in one call.

    It replaces ``fn.crop_mirror_normalize`` at the end of a pipeline. Batch ``n`` of a pipeline
    equals, to the bit, what :func:`dali_msda.mix` gives for ``seed``, ``step=n`` and
    ``rank=shard_id``.

    Args:
        images: As :func:`blend` takes them; sequences need their layout, see :func:`plan`.
        labels: Class indices of any integer type, ``(1,)`` or scalars, or float32 rows
            ``(num_classes,)`` of soft labels. They stay on the CPU, also beside images on a GPU;
            the targets come out where the images are.
        policy: What to draw, for example ``Choice([CutMix(), Mixup(alpha=0.2)])``.
        num_classes: Number of classes; needed for class indices unless ``compact``.
        mean: See :func:`blend`.
        std: See :func:`blend`.
        dtype: See :func:`blend`.
        layout: See :func:`blend`.
        mirror: See :func:`blend`.
        smoothing: Share of the label mass that is spread evenly over all classes, in [0, 1).
        compact: Whether to return class indices and weights instead of rows.
        shard_id: See :func:`plan`.
        seed: See :func:`plan`.
        rng: See :func:`plan`.
        lam: See :func:`plan`.
        padding: See :func:`plan`.

    Returns:
        ``images``, as :func:`blend` returns them, and ``targets``, float32 ``(num_classes,)``.
        With ``compact``: ``images``, class indices, int64 ``(n,)``, and their weights, float32
        ``(n,)``, where ``n`` is the greatest number of sources in the policy.
        :class:`dali_msda.MultiMix` puts an axis of ``k`` in front of each of them.

    Raises:
        TypeError: If ``images`` is no DALI batch, or ``rng`` or ``seed`` does not fit the mode.
        ValueError: As :func:`blend` does; or if the labels are on a GPU.
    """
    _expect_labels_on_cpu(labels)
    plans = plan(
        images,
        policy,
        shard_id=shard_id,
        seed=seed,
        rng=rng,
        lam=lam,
        padding=padding,
        mirror=mirror,
    )
    mixed = blend(images, plans, mean=mean, std=std, mirror=mirror, dtype=dtype, layout=layout)
    arguments = {"num_classes": num_classes, "smoothing": smoothing, "compact": compact}
    if compact:
        arguments["sources"] = policy.max_sources
    targets = _operators(images).targets(labels, plans, device=_device(images), **_given(arguments))
    return (mixed, *targets) if compact else (mixed, targets)


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that were given: DALI has its own defaults for the others."""
    return {name: value for name, value in arguments.items() if value is not None}


def _policy_arguments(policy: Policy) -> dict[str, Any]:
    """A policy as arguments of ``fn.msda.plan``.

    DALI carries reals as float32, which would draw other numbers: the memory of the records goes
    over as integers.
    """
    expect_loader_policy(policy)
    arguments = {"policy": policy.leaves().view(np.int32).tolist()}
    if policy.interpolations is not None:
        arguments["interpolations"] = policy.interpolations
        arguments["share_lam"] = policy.shares_lam
    return arguments


def _normalisation(mean: Any, std: Any) -> dict[str, list]:
    """Mean and std as the kernels take them: a scale and a shift of each channel."""
    channels = max(np.size(value) for value in (mean, std))
    scale, shift = scale_and_shift(mean, std, channels)
    return {} if scale is None else {"scale": scale.tolist(), "shift": shift.tolist()}


def _is_dynamic(images: Any) -> bool:
    dynamic = sys.modules.get(DYNAMIC)  # a batch of it exists only if it was imported
    return dynamic is not None and isinstance(images, dynamic.Batch | dynamic.Tensor)


def _operators(images: Any) -> Any:
    """The module of functions for the mode that ``images`` belong to."""
    if _is_dynamic(images):
        return sys.modules[DYNAMIC].msda
    if isinstance(images, DataNode):
        return fn.msda
    raise TypeError(
        "images: expected a DataNode (in a pipeline) or a Batch (in dynamic mode), got "
        f"{type(images).__name__}; for arrays, use dali_msda.mix"
    )


def _randomness(images: Any, seed: int, rng: Any) -> dict[str, Any]:
    """The seed of a pipeline, or the generator of dynamic mode."""
    if not _is_dynamic(images):
        if rng is not None:
            raise TypeError(f"rng: expected None in a pipeline, got {rng!r}; give seed")
        return {} if seed == -1 else {"seed": seed}  # DALI would take -1 itself for a seed
    if seed != -1:
        raise TypeError(
            f"seed: expected -1 in dynamic mode, got {seed}; give rng=ndd.random.RNG({seed})"
        )
    return {"rng": rng}


def _device(batch: Any) -> str:
    """``"cpu"`` or ``"gpu"``."""
    device = getattr(batch, "device", "cpu")  # DALI decides where constants lie
    return getattr(device, "device_type", device)


def _expect_labels_on_cpu(labels: Any) -> None:
    if _device(labels) != "cpu":
        raise ValueError(
            "labels: expected a batch on the CPU, where plans and targets are worked out, got one "
            "on a GPU; give the reader's labels as they are, or labels.cpu()"
        )


def _dali_dtype(dtype: str | Any) -> Any:
    if not isinstance(dtype, str):
        return dtype
    if dtype == "bfloat16":
        raise ValueError(
            "dtype: expected 'float32', 'float16' or 'uint8', got 'bfloat16', which DALI does not "
            "have; cast outside the pipeline"
        )
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected 'float32', 'float16' or 'uint8', got {dtype!r}")
    return DTYPES[dtype]
