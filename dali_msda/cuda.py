"""The arguments of the GPU's kernels, kernels/gpu.h, and the shape of their launches."""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_float, c_int32, c_int64, c_void_p

import numpy as np

from dali_msda import cpu

MAX_PASSES = 31  # of kernels/msda/fourier.h
FIELD_THREADS = 1024
HISTOGRAM_BYTES = 4 * (2048 + 64)
UNROLLED_RADIX = 7  # larger butterflies need room in memory


def _structure(name: str, members: dict[str, type]) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(members.items())})


Samples = _structure("MsdaSamples", {"first": c_void_p, "stride": c_int64, "each": c_void_p})
Blend = _structure(
    "MsdaGpuBlend",
    dict.fromkeys("outs ins fields".split(), Samples)
    | dict.fromkeys("plans mirror scale shift pairs".split(), c_void_p)
    | dict.fromkeys("batch interpolations height width channels chw".split(), c_int32),
)
Mask = _structure(
    "MsdaGpuMask",
    {"weights": c_void_p, "fields": Samples, "plans": c_void_p}
    | dict.fromkeys("batch height width".split(), c_int32),
)
Targets = _structure(
    "MsdaGpuTargets",
    dict.fromkeys("rows labels weights source plans".split(), c_void_p)
    | {"batch": c_int32, "classes": c_int32, "smoothing": c_float},
)
Passes = _structure("Passes", {"length": c_int32, "count": c_int32, "radix": c_int32 * MAX_PASSES})
Axis = _structure(
    "MsdaGpuAxis", dict.fromkeys("cosine sine place".split(), c_void_p) | {"passes": Passes}
)
Fields = _structure(
    "MsdaGpuFields",
    {"fields": Samples, "plans": c_void_p, "axes": Axis * 3, "workspace": c_void_p}
    | {"per_block": c_int64, "batch": c_int32, "in_shared": c_int32, "radix": c_int32},
)


@functools.lru_cache(64)
def axis(length: int) -> tuple[np.ndarray, Passes]:
    """Tables of an axis of a field: ``(3, length)`` cosines, sines and places, and its passes."""
    tables = np.empty((3, length), np.float32)
    made = Axis(*(row.ctypes.data for row in tables), Passes(length))
    cpu.library().msda_axis(ctypes.byref(made))
    return tables, made.passes


def greatest_radix(shape: tuple[int, int, int]) -> int:
    """The largest butterfly of the transforms along the axes of a field."""
    return max(max(passes.radix[: passes.count], default=1) for _, passes in map(axis, shape))


def field_bytes(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Bytes of the values of a field, (depth, height, width), and of room for large butterflies."""
    depth, height, width = shape
    pairs = (depth * height + 1) // 2
    radix = greatest_radix(shape)
    room = FIELD_THREADS * 2 * radix * 8 if radix > UNROLLED_RADIX else 0
    return 2 * pairs * (width // 2 + 1) * 8, room


def group_items(out_dtype: str, width: int, channels: int) -> int:
    """Into how many items the threads of a blend share out a row."""
    per_store = 16 // {"uint8": 1, "float32": 4, "float16": 2, "bfloat16": 2}[out_dtype]
    return -(-width // per_store) if channels in (1, 3) else width * channels


def grid(samples: int, rows: int, items: int, block: int, resident: int) -> tuple[int, int]:
    """Blocks along x and y of a launch that walks ``items`` items in each of ``rows`` rows.

    A thread takes one item while the grid is not many times what the device holds at once, of
    which ``resident`` is the number of blocks; then the threads go round.
    """
    across = min(samples, 65535)
    needed = -(-rows * items // block)
    wanted = max(1, -(-64 * resident // max(1, across)))
    return max(1, min(needed, wanted, (2**31 - 1) // block)), max(1, across)
