"""The GPU's kernels on the CPU: launches that count writes, memory with walls around it."""

import ctypes
import functools
import hashlib
import mmap
import subprocess
from ctypes import c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy as np

from dali_msda import build, cache
from dali_msda.policy import METHODS
from tests.cuda import kernel_arguments as cuda

NATIVE = Path(__file__).parent / "native"
PAGE = mmap.PAGESIZE
# NVRTC does not say which case a switch leaves out: g++ does, here.
FLAGS = (
    "-std=c++17 -O1 -ffp-contract=off -fno-math-errno -fPIC -shared "
    "-Wno-unknown-pragmas -Werror=switch"
)
COOPERATIVE = ("field", "saliency", "puzzle")  # sources whose threads wait for one another
ORDERS = {"forwards": 0, "backwards": 1, "shuffled": 2}


class Launch(ctypes.Structure):
    _fields_ = [
        ("grid", c_uint32 * 2),
        ("block", c_uint32),
        ("first", c_uint32 * 2),
        ("count", c_uint32 * 2),
        ("order", c_int32),
        ("barriers", c_int32),
        ("watched", c_void_p),
        ("result", c_void_p),
        ("writes", c_void_p),
        ("size", c_int64),
        ("fault", c_uint64),
        ("wrong", ctypes.c_char * 200),
    ]


def compiled(name, *links, sources=()):
    """A C++ source here with all entry points, compiled once and kept like any library.

    ``sources`` are others that it includes, and ``links`` libraries that it needs.
    """
    parts = [
        *sources,
        *sorted(build.KERNELS.rglob("*.*h")),
        *sorted((build.KERNELS / "cuda").rglob("*.cu")),
    ]
    parts += [NATIVE / "emulated_cuda.h", NATIVE / "emulated_kernels.cpp", NATIVE / f"{name}.cpp"]
    flags = f"{FLAGS} {' '.join(map(str, links))}"
    key = hashlib.sha256(flags.encode() + b"".join(path.read_bytes() for path in parts))
    file = f"msda_{name}-{key.hexdigest()[:16]}.so"

    def make(folder):
        command = ["g++", *FLAGS.split(), *(f"-I{path}" for path in (build.KERNELS, NATIVE))]
        command += [NATIVE / f"{name}.cpp", *links, "-ldl"]
        scratch = folder / f".{file}"
        subprocess.run([*command, "-o", scratch], check=True)
        return scratch.replace(folder / file)

    return cache.cached(file, make)


@functools.cache
def library():
    """All entry points."""
    return ctypes.CDLL(str(compiled("emulated_kernels")))


def stub_driver():
    """A CUDA driver whose kernels are those."""
    kernels = compiled("emulated_kernels")
    links = "-Wl,--no-as-needed", kernels, f"-Wl,-rpath,{kernels.parent}"  # found by name only
    return compiled("stub_driver", *links)


def launches_of(plan, channels):
    """How many a blend takes: one for masks of FMix, and one for each of two kinds of kernels.

    Records that no policy draws take another kernel than the rest; so do other images than grey
    and RGB.
    """
    plan = plan.reshape(-1)
    shrunk = (plan["method"] == METHODS["resizemix"].code) & (plan["sources"] == 2)
    by_value = shrunk & ((plan["inside"] != 0) | (plan["outside"] != 1)) | (channels not in (1, 3))
    return len(np.unique(by_value)) + bool((plan["method"] == METHODS["fmix"].code).any())


class Fault(AssertionError):
    pass


def launch(name, arguments, grid, block, *, order="forwards", blocks=None, watch=None):
    """Runs a kernel, all of it or the given blocks ``((x, y), (count x, count y))``.

    Returns the number of writes of each byte of ``watch``, which then holds what was written.
    """
    first, count = blocks or ((0, 0), grid)
    call = Launch((c_uint32 * 2)(*grid), block, (c_uint32 * 2)(*first), (c_uint32 * 2)(*count))
    call.order, call.barriers = ORDERS[order], name.split("_")[1] in COOPERATIVE
    writes = result = None
    if watch is not None:
        result, writes = np.zeros(watch.nbytes, np.uint8), np.zeros(watch.nbytes, np.uint32)
        call.watched, call.size = watch.ctypes.data, watch.nbytes
        call.result, call.writes = result.ctypes.data, writes.ctypes.data
    getattr(library(), f"run_{name}")(ctypes.byref(arguments), ctypes.byref(call))
    if call.fault:
        raise Fault(f"{name}: {call.wrong.decode()}")
    if watch is not None:
        watch.reshape(-1).view(np.uint8)[:] = result
    return writes


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = c_void_p
_libc.mmap.argtypes = [c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, c_int64]
_libc.munmap.argtypes = [c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [c_void_p, ctypes.c_size_t, ctypes.c_int]
_NORESERVE = 0x4000


class Walled:
    """Memory between pages that must not be touched, at the end of its pages or at their start.

    Nothing is allocated but what is written to, so that it may be larger than the machine.
    """

    def __init__(self, shape, dtype, *, at_end=True):
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        self.pages = (-(-size // PAGE) + 2) * PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        self.base = _libc.mmap(None, self.pages, 0, flags, -1, 0)
        assert self.base not in (None, c_void_p(-1).value), "no address space"
        if size:
            _libc.mprotect(self.base + PAGE, self.pages - 2 * PAGE, 3)
        self.address = self.base + (self.pages - PAGE - size if at_end else PAGE)
        content = (ctypes.c_char * size).from_address(self.address)
        self.array = (
            np.frombuffer(content, dtype).reshape(shape) if size else np.empty(shape, dtype)
        )

    def __del__(self):
        _libc.munmap(self.base, self.pages)


def walled(values, **how):
    """A copy of an array between walls."""
    memory = Walled(values.shape, values.dtype, **how)
    memory.array[...] = values
    return memory


def rows_at(array):
    """A batch whose samples lie one behind the other."""
    stride = array.strides[0] if len(array) else 0
    return cuda.Samples(array.ctypes.data, stride, None)


def masks_at(array, numbers=None):
    """Masks of the records of a batch, a row each; ``numbers`` is kept alive by the result."""
    memory = None if numbers is None else walled(numbers)
    stride = array.strides[0] if len(array) else 0
    masks = cuda.Masks(array.ctypes.data, stride, memory and memory.address)
    masks.keep = memory
    return masks


def scattered(memories):
    """A batch whose samples lie anywhere; the addresses are kept alive by the result."""
    addresses = walled(np.array([memory.address for memory in memories], np.int64))
    samples = cuda.Samples(None, 0, addresses.address)
    samples.keep = (addresses, memories)
    return samples


class State(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("capturing", "elsewhere", "unfinished", "deferred")),
        *((name, ctypes.c_int32) for name in ("shared_bytes", "failing", "relaxed", "broken")),
        *((name, ctypes.c_int32) for name in ("allocations", "pinned", "copies", "launches")),
        *((name, ctypes.c_int32) for name in ("records", "waits", "modules", "contexts")),
        ("tables", ctypes.c_int32),
        *(
            (name, ctypes.c_int64)
            for name in ("table_bytes", "bytes", "pinned_bytes", "most_bytes")
        ),
        ("stream", ctypes.c_uint64),
    ]
