"""The DALI operators' host of the GPU, without DALI and without a GPU: over a stub of the driver.

What a batch hands over is overwritten before the stub's device starts to work, as it may be in a
pipeline; memory has walls around it.
"""

import ctypes
from ctypes import c_char_p, c_int32, c_int64, c_void_p

import numpy as np

from dali_msda import build
from dali_msda.backends import cpu, nvrtc
from tests.cuda.emulation import State, Walled, compiled, stub_driver, walled
from tests.support.doors import STORED, output_shape, widened

STREAM = 7
ALLOCATE = ctypes.CFUNCTYPE(c_void_p, c_int64, c_int32)
COMPILER = ctypes.CFUNCTYPE(c_int32, c_char_p, c_char_p, c_void_p, c_int64)
SOURCES = sorted((build.KERNELS / "cuda/host").glob("*.cpp"))


def library_file():
    """The host's functions, compiled for tests."""
    cpu_library = build.library("cpu")
    return compiled("native_gpu", cpu_library, f"-Wl,-rpath,{cpu_library.parent}", sources=SOURCES)


def load(path):
    lib = ctypes.CDLL(str(path))
    for name, arguments in {
        "host_open": [c_void_p, c_char_p, c_int32],
        "host_blend": [c_void_p, c_void_p, ALLOCATE, c_void_p],
        "host_targets": [c_void_p, c_void_p, c_int32, c_void_p, ALLOCATE, c_void_p],
        "host_scatter": [c_void_p, c_void_p, c_int32, c_int64, c_void_p, c_void_p],
        "host_saliency": [c_void_p, c_void_p, c_int32, ALLOCATE, c_void_p],
    }.items():
        getattr(lib, name).argtypes, getattr(lib, name).restype = arguments, c_char_p
    return lib


def raise_error(text):
    if text is not None:
        raise RuntimeError(text.decode())


class Native:
    """A device, its kernels and what the last batch took."""

    def __init__(self, folder, *, index=0, path=None, **state):
        driver = stub_driver()
        self.stub = ctypes.CDLL(str(driver))
        self.stub.stub_state.restype = ctypes.POINTER(State)
        self.state = self.stub.stub_state().contents
        ctypes.memset(ctypes.byref(self.state), 0, ctypes.sizeof(self.state))
        for name, value in state.items():
            setattr(self.state, name, value)
        self.lib, self.asked = load(path or library_file()), []
        (folder / "code").write_bytes(b"\x7fELF of every kernel")
        self.code = str(folder / "code").encode()
        if path is None:
            self.compiler = COMPILER(self._compile)
            self.lib.msda_set_compiler(self.compiler)
        self.host, self.taken = c_void_p(), []
        self.allocate = ALLOCATE(self._allocate)
        raise_error(self.lib.host_open(ctypes.byref(self.host), str(driver).encode(), index))
        self.state.deferred = 1

    def _compile(self, source, arch, answer, room):
        self.asked.append((source.decode(), arch.decode()))
        assert source.decode() in nvrtc.sources()
        ctypes.memmove(answer, self.code, len(self.code))
        return 1

    def _allocate(self, size, pinned):
        memory = walled(np.full(size, 0xCD, np.uint8))
        memory.pinned = pinned
        self.taken.append(memory)
        return memory.address

    def run(self, name, *arguments, given=()):
        """Calls the host, spoils what it was given, and lets the device work."""
        self.taken.clear()
        self.state.copies = self.state.launches = 0
        error = getattr(self.lib, name)(self.host, *arguments)
        for array in given:
            if array is not None:
                array.view(np.uint8)[...] = 0xEE
        status = self.stub.stub_finish()
        assert self.state.contexts == 0
        assert self.state.waits == self.state.allocations == self.state.records == 0
        raise_error(error)
        assert status == 0
        if self.state.launches or self.state.copies:
            assert self.state.stream == STREAM
        assert sum(memory.pinned for memory in self.taken) <= 1
        assert sum(not memory.pinned for memory in self.taken) <= 1

    def blend(self, images, plan, dtype, layout, *, apart, mirror=None, scale=None, shift=None):
        """Mixed images, ``(*plan.shape, ...)``; ``apart``: each sample at an address of its own."""
        shape = output_shape(images, layout)[1:]
        each = plan.shape[1] if plan.ndim > 1 else 1
        size = (each, *shape)
        if apart:
            ins = [walled(image, at_end=i % 2 == 0) for i, image in enumerate(images)]
            outs = [Walled(size, STORED[dtype], at_end=i % 2 == 1) for i in range(len(images))]
        else:
            whole = walled(images), Walled((len(images), *size), STORED[dtype])
            ins, outs = (list(_parts(memory)) for memory in whole)
        for out in outs:
            out.array[...] = np.full(1, 77).astype(STORED[dtype])
        step = int(np.prod(shape)) * np.dtype(STORED[dtype]).itemsize
        in_list = np.array([part.address for part in ins], np.int64)
        out_list = np.array([o.address + k * step for o in outs for k in range(each)], np.int64)
        plans = np.ascontiguousarray(plan).reshape(-1).copy()
        small = [None if part is None else part.copy() for part in (mirror, scale, shift)]
        job = cpu.Blend(out_list.ctypes.data, in_list.ctypes.data, plans.ctypes.data, None)
        job.mirror, job.scale, job.shift = (p if p is None else p.ctypes.data for p in small)
        job.batch, job.samples, job.interpolations = plans.size, len(images), each
        _, *axes, job.width, job.channels = images.shape
        job.height = int(np.prod(axes))
        job.in_dtype, job.out_dtype = cpu.DTYPES[images.dtype.name], cpu.DTYPES[dtype]
        job.out_layout = cpu.LAYOUTS[layout]
        given = [in_list, out_list, plans, *small]
        self.run("host_blend", ctypes.byref(job), self.allocate, STREAM, given=given)
        mixed = np.stack([out.array for out in outs]) if outs else np.empty((0, *size))
        return widened(mixed.reshape(*plan.shape, *shape), dtype)

    def targets(self, labels, plan, classes, smoothing=0.0, *, gaps=()):
        """Dense rows; ``gaps``: samples before which there is a hole in the memory of the rows."""
        samples, labels = len(labels), labels.copy()
        plans = np.ascontiguousarray(plan).reshape(-1).copy()
        each = plans.size // max(1, samples)
        memory = walled(np.full((samples + len(gaps), each, classes), np.nan, np.float32))
        at = [i + sum(gap <= i for gap in gaps) for i in range(samples)]
        rows = np.array([memory.array[k].ctypes.data for k in at], np.int64)
        job = cpu.Targets(plans.ctypes.data)
        kind = "rows" if labels.dtype == np.float32 else "labels"
        setattr(job, kind, labels.ctypes.data)
        job.batch, job.classes, job.smoothing = plans.size, classes, smoothing
        arguments = (rows.ctypes.data, samples, ctypes.byref(job), self.allocate, STREAM)
        self.run("host_targets", *arguments, given=[plans, rows, labels])
        holes = np.delete(memory.array, at, axis=0)
        assert np.isnan(holes).all()
        return memory.array[at].reshape(*plan.shape, classes)

    def saliency(self, groups, *, maps, mirror=None):
        """Peaks and maps of groups of images, ``(n, H, W, C)`` each."""
        jobs = (cpu.Saliency * len(groups))()
        kept, given, first = [], [], 0
        total = sum(map(len, groups))
        peaks = walled(np.full((total, 2), -9, np.int32))
        for job, images in zip(jobs, groups, strict=True):
            ins = [walled(image, at_end=i % 3 == 0) for i, image in enumerate(images)]
            outs = [walled(np.full(image.shape[:2], 99, np.uint8)) for image in images]
            lists = [np.array([part.address for part in some], np.int64) for some in (ins, outs)]
            flags = None if mirror is None else mirror[first : first + len(images)].copy()
            kept.append((ins, outs))
            given += [*lists, flags]
            job.peaks = peaks.address + 8 * first
            job.ins, job.maps = lists[0].ctypes.data, lists[1].ctypes.data if maps else None
            job.mirror = None if flags is None else flags.ctypes.data
            job.batch, job.height, job.width, job.channels = images.shape
            job.in_dtype = cpu.DTYPES[images.dtype.name]
            first += len(images)
        arguments = (jobs, len(groups), self.allocate, STREAM)
        self.run("host_saliency", *arguments, given=given)
        return peaks.array.copy(), [np.stack([out.array for out in outs]) for _, outs in kept]


class _Part:
    """A sample of a batch that lies in one piece."""

    def __init__(self, memory, array):
        self.memory, self.array, self.address = memory, array, array.ctypes.data


def _parts(memory):
    return (_Part(memory, row) for row in memory.array)
