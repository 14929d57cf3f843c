"""The compiled kernels of the CPU, kernels/cpu/api.h, through ctypes: structures and signatures."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_uint32,
    c_uint64,
    c_void_p,
)

from dali_msda import build

DTYPES = {"uint8": 0, "float32": 1, "float16": 2, "bfloat16": 3}
LAYOUTS = {"HWC": 0, "CHW": 1}


class _Int32:
    """An argument that C takes as int32; ctypes alone would cut off its upper bits."""

    @staticmethod
    def from_param(value: int) -> c_int32:
        return c_int32(_narrow("size", value))


def _narrow(name: str, value: int) -> int:
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"{name}: expected fewer than 2**31, got {value}; make smaller batches")
    return value


class _Structure(ctypes.Structure):
    def __init__(self, *values: object, **named: object) -> None:
        given = dict(zip((name for name, _ in self._fields_), values, strict=False)) | named
        for name, kind in self._fields_:
            if kind is c_int32 and name in given:
                _narrow(name, given[name])
        super().__init__(**given)


def structure(name: str, members: dict[str, type]) -> type[ctypes.Structure]:
    """A C structure of these members, in order; counts that it cannot hold are refused."""
    return type(name, (_Structure,), {"_fields_": list(members.items())})


Draw = structure(
    "MsdaDraw",
    {"seed": c_uint64, "step": c_uint32, "rank": c_uint32}
    | dict.fromkeys("batch depth height width distinct leaves".split(), c_int32)
    | dict.fromkeys("interpolations shared".split(), c_int32)
    | dict.fromkeys("ids lam peaks".split(), c_void_p),
)
Blend = structure(
    "MsdaBlend",
    dict.fromkeys("outs ins plans fields mirror scale shift".split(), c_void_p)
    | dict.fromkeys("batch samples height width channels".split(), c_int32)
    | dict.fromkeys("in_dtype out_dtype out_layout".split(), c_int32)
    | {"interpolations": c_int32, "pairs": c_void_p, "order": c_void_p}
    | {"threads": c_int32, "isa": c_int32},
)
Fields = structure(
    "MsdaFields",
    {"fields": c_void_p, "plans": c_void_p}
    | dict.fromkeys("batch interpolations threads isa".split(), c_int32),
)
Saliency = structure(
    "MsdaSaliency",
    dict.fromkeys("peaks maps ins mirror".split(), c_void_p)
    | dict.fromkeys("batch height width channels in_dtype threads isa".split(), c_int32),
)
Targets = structure(
    "MsdaTargets",
    {"plans": c_void_p, "labels": c_void_p, "rows": c_void_p}
    | {"batch": c_int32, "classes": c_int32, "smoothing": c_float},
)
PuzzleSettings = structure(
    "PuzzleSettings",
    dict.fromkeys("beta gamma eta move_cost".split(), c_double) | {"levels": c_int32},
)
Puzzle = structure(
    "MsdaPuzzle",
    dict.fromkeys("cells weights uniform saliency ins plans scale shift".split(), c_void_p)
    | dict.fromkeys("batch samples height width channels in_dtype planar".split(), c_int32)
    | dict.fromkeys("interpolations blocks places cell transport".split(), c_int32)
    | {"settings": PuzzleSettings, "threads": c_int32},
)
CoMixupMaps = structure(
    "MsdaCoMixupMaps",
    dict.fromkeys("shares peaks uniform saliency".split(), c_void_p)
    | dict.fromkeys("samples height width blocks window stride threads".split(), c_int32),
)
CoMixup = structure(
    "MsdaCoMixup",
    dict.fromkeys("sources objectives shares peaks".split(), c_void_p)
    | dict.fromkeys("alpha beta gamma tau eta omega".split(), c_double)
    | {"seed": c_uint64, "step": c_uint32, "rank": c_uint32}
    | dict.fromkeys("samples blocks part sweeps starts soft resolve threads".split(), c_int32),
)

_SIGNATURES = {
    "msda_draw": [c_void_p, c_void_p, POINTER(Draw)],
    "msda_uniforms": [c_void_p, c_int32, c_uint64, c_uint64, c_uint32, c_uint32],
    "msda_mask": [c_void_p, c_void_p, c_void_p, c_int32, c_int32, c_int32, c_int32],
    "msda_order": [c_void_p, c_void_p, c_int32, c_int32],
    "msda_blend": [POINTER(Blend)],
    "msda_blend_range": [POINTER(Blend), c_int64, c_int64],
    "msda_fields": [POINTER(Fields)],
    "msda_saliency": [POINTER(Saliency)],
    "msda_puzzle": [POINTER(Puzzle)],
    "msda_puzzle_blend": [POINTER(Blend), c_void_p, c_int32, c_int32],
    "msda_comixup_maps": [POINTER(CoMixupMaps)],
    "msda_comixup": [POINTER(CoMixup)],
    "msda_comixup_blend": [POINTER(Blend), c_void_p, c_int32],
    "msda_targets_dense": [c_void_p, POINTER(Targets)],
    "msda_targets_compact": [c_void_p, c_void_p, POINTER(Targets)],
}
_RETURN_A_STATUS = {  # the others of these cannot fail
    "msda_draw", "msda_mask", "msda_order", "msda_blend", "msda_blend_range", "msda_fields",
    "msda_saliency", "msda_puzzle", "msda_puzzle_blend", "msda_comixup_maps", "msda_comixup",
    "msda_comixup_blend",
}  # fmt: skip
_RESULTS = {  # of functions with another result than a status, before their arguments
    "msda_check": [c_int64, c_void_p, c_int64, c_int32, c_void_p, c_int32, c_char_p, c_int32],
    "msda_check_policy": [c_int64, c_void_p, c_int64, c_int32, c_char_p, c_int32],
    "msda_check_puzzle": [c_int32, POINTER(Puzzle), c_char_p, c_int32],
    "msda_method_name": [c_char_p, c_int32],
    "msda_isa_name": [c_char_p, c_int32],
    "msda_field_block_bytes": [c_int64, c_void_p],
    "msda_saliency_block_bytes": [c_int64, c_int32, c_int32],
}


def expect_done(status: int, *_: object) -> None:
    """Raise what an MsdaStatus says."""
    if status:
        raise MemoryError(
            "memory: expected room for what the kernels keep for such samples, got none; use "
            "fewer threads, or smaller batches or samples"
        )


def declare(lib: ctypes.CDLL, name: str, arguments: list[type], result: type | None) -> Callable:
    """A function of a library, with its signature; sizes that int32 cannot hold are refused."""
    function = getattr(lib, name)
    function.argtypes = [_Int32 if kind is c_int32 else kind for kind in arguments]
    function.restype = result
    return function


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled kernels, loaded once."""
    lib = ctypes.CDLL(str(build.library("cpu")))
    for name, arguments in _SIGNATURES.items():
        function = declare(lib, name, arguments, c_int32 if name in _RETURN_A_STATUS else None)
        if function.restype:
            function.errcheck = expect_done
    for name, (result, *arguments) in _RESULTS.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = arguments, result
    return lib
