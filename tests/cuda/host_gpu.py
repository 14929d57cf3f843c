"""A GPU that is none: arrays in CPU memory that pass for a GPU's, and a driver that is a stub.

With it everything runs without a GPU: checks, the host's calls, and the kernels, emulated.
"""

import ctypes
import functools

import numpy as np

from dali_msda import build
from dali_msda.backends import cuda, cuda_arrays, nvrtc
from tests.cuda.emulation import State, compiled, stub_driver

STREAM = 7
COMPILER = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64
)
LAUNCHED = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
WAITED = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint64)
HOST = [build.KERNELS / folder for folder in ("cuda/code", "cuda/host", "cuda/host/puzzle")]


class HostArray:
    """An array of another library, said to be on GPU number ``index`` and made on a stream."""

    class Place:
        def __init__(self, number):
            self.id = number

    def __init__(self, values, index=0, stream=None):
        self.values, self.device, self.stream = values, self.Place(index), stream
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        return HostArray(self.values[key], self.device.id)

    @property
    def __cuda_array_interface__(self):
        about = dict(self.values.__array_interface__)
        about |= {"version": 3, "stream": self.stream}
        return about | {"data": (about["data"][0], not self.values.flags.writeable)}


def library_file():
    """The GPU's host, compiled for tests."""
    backend = build.library("cpu")
    sources = sorted(path for folder in HOST for path in folder.glob("*.cpp"))
    return compiled("native_gpu", backend, f"-Wl,-rpath,{backend.parent}", sources=sources)


def loaded(path):
    """A library with the GPU's host, and signatures of what only tests call."""
    lib = cuda.opened(ctypes.CDLL(str(path)))
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    only_here = {
        "load": [ctypes.c_char_p],
        "scatter": [pointer, number, ctypes.c_int64, pointer],
        "targets_rows": [pointer, number, pointer],
    }
    for name, arguments in only_here.items():
        function = getattr(lib, f"msda_gpu_{name}")
        function.argtypes = [pointer, *arguments]
        function.errcheck = lib.msda_gpu_blend.errcheck
    lib.host_use.argtypes, lib.host_use.restype = [ctypes.c_char_p], None
    lib.host_open.argtypes, lib.host_open.restype = [ctypes.c_char_p], ctypes.c_char_p
    return lib


@functools.cache
def library():
    return loaded(library_file())


@functools.cache
def stub():
    """The driver."""
    lib = ctypes.CDLL(str(stub_driver()))
    lib.stub_state.restype = ctypes.POINTER(State)
    lib.stub_listen.argtypes = [LAUNCHED, WAITED]
    lib.stub_reuse_handle.argtypes = [ctypes.c_uint64]
    return lib


class HostDevice:
    """The stub as device number 0, as after start-up.

    Attributes:
        state: What may be set and read of the stub.
        launched: Names of the kernels that were launched.
        waited: Pairs of streams, of which the first waits for the second.
        asked: What code was asked for: sources and kinds of devices.
    """

    def __init__(self, path=None, compiler=True, **state):
        self.lib = loaded(path) if path else library()
        self.stub, self.launched, self.waited, self.asked = stub(), [], [], []
        self.stub.stub_reset()
        self.state = self.stub.stub_state().contents
        for name, value in state.items():
            setattr(self.state, name, value)
        self.compiler = COMPILER(self._compile)
        self.lib.msda_set_compiler(self.compiler if compiler else None)
        self.listeners = (
            LAUNCHED(lambda name: self.launched.append(name.decode())),
            WAITED(lambda stream, other: self.waited.append((stream, other))),
        )
        self.stub.stub_listen(*self.listeners)
        self.lib.host_use(self.stub._name.encode())

    def _compile(self, source, arch, answer, room):
        self.asked.append((source.decode(), arch.decode()))
        assert source.decode() in nvrtc.sources()
        content = self.stub._name.encode()  # any machine code will do
        ctypes.memmove(answer, content, len(content))
        return 1

    def replace(self, entry, code):
        """Runs another kernel, such as that of ptx.library, in place of the emulated one."""
        run = getattr(code, f"run_{entry}")
        self.stub.stub_replace(entry.encode(), ctypes.cast(run, ctypes.c_void_p))

    def forget(self):
        """Leaves the stub as it was, but all memory is new from now on."""
        self.lib.host_use(self.stub._name.encode())


def install(monkeypatch, **state):
    """Puts such a device in the place of a real one; returns it."""
    device = HostDevice(**state)
    monkeypatch.setattr(cuda, "library", lambda: device.lib)
    monkeypatch.setattr(cuda, "current_stream", lambda array: STREAM)
    stored = {"bfloat16": "uint16"}

    def empty(shape, dtype, model):
        return HostArray(np.full(shape, 77, stored.get(dtype, dtype)))

    monkeypatch.setattr(cuda_arrays, "empty", empty)
    monkeypatch.setattr(cuda_arrays, "on_cpu", lambda array: array.values.copy())
    return device
