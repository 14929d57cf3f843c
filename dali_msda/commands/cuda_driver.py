"""NVIDIA's driver through ctypes, for the report on a machine; work goes through backends/cuda."""

from __future__ import annotations

import ctypes
import functools
from ctypes import byref, c_char_p, c_int
from typing import NamedTuple

MAJOR, MINOR = 75, 76  # CUdevice_attribute: compute capability


@functools.cache
def library() -> ctypes.CDLL:
    """The driver, loaded and initialised once.

    Raises:
        RuntimeError: If there is no driver, or no device that it can use.
    """
    try:
        lib = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise RuntimeError("CUDA: no driver (libcuda.so.1 was not found)") from error
    _check(lib, lib.cuInit(0))
    return lib


def call(name: str, *arguments: object) -> None:
    """Calls the driver and raises RuntimeError for whatever it complains of."""
    lib = library()
    _check(lib, getattr(lib, name)(*arguments))


def _check(lib: ctypes.CDLL, status: int) -> None:
    if status:
        text = c_char_p()
        lib.cuGetErrorString(status, byref(text))
        raise RuntimeError(f"CUDA: {(text.value or b'unknown error').decode()} ({status})")


class Device(NamedTuple):
    """A device; ``arch`` is its kind, ``"sm_90"`` for compute capability 9.0."""

    arch: str


def device(index: int) -> Device:
    """The device of this number."""
    handle, major, minor = c_int(), c_int(), c_int()
    call("cuDeviceGet", byref(handle), index)
    call("cuDeviceGetAttribute", byref(major), MAJOR, handle)
    call("cuDeviceGetAttribute", byref(minor), MINOR, handle)
    return Device(f"sm_{major.value}{minor.value}")
