"""The GPU's host as the DALI operators call it, without DALI and over a stub of the driver.

What a batch hands over is overwritten before the stub's device starts to work, as it may be in a
pipeline; memory has walls around it.
"""

from ctypes import byref

import numpy as np

from dali_msda.backends import cpu, cuda
from tests.cuda.emulation import Walled, walled
from tests.cuda.host_gpu import STREAM, HostDevice
from tests.support.doors import STORED, output_shape, widened

SOURCES = ("blend", "pairs", "values", "field", "targets", "saliency")  # of the operators


class Native(HostDevice):
    """A device whose streams are busy; ``fresh``: batches get memory that nobody had before."""

    def __init__(self, *, index=0, fresh=True, **how):
        super().__init__(**how)
        self.call, self.fresh = cuda.Call(index, 0, STREAM), fresh
        self.load()
        self.state.deferred = 1

    def load(self):
        """Loads the kernels, as operators do when they are made."""
        for source in SOURCES:
            self.lib.msda_gpu_load(byref(self.call), source.encode())

    def run(self, name, *arguments, given=()):
        """Calls the host, spoils what it was given, and lets the device work."""
        state = self.state
        if self.fresh:
            self.forget()
            self.load()
        for counter in ("copies", "launches", "tables", "allocations", "pinned", "records"):
            setattr(state, counter, 0)
        try:
            getattr(self.lib, name)(byref(self.call), *arguments)
        finally:
            for array in given:
                if array is not None:
                    array.view(np.uint8)[...] = 0xEE
            status = self.stub.stub_finish()
            assert state.contexts == state.relaxed == state.waits == 0
            assert state.pinned <= 1 and state.allocations - state.tables <= 1
        assert status == 0
        if state.launches or state.copies:
            assert state.stream == STREAM

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
        self.run("msda_gpu_blend", byref(job), None, 1, 0, 0, given=given)
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
        setattr(job, "rows" if labels.dtype == np.float32 else "labels", labels.ctypes.data)
        job.batch, job.classes, job.smoothing = plans.size, classes, smoothing
        arguments = (rows.ctypes.data, samples, byref(job))
        self.run("msda_gpu_targets_rows", *arguments, given=[plans, rows, labels])
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
        self.run("msda_gpu_saliency", jobs, len(groups), None, given=given)
        return peaks.array.copy(), [np.stack([out.array for out in outs]) for _, outs in kept]


class _Part:
    """A sample of a batch that lies in one piece."""

    def __init__(self, memory, array):
        self.memory, self.array, self.address = memory, array, array.ctypes.data


def _parts(memory):
    return (_Part(memory, row) for row in memory.array)
