"""A GPU that is none: arrays in CPU memory that pass for a GPU's, a device that emulates kernels.

With it everything but the driver itself runs without a GPU: checks, arguments, launches.
"""

import contextlib

import numpy as np

from dali_msda.backends import cuda_arrays, driver
from tests.cuda.emulation import Walled, launch, walled

STREAM = 7


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


class HostEntry:
    def __init__(self, device, name):
        self.device, self.name = device, name

    def occupancy(self, limit=0, shared=0):
        assert shared <= self.device.shared_bytes
        return min(limit or 96, 256), 3

    def launch(self, grid, block, shared, stream, argument):
        assert stream == STREAM and block <= 1024
        self.device.launched.append(self.name)
        launch(self.name, argument, grid, block, order="shuffled")


class HostDevice:
    """What dali_msda.backends.driver.Device does, without a driver."""

    def __init__(self, index, shared_bytes=227 * 1024):
        self.index, self.shared_bytes, self.multiprocessors = index, shared_bytes, 3
        self.launched, self.kept, self.waited = [], [], []

    def current(self):
        return contextlib.nullcontext()

    def wait_for(self, stream, other):
        self.waited.append((stream, other))

    def entry(self, name):
        return HostEntry(self, name)

    def resident_copy(self, values):
        self.kept.append(as_on_a_gpu(values.nbytes))
        self.kept[-1].array[: values.nbytes] = np.ascontiguousarray(values).view(np.uint8).ravel()
        return self.kept[-1].address

    @contextlib.contextmanager
    def batch(self, parts, scratch, stream):
        memory = [part if part is None else walled(np.ascontiguousarray(part)) for part in parts]
        memory.append(as_on_a_gpu(scratch))
        memory[-1].array[...] = 0xCD
        yield [part if part is None else part.address for part in memory]


def as_on_a_gpu(size):
    """Memory that ends at a wall but for what is needed to start where a GPU's may."""
    return Walled(-(-size // 16) * 16, np.uint8)


def install(monkeypatch, **how):
    """Puts such a device in the place of the driver's; returns it."""
    device = HostDevice(0, **how)
    monkeypatch.setattr(driver, "device", lambda index: device)
    monkeypatch.setattr("dali_msda.backends.cuda.current_stream", lambda array: STREAM)
    stored = {"bfloat16": "uint16"}

    def empty(shape, dtype, model):
        return HostArray(np.full(shape, 77, stored.get(dtype, dtype)))

    monkeypatch.setattr(cuda_arrays, "empty", empty)
    monkeypatch.setattr(cuda_arrays, "on_cpu", lambda array: array.values.copy())
    return device
