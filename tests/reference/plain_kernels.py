"""The kernels' arithmetic pixel by pixel and phase by phase: what all backends must equal."""

import ctypes
import functools
from ctypes import POINTER, c_int32, c_int64, c_void_p

import numpy as np

from dali_msda import build
from dali_msda.backends import cpu
from tests.cuda.emulation import compiled

FUNCTIONS = ("exp", "log", "sin", "cos")
_SIGNATURES = {
    "plain_blend": [POINTER(cpu.Blend)],
    "plain_fields": [POINTER(cpu.Fields), c_int32, c_int32],
    "plain_saliency": [POINTER(cpu.Saliency), c_int32, c_int32],
    "plain_philox": [c_void_p, c_void_p, c_void_p],
    "plain_maths": [c_void_p, c_void_p, c_int64, c_int32],
}


@functools.cache
def library():
    backend = build.library("cpu")
    lib = ctypes.CDLL(str(compiled("plain_kernels", backend, f"-Wl,-rpath,{backend.parent}")))
    for name, arguments in _SIGNATURES.items():
        getattr(lib, name).argtypes, getattr(lib, name).restype = arguments, None
    return lib


def blend(outs, images, plans, **how):
    """As :func:`cpu.blend`, pixel by pixel."""
    library().plain_blend(ctypes.byref(cpu.blend_arguments(outs, images, plans, **how)))


def fields(rows, plans, threads, order):
    """As :func:`cpu.fields`, in phases of so many threads of a block.

    They are taken forwards (order 1), backwards (2) or shuffled (3).
    """
    library().plain_fields(ctypes.byref(cpu.fields_arguments(rows, plans)), threads, order)


def saliency(peaks, images, threads, order, **how):
    """As :func:`cpu.saliency`, in phases as :func:`fields`."""
    arguments = cpu.saliency_arguments(peaks, images, **how)
    library().plain_saliency(ctypes.byref(arguments), threads, order)


def philox(counter, key):
    """Four Philox words."""
    words = (ctypes.c_uint32 * 4)()
    library().plain_philox(words, (ctypes.c_uint32 * 4)(*counter), (ctypes.c_uint32 * 2)(*key))
    return tuple(words)


def maths(function, values):
    """One of :data:`FUNCTIONS` of kernels/msda/maths.h, element by element."""
    values = np.ascontiguousarray(values, np.float32)
    out = np.full_like(values, np.nan)
    number = FUNCTIONS.index(function)
    library().plain_maths(cpu.address_of(out), cpu.address_of(values), values.size, number)
    return out
