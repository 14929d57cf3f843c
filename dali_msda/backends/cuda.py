"""The verbs on a GPU: kernels/cuda/host/api.h through ctypes, on a caller's stream.

Callers have checked the arguments. The functions are those of :mod:`dali_msda.backends.cpu`, for
arrays of :mod:`dali_msda.backends.cuda_arrays`; they start work on the current stream and do not
wait for it. ``threads`` is for the CPU and means nothing here.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_int64, c_void_p
from math import prod

import numpy as np

from dali_msda.backends import cpu, cpu_library, nvrtc
from dali_msda.backends.cuda_arrays import GpuArray, current_stream

FAILED = 2  # an MsdaStatus

Call = cpu_library.structure(
    "MsdaGpuCall",
    {"device": c_int32, "count": c_int32, "stream": c_void_p, "others": c_void_p}
    | {"text": c_char * 16384},
)
_SIGNATURES = {  # after the call's own structure
    "msda_gpu_of": [c_void_p],
    "msda_gpu_blend": [POINTER(cpu.Blend), c_void_p, c_int32, c_int64, c_int64],
    "msda_gpu_mask": [c_void_p, c_void_p, *[c_int32] * 3],
    "msda_gpu_fields": [POINTER(cpu.Fields)],
    "msda_gpu_targets": [*[c_void_p] * 3, POINTER(cpu.Targets), c_void_p, c_char_p, c_void_p],
    "msda_gpu_saliency": [POINTER(cpu.Saliency), c_int32, c_void_p],
    "msda_gpu_puzzle": [POINTER(cpu_library.Puzzle)],
    "msda_gpu_puzzle_blend": [POINTER(cpu.Blend), c_void_p, c_int32, c_int32],
}


@functools.cache
def library() -> ctypes.CDLL:
    """The CPU backend's library, which holds the GPU's host too."""
    return opened(cpu.library())


def opened(lib: ctypes.CDLL) -> ctypes.CDLL:
    """A library with the GPU's host, with its signatures and with what compiles the kernels."""
    for name, arguments in _SIGNATURES.items():
        function = cpu_library.declare(lib, name, [POINTER(Call), *arguments], c_int32)
        function.errcheck = _expect_done
    nvrtc.offer(lib)
    return lib


def _expect_done(status: int, _: object, arguments: tuple) -> None:
    """Raise what a call says."""
    if status == FAILED:
        raise RuntimeError(arguments[0]._obj.text.decode(errors="replace"))
    cpu_library.expect_done(status)


def call(name: str, arrays: dict[str, object], *arguments: object) -> None:
    """Calls the library on the GPU where the arrays lie that have one, each with its name.

    The stream is that of the first array's library. If other arrays have other streams, ours first
    waits (on the GPU) for the work under way there, and later work there waits for ours.

    Raises:
        ValueError: If the arrays lie on several GPUs.
        RuntimeError: If the driver, the GPU or the compiler fails.
    """
    there = {name: array for name, array in arrays.items() if isinstance(array, GpuArray)}
    places = {name: _gpu_of(array) for name, array in there.items()}
    numbers = {*places.values()} - {None}
    if len(numbers) > 1:
        got = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise ValueError(f"{next(iter(there))}: expected all arrays on one GPU, got {got}")
    named = dict.fromkeys(current_stream(array) for array in there.values())
    stream, *others = [one for one in named if one is not None] or [0]
    others = (c_void_p * len(others))(*others)
    call = Call(max(numbers, default=0), len(others), stream, ctypes.addressof(others))
    getattr(library(), name)(byref(call), *arguments)


def _gpu_of(array: GpuArray) -> int | None:
    """Number of an array's GPU; None if it is empty and does not tell."""
    if array.gpu is not None or not array.ctypes.data:
        return array.gpu
    call = Call()
    library().msda_gpu_of(byref(call), array.ctypes.data)
    return call.device


def _sides(flags: np.ndarray | GpuArray | None) -> tuple[np.ndarray | None, int | None]:
    """Flags on the CPU, or the address of flags on the GPU."""
    return (None, flags.ctypes.data) if isinstance(flags, GpuArray) else (flags, None)


def blend(
    outs: GpuArray,
    images: GpuArray,
    plans: np.ndarray,
    *,
    planar: bool = False,
    mirror: np.ndarray | GpuArray | None = None,
    **how: object,
) -> None:
    """Fills ``outs`` from ``images``, ``(B, ..., W, C)``, as the CPU's ``blend`` does.

    Each channel of ``planar`` images is a launch. ``mirror`` may lie on the GPU or on the CPU. The
    masks of FMix are made on the way, unless they are given as ``fields``, as benchmarks do.

    Raises:
        ValueError: If there are both ``pairs`` and ``mirror``.
    """
    if how.get("pairs") is not None and mirror is not None:
        raise ValueError("mirror: expected None in place on a GPU, got flags; give another out=")
    given, planes = {"images": images, "out": outs, "mirror": mirror}, (1, 0, 0)
    here, there = _sides(mirror)
    if planar:
        planes = images.shape[-1], images.strides[-1], outs.strides[plans.ndim]
        images, outs = images[..., :1], outs[(slice(None),) * plans.ndim + (0,)]
    job = cpu.blend_arguments(outs, images, plans, mirror=here, **how)
    call("msda_gpu_blend", given, byref(job), there, *planes)


def mask(weights: GpuArray, plans: np.ndarray) -> None:
    """Fills ``weights``, float32 ``(*plans.shape, ..., W)``."""
    size = prod(weights.shape[plans.ndim : -1]), weights.shape[-1]
    how = plans.ctypes.data, plans.size, *size
    call("msda_gpu_mask", {"out": weights}, weights.ctypes.data, *how)


def fields(rows: GpuArray, plans: np.ndarray) -> None:
    """Fills ``rows`` as the CPU's ``fields`` does, but of shared masks only the first's."""
    call("msda_gpu_fields", {"out": rows}, byref(cpu.fields_arguments(rows, plans)))


def targets_dense(
    out: GpuArray,
    plans: np.ndarray,
    labels: GpuArray,
    smoothing: float,
    own: GpuArray | None = None,
) -> None:
    """Fills ``out``, float32 ``(*plans.shape, C)``; labels: int ``(N,)``, float32 ``(N, C)``.

    ``own``, float32 ``plans.shape``, are own label weights in place of the records'.
    """
    job = cpu.Targets(plans.ctypes.data, None, None, plans.size, out.shape[-1], smoothing)
    given = {"labels": labels, "out": out, "weights": own}
    call("msda_gpu_targets", given, out.ctypes.data, None, None, byref(job), *_source(labels, own))


def targets_compact(
    out_labels: GpuArray,
    out_weights: GpuArray,
    plans: np.ndarray,
    labels: GpuArray,
    own: GpuArray | None = None,
) -> None:
    """Fills ``(*plans.shape, 4)``: int64 class indices and float32 weights."""
    job = cpu.Targets(plans.ctypes.data, None, None, plans.size, 0, 0.0)
    given = {"labels": labels, "out": out_labels, "weights": out_weights, "own": own}
    outs = None, out_labels.ctypes.data, out_weights.ctypes.data
    call("msda_gpu_targets", given, *outs, byref(job), *_source(labels, own))


def _source(labels: GpuArray, own: GpuArray | None) -> tuple[int, bytes, int | None]:
    """Labels, their type and own weights, as the C interface takes them."""
    return labels.ctypes.data, labels.dtype.name.encode(), cpu.address_of(own)


def saliency(
    peaks: GpuArray, images: GpuArray, *, mirror: np.ndarray | GpuArray | None = None, **how: object
) -> None:
    """Fills ``peaks``, int32 ``(B, 2)``, and ``maps``, uint8 ``(B, H, W)`` or None.

    ``mirror`` may lie on the GPU or on the CPU.
    """
    here, there = _sides(mirror)
    job = cpu.saliency_arguments(peaks, images, mirror=here, **how)
    given = {"images": images, "peaks": peaks, "maps": how.get("maps"), "mirror": mirror}
    call("msda_gpu_saliency", given, byref(job), 1, there)
