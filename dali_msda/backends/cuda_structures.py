"""What the GPU's kernels are launched with: kernels/cuda/arguments.h as ctypes structures."""

from __future__ import annotations

from ctypes import c_float, c_int32, c_int64, c_uint32, c_void_p

from dali_msda.backends.cpu_library import structure

MAX_PASSES = 31  # of kernels/msda/field/fourier.h

Samples = structure("MsdaSamples", {"first": c_void_p, "stride": c_int64, "each": c_void_p})
Masks = structure("MsdaMasks", {"first": c_void_p, "stride": c_int64, "owners": c_void_p})
Blend = structure(
    "MsdaGpuBlend",
    dict.fromkeys("records plans masks mirror scale shift".split(), c_void_p)
    | {"scales": c_float * 3, "shifts": c_float * 3}
    | dict.fromkeys("count height width channels".split(), c_int32)
    | {"pixels": c_uint32}
    | dict.fromkeys("chw normalises in_place".split(), c_int32)
    | dict.fromkeys("parts columns rows reciprocal".split(), c_uint32),
)
BlendCounts = structure(  # of kernels/cuda/host/blend_records.h, as the next one
    "MsdaBlendCounts", dict.fromkeys("groups values".split(), c_int32)
)
BlendLaunch = structure(
    "MsdaBlendLaunch",
    {"grid": c_uint32 * 2, "threads": c_int32}
    | dict.fromkeys("parts columns rows reciprocal".split(), c_uint32),
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
    | {"per_block": c_int64}
    | dict.fromkeys("batch in_shared radix interpolations".split(), c_int32)
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
    dict.fromkeys("batch depth height width soft most_shared threads resident".split(), c_int32)
    | dict.fromkeys("limit blocks in_shared radix".split(), c_int32)
    | dict.fromkeys("values room shared row workspace per_block scratch".split(), c_int64),
)
