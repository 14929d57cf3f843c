"""What the GPU's kernels are launched with, for tests that launch them by themselves.

The structures are those of kernels/cuda/arguments.h, the functions those of
kernels/cuda/host/geometry.h.
"""

import ctypes
import functools
from ctypes import POINTER, byref, c_float, c_int32, c_int64, c_void_p

import numpy as np

from dali_msda.backends import cpu
from dali_msda.backends.cpu_library import structure

MAX_PASSES = 31  # of kernels/msda/field/fourier.h

Samples = structure("MsdaSamples", {"first": c_void_p, "stride": c_int64, "each": c_void_p})
Masks = structure("MsdaMasks", {"first": c_void_p, "stride": c_int64, "owners": c_void_p})
Blend = structure(
    "MsdaGpuBlend",
    {"outs": Samples, "ins": Samples, "fields": Masks}
    | dict.fromkeys("plans mirror scale shift pairs".split(), c_void_p)
    | dict.fromkeys("batch interpolations height width channels chw".split(), c_int32),
)
Mask = structure(
    "MsdaGpuMask",
    {"weights": c_void_p, "fields": Masks, "plans": c_void_p}
    | dict.fromkeys("batch height width".split(), c_int32),
)
Targets = structure(
    "MsdaGpuTargets",
    dict.fromkeys("rows labels weights source plans".split(), c_void_p)
    | {"batch": c_int32, "classes": c_int32, "smoothing": c_float},
)
Passes = structure("Passes", {"length": c_int32, "count": c_int32, "radix": c_int32 * MAX_PASSES})
Axis = structure(
    "MsdaGpuAxis", dict.fromkeys("cosine sine place".split(), c_void_p) | {"passes": Passes}
)
Fields = structure(
    "MsdaGpuFields",
    {"fields": Masks, "plans": c_void_p, "axes": Axis * 3, "workspace": c_void_p}
    | {"per_block": c_int64, "makers": c_void_p, "firsts": c_void_p}
    | dict.fromkeys("count in_shared radix".split(), c_int32)
    | {"amplitudes": c_void_p, "decay": c_float},
)
Saliency = structure(
    "MsdaGpuSaliency",
    {"ins": Samples, "maps": Samples}
    | dict.fromkeys("peaks mirror workspace".split(), c_void_p)
    | {"per_block": c_int64}
    | dict.fromkeys("batch height width channels".split(), c_int32),
)
FieldLaunch = structure(  # of kernels/cuda/host/geometry.h
    "MsdaFieldLaunch",
    dict.fromkeys("fields depth height width soft most_shared threads resident".split(), c_int32)
    | dict.fromkeys("masks limit blocks in_shared radix".split(), c_int32)
    | dict.fromkeys("values room shared row workspace per_block scratch".split(), c_int64),
)


@functools.cache
def library():
    """The CPU backend's library, which holds the GPU's host too."""
    lib = cpu.library()
    for name, arguments in {
        "msda_axis": [POINTER(Axis)],
        "msda_grid": [c_void_p, *[c_int64] * 3, c_int32, c_int32],
        "msda_field_launch": [POINTER(FieldLaunch)],
        "msda_mask_lists": [c_void_p, c_void_p, c_int32],
        "msda_needs_gather": [c_void_p, c_int32, c_int32],
        "msda_group_items": [c_int32] * 3,
    }.items():
        getattr(lib, name).argtypes = arguments
    return lib


@functools.lru_cache(64)
def axis(length):
    """Tables of an axis of a field: ``(3, length)`` cosines, sines and places, and its passes."""
    tables = np.empty((3, length), np.float32)
    made = Axis(*(row.ctypes.data for row in tables), Passes(length))
    assert library().msda_axis(byref(made)) == 0
    return tables, made.passes


def field_launch(shape, fields=1, **known):
    """How to launch the masks of FMix of this size, one for each field unless ``masks`` says more.

    ``known`` gives members by name.
    """
    made = FieldLaunch(fields, *shape, **{"masks": fields} | known)
    library().msda_field_launch(byref(made))
    return made


def group_items(out_dtype, width, channels):
    """How many items a row has for the threads of a blend to share out."""
    return library().msda_group_items(cpu.DTYPES[out_dtype], width, channels)


def blend_name(plans, in_dtype, out_dtype, channels):
    """The entry point of a blend: records that gather pixels take another than the rest."""
    gathers = library().msda_needs_gather(plans.ctypes.data, plans.size, channels)
    return f"msda_{'gather' if gathers else 'blend'}_{in_dtype}_{out_dtype}"


def grid(samples, rows, items, block, resident):
    """Blocks along x and y of a launch over ``items`` items in each of ``rows`` rows."""
    made = (ctypes.c_uint32 * 2)()
    library().msda_grid(made, samples, rows, items, block, resident)
    return made[0], made[1]


def mask_lists(plans):
    """Which masks of FMix a batch needs, as geometry.h says; numbers of fields and of masks.

    The first ``plans.size`` numbers are those of the records' masks.
    """
    lists = np.empty(3 * plans.size + 1, np.int32)
    fields = library().msda_mask_lists(lists.ctypes.data, plans.ctypes.data, plans.size)
    assert fields >= 0
    return lists, fields, int(lists[2 * plans.size + fields])
