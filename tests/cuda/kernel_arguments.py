"""What the GPU's kernels are launched with, for tests that launch them by themselves.

The structures are those of kernels/cuda/arguments.h, the functions those of
kernels/cuda/host/geometry.h.
"""

import ctypes
import functools
from ctypes import POINTER, byref, c_float, c_int32, c_int64, c_uint32, c_void_p

import numpy as np

from dali_msda.backends import cpu
from dali_msda.backends.cpu_library import structure

MAX_PASSES = 31  # of kernels/msda/field/fourier.h

Samples = structure("MsdaSamples", {"first": c_void_p, "stride": c_int64, "each": c_void_p})
Masks = structure("MsdaMasks", {"first": c_void_p, "stride": c_int64, "numbers": c_void_p})
Blend = structure(
    "MsdaGpuBlend",
    dict.fromkeys("records plans masks mirror scale shift".split(), c_void_p)
    | {"scales": c_float * 3, "shifts": c_float * 3}
    | dict.fromkeys("count height width channels".split(), c_int32)
    | {"plane": c_int64, "pixels": c_uint32, "inner": c_uint32}
    | dict.fromkeys("chw normalises in_place apart".split(), c_int32)
    | dict.fromkeys("parts columns rows reciprocal".split(), c_uint32),
)
BlendCounts = structure(  # of kernels/cuda/host/blend_records.h
    "MsdaBlendCounts", dict.fromkeys("groups values aligned".split(), c_int32)
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
        "msda_amplitudes": [c_void_p, c_void_p],
        "msda_grid": [c_void_p, *[c_int64] * 3, c_int32, c_int32],
        "msda_field_launch": [POINTER(FieldLaunch)],
        "msda_mask_lists": [c_void_p, c_void_p, c_int32],
        "msda_blend_records": [c_void_p, c_void_p, POINTER(cpu.Blend), c_int64, c_void_p],
        "msda_blend_arguments": [c_void_p, POINTER(cpu.Blend)],
        "msda_blend_launch": [*[c_void_p] * 4, c_int32],
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


def blend_job(outs, ins, plans, size, in_dtype, out_dtype, layout, **options):
    """What the C++ functions of a blend take; the arrays must live as long as it does.

    Args:
        outs: Addresses on the device, int64, one per record.
        ins: The same, one per input sample.
        plans: The records.
        size: Rows, width and channels of a sample.
        in_dtype: Type of the inputs.
        out_dtype: Type of the outputs.
        layout: Layout of the outputs.
        options: ``scale``, ``shift``, ``mirror``, ``pairs`` on the CPU, or None.
    """
    job = cpu.Blend(outs.ctypes.data, ins.ctypes.data, plans.ctypes.data)
    for name, values in options.items():
        setattr(job, name, None if values is None else values.ctypes.data)
    job.batch, job.samples, job.interpolations = plans.size, len(ins), 1
    job.height, job.width, job.channels = size
    job.in_dtype, job.out_dtype = cpu.DTYPES[in_dtype], cpu.DTYPES[out_dtype]
    job.out_layout = cpu.LAYOUTS[layout]
    return job


def blend_records(job, mask_stride=0, numbers=None):
    """Records of a blend, uint8 ``(n, 64)``, and what the two kinds of kernels make of them."""
    records = np.zeros((job.batch * (2 if job.pairs else 1), 64), np.uint8)
    counts = BlendCounts()
    address = None if numbers is None else numbers.ctypes.data
    library().msda_blend_records(
        records.ctypes.data, byref(counts), byref(job), mask_stride, address
    )
    return records, counts


def blend_launches(job, argument, counts, multiprocessors=132):
    """Names of a blend's kernels, grids and blocks: no grid for one that takes values.

    ``argument`` is that of the kernel which was yielded last.
    """
    names = {code: name for name, code in cpu.DTYPES.items()}
    types = [names[code] for code in (job.in_dtype, job.out_dtype)]
    library().msda_blend_arguments(byref(argument), byref(job))
    if counts.groups:
        grid = (c_uint32 * 2)()
        how = byref(argument), byref(counts), byref(job)
        threads = library().msda_blend_launch(grid, *how, multiprocessors)
        name = f"msda_pairs_{types[0]}" if job.pairs else f"msda_blend_{'_'.join(types)}"
        yield name, tuple(grid), threads
    if counts.values:
        argument.records += counts.groups * (128 if job.pairs else 64)
        argument.count = counts.values
        yield f"msda_values_{'_'.join(types)}", None, None


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
