"""The verbs on the CPU, for arrays that their callers have checked."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Iterator
from ctypes import c_int32
from math import prod

import numpy as np

from dali_msda.backends.checks import MAX_COUNT
from dali_msda.backends.cpu_arrays import aligned
from dali_msda.backends.cpu_library import (
    DTYPES,
    LAYOUTS,
    Blend,
    Draw,
    Fields,
    Saliency,
    Targets,
    library,
)
from dali_msda.backends.records import interpolations, weighed
from dali_msda.backends.shapes import AXES, in_three
from dali_msda.policy import has_trait

FAULT_BYTES = 256
NEXT_COPY = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: its multiples lie far apart


def isas() -> list[str]:
    """Instruction sets that this machine can run, the plainest first."""
    names = map(library().msda_isa_name, itertools.count())
    return [name.decode() for name in itertools.takewhile(bool, names)]


def address_of(array: np.ndarray | None) -> int | None:
    """Where the values of an array lie, for the C interface; None of None."""
    return None if array is None else array.ctypes.data


def check(plans: np.ndarray, samples: int, size: tuple[int, ...] | None) -> str | None:
    """What is wrong with the first bad record, None if all are good; ``size`` as in plan.check."""
    if plans.size >= MAX_COUNT:
        return f"plan: expected fewer than 2**31 records, got {plans.size}"
    text = ctypes.create_string_buffer(FAULT_BYTES)
    three = None if size is None else (c_int32 * 3)(*in_three(size))
    found = library().msda_check(
        address_of(plans), plans.size, samples, three, len(size or ()), text, FAULT_BYTES
    )
    return None if found < 0 else f"plan[{found}]: {text.value.decode()}"


def told_apart(ids: object) -> np.ndarray:
    """Identities of a batch in which copies of a sample differ, so that each has its own draws.

    Args:
        ids: Dataset index of each sample, ``(B,)``, integers below 2**64.

    Returns:
        uint64 ``(B,)``: the first copy in the batch keeps its identity; the n-th further one gets
        ``n * NEXT_COPY`` added, modulo ``2**64``.
    """
    ids = np.asarray(ids, np.uint64)
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.searchsorted(ordered, ordered)  # where each run of equal indices begins
    copies = np.empty_like(ids)
    copies[order] = np.arange(len(ids)) - starts
    return ids + copies * np.uint64(NEXT_COPY)


def draw(
    plans: np.ndarray,
    leaves: np.ndarray,
    *,
    shape: tuple[int, int, int],
    seed: int,
    step: int,
    rank: int,
    distinct: int,
    shares_lam: bool,
    ids: np.ndarray | None,
    lam: np.ndarray | None,
    peaks: np.ndarray | None = None,
) -> None:
    """Fills ``plans``, ``(B,)`` or ``(B, k)``; ``shape`` is (depth, height, width)."""
    sizes = (len(plans), *shape, distinct, len(leaves), interpolations(plans), shares_lam)
    arguments = Draw(seed, step, rank, *sizes, address_of(ids), address_of(lam), address_of(peaks))
    library().msda_draw(address_of(plans), address_of(leaves), ctypes.byref(arguments))


def mask(
    weights: np.ndarray, plans: np.ndarray, fields: np.ndarray | None = None, threads: int = 0
) -> None:
    """Fills ``weights``, float32 ``(*plans.shape, ..., W)``; ``fields`` as for :func:`blend`."""
    fields = field_masks(plans, threads) if fields is None else fields
    addresses = None if fields is None else pointers_to(fields)
    sizes = (plans.size, prod(weights.shape[plans.ndim : -1]), weights.shape[-1])
    library().msda_mask(
        address_of(weights), address_of(plans), address_of(addresses), *sizes, threads
    )


def order(plans: np.ndarray) -> np.ndarray:
    """The order in which :func:`blend` mixes a batch: the partner of a sample comes next."""
    made = np.empty(len(plans), np.int32)
    library().msda_order(address_of(made), address_of(plans), plans.size, interpolations(plans))
    return made


def pointers_to(batch: np.ndarray, axes: int = 1) -> np.ndarray:
    """Address of each sample of a batch, whose first ``axes`` axes count samples."""
    addresses = np.full(1, batch.ctypes.data, np.int64)
    for n, stride in zip(batch.shape[:axes], batch.strides, strict=False):
        addresses = np.add.outer(addresses, np.arange(n, dtype=np.int64) * stride).ravel()
    return addresses


def blend(
    outs: np.ndarray,
    images: np.ndarray,
    plans: np.ndarray,
    *,
    planar: bool = False,
    scale: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    **how: object,
) -> None:
    """Fills ``outs``; the arguments are those of :func:`blend_arguments`.

    If they are ``planar``, ``outs`` is ``(B, C, ..., W)`` and each channel of a sample of
    ``images`` is contiguous. Channels are then mixed one by one, as images of one channel.
    """
    if how.get("fields") is None:
        how["fields"] = field_masks(plans, how.get("threads", 0))
    if not planar:
        arguments = blend_arguments(outs, images, plans, scale=scale, shift=shift, **how)
        return library().msda_blend(ctypes.byref(arguments))
    for out, plane, given in planes(outs, images, plans.ndim, scale, shift):
        blend(out, plane, plans, **how | given)


def planes(
    outs: np.ndarray,
    images: np.ndarray,
    axes: int,
    scale: np.ndarray | None,
    shift: np.ndarray | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, object]]]:
    """Each channel of a planar batch as images of one channel: outputs, inputs, arguments of both.

    The channels of ``outs`` lie behind ``axes`` axes, those of ``images`` last.
    """
    for c in range(images.shape[-1]):
        one = slice(c, c + 1)
        factors = {"scale": scale, "shift": shift}
        given = {name: None if part is None else part[one] for name, part in factors.items()}
        plane = outs[(slice(None),) * axes + (c,)][..., None]
        yield plane, images[..., one], given | {"layout": "HWC"}


def blend_arguments(
    outs: np.ndarray,
    images: np.ndarray,
    plans: np.ndarray,
    *,
    out_dtype: str,
    layout: str,
    scale: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    fields: np.ndarray | None = None,
    mirror: np.ndarray | None = None,
    pairs: np.ndarray | None = None,
    threads: int = 0,
    isa: int = -1,
) -> Blend:
    """What a blend of ``images``, ``(B, ..., W, C)``, each sample contiguous, into ``outs`` takes.

    The shape of ``plans`` leads that of ``outs``. ``fields`` are the :func:`field_masks`,
    None where no record has one. ``isa`` picks an instruction set of :func:`isas`, for
    tests and benchmarks: the bits are the same. The arrays must outlive the call.
    """
    samples, *axes, width, channels = images.shape
    lists = {
        "outs": pointers_to(outs, plans.ndim),
        "ins": pointers_to(images),
        "fields": None if fields is None else pointers_to(fields),
        "order": order(plans),
    }
    arguments = Blend(
        **{name: address_of(made) for name, made in lists.items()},
        plans=address_of(plans),
        mirror=address_of(mirror),
        scale=address_of(scale),
        shift=address_of(shift),
        batch=plans.size,
        samples=samples,
        height=prod(axes),
        width=width,
        channels=channels,
        in_dtype=DTYPES[images.dtype.name],
        out_dtype=DTYPES[out_dtype],
        out_layout=LAYOUTS[layout],
        interpolations=interpolations(plans),
        pairs=address_of(pairs),
        threads=threads,
        isa=isa,
    )
    arguments.keep = lists
    return arguments


def field_masks(plans: np.ndarray, threads: int = 0) -> np.ndarray | None:
    """Masks of the records that have a field (FMix), a row for each record; None where none has.

    A row holds bits, or floats where a mask is softened. The calling thread keeps the memory for
    its next call.
    """
    if not has_trait(plans, "needs_field").any():
        return None
    first = plans.reshape(-1)[0]
    pixels = prod(int(first[axis]) for axis in AXES)
    words = pixels if plans["soft"].any() else -(-pixels // 32)
    if len(getattr(_kept, "words", ())) < plans.size * words:
        _kept.words = aligned((plans.size * words,), "uint32")
    rows = _kept.words[: plans.size * words].reshape(plans.size, words)
    fields(rows, plans, threads=threads)
    return rows


_kept = threading.local()


def fields(rows: np.ndarray, plans: np.ndarray, *, threads: int = 0, isa: int = -1) -> None:
    """Fills ``rows``, uint32 ``(plans.size, words)``, for the FMix records among ``plans``.

    A row takes one bit per pixel, or one float where the record's ``soft`` is not 0.
    """
    arguments = fields_arguments(rows, plans, threads=threads, isa=isa)
    library().msda_fields(ctypes.byref(arguments))


def fields_arguments(
    rows: np.ndarray, plans: np.ndarray, *, threads: int = 0, isa: int = -1
) -> Fields:
    """What :func:`fields` hands to the kernels."""
    addresses = pointers_to(rows)
    sizes = (plans.size, interpolations(plans))
    arguments = Fields(address_of(addresses), address_of(plans), *sizes, threads, isa)
    arguments.keep = addresses
    return arguments


def field_block_bytes(plans: np.ndarray) -> int:
    """Bytes of shared memory that a block of GPU threads needs for the field of ``plans[0]``."""
    return library().msda_field_block_bytes(address_of(plans))


def saliency(peaks: np.ndarray, images: np.ndarray, **how: object) -> None:
    """Fills ``peaks``, int32 ``(B, 2)``; the arguments are those of :func:`saliency_arguments`."""
    library().msda_saliency(ctypes.byref(saliency_arguments(peaks, images, **how)))


def saliency_arguments(
    peaks: np.ndarray,
    images: np.ndarray,
    *,
    maps: np.ndarray | None = None,
    mirror: np.ndarray | None = None,
    threads: int = 0,
    isa: int = -1,
) -> Saliency:
    """What :func:`saliency` hands to the kernels; ``maps`` is uint8 ``(B, H, W)`` or None."""
    ins, outs = pointers_to(images), None if maps is None else pointers_to(maps)
    arguments = Saliency(
        address_of(peaks),
        address_of(outs),
        address_of(ins),
        address_of(mirror),
        *images.shape,
        DTYPES[images.dtype.name],
        threads,
        isa,
    )
    arguments.keep = (ins, outs)
    return arguments


def targets_dense(
    out: np.ndarray,
    plans: np.ndarray,
    labels: np.ndarray,
    smoothing: float,
    own: np.ndarray | None = None,
) -> None:
    """Fills ``out``, float32 ``(*plans.shape, C)``; labels: int64 ``(N,)``, float32 ``(N, C)``.

    ``own``, float32 ``plans.shape``, are own label weights in place of the records'.
    """
    plans = plans if own is None else weighed(plans, own)
    rows = labels if labels.ndim == 2 else None
    indices = labels if labels.ndim == 1 else None
    arguments = Targets(
        address_of(plans),
        address_of(indices),
        address_of(rows),
        plans.size,
        out.shape[-1],
        smoothing,
    )
    library().msda_targets_dense(address_of(out), ctypes.byref(arguments))


def targets_compact(
    out_labels: np.ndarray,
    out_weights: np.ndarray,
    plans: np.ndarray,
    labels: np.ndarray,
    own: np.ndarray | None = None,
) -> None:
    """Fills ``(*plans.shape, 4)``: int64 class indices and float32 weights."""
    plans = plans if own is None else weighed(plans, own)
    arguments = Targets(address_of(plans), address_of(labels), None, plans.size, 0, 0.0)
    library().msda_targets_compact(
        address_of(out_labels), address_of(out_weights), ctypes.byref(arguments)
    )
