"""The CUDA driver through ctypes: machine code, launches, and memory for what a batch brings along.

Everything happens in a device's primary context, the one that CuPy and torch use, and on the stream
that the caller names. Nothing here waits for a device, unless the caller is far ahead of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator
from ctypes import byref, c_int, c_size_t, c_uint, c_void_p

import numpy as np

from dali_msda.backends import nvrtc

NOT_READY = 600  # CUDA_ERROR_NOT_READY
CAPTURE_RELAXED = 2
WITHOUT_TIMING = 2  # CU_EVENT_DISABLE_TIMING
MULTIPROCESSORS, SHARED_BYTES, MAJOR, MINOR = 16, 97, 75, 76  # CUdevice_attribute
MAX_DYNAMIC_SHARED = 8  # CUfunction_attribute
ALIGNMENT = 256
# Batches that may be under way before a caller waits for the oldest of them.
BATCHES_UNDER_WAY = 64


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
    lib.cuGetErrorString.argtypes = [c_int, c_void_p]
    handle, size, number = c_void_p, c_size_t, c_uint
    for name, arguments in {
        "cuDeviceGet": [handle, c_int],
        "cuDeviceGetAttribute": [handle, c_int, c_int],
        "cuDevicePrimaryCtxRetain": [handle, c_int],
        "cuCtxPushCurrent_v2": [handle],
        "cuCtxPopCurrent_v2": [handle],
        "cuModuleLoadData": [handle, handle],
        "cuModuleGetFunction": [handle, handle, ctypes.c_char_p],
        "cuFuncSetAttribute": [handle, c_int, c_int],
        "cuOccupancyMaxPotentialBlockSize": [handle, handle, handle, handle, size, c_int],
        "cuOccupancyMaxActiveBlocksPerMultiprocessor": [handle, handle, c_int, size],
        "cuLaunchKernel": [handle, *[number] * 7, handle, handle, handle],
        "cuMemAlloc_v2": [handle, size],
        "cuMemHostAlloc": [handle, size, number],
        "cuMemcpyHtoDAsync_v2": [handle, handle, size, handle],
        "cuEventCreate": [handle, number],
        "cuEventRecord": [handle, handle],
        "cuEventQuery": [handle],
        "cuEventSynchronize": [handle],
        "cuEventDestroy_v2": [handle],
        "cuStreamWaitEvent": [handle, handle, number],
        "cuStreamIsCapturing": [handle, handle],
        "cuThreadExchangeStreamCaptureMode": [handle],
        "cuPointerGetAttribute": [handle, c_int, handle],
    }.items():
        getattr(lib, name).argtypes = arguments
    _check(lib, lib.cuInit(0))
    return lib


def _check(lib: ctypes.CDLL, status: int) -> None:
    if status:
        text = ctypes.c_char_p()
        lib.cuGetErrorString(status, byref(text))
        what = text.value.decode() if text.value else "unknown error"
        raise RuntimeError(f"CUDA: {what} ({status}); see `python -m dali_msda doctor`")


def call(name: str, *arguments: object) -> None:
    """Calls the driver and raises RuntimeError for whatever it complains of."""
    lib = library()
    _check(lib, getattr(lib, name)(*arguments))


def device_of(address: int) -> int:
    """Returns the number of the device on which some memory lies."""
    index = c_int()
    call("cuPointerGetAttribute", byref(index), 9, address)  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return index.value


@functools.cache
def device(index: int) -> Device:
    """The device of this number, opened once."""
    return Device(index)


class Device:
    """A device, its kernels and its memory for batches; ``index`` is its number."""

    def __init__(self, index: int):
        handle, self.context = c_int(), c_void_p()
        call("cuDeviceGet", byref(handle), index)
        call("cuDevicePrimaryCtxRetain", byref(self.context), handle)
        self.index, self._handle = index, handle.value
        self.multiprocessors = self.attribute(MULTIPROCESSORS)
        self.shared_bytes = self.attribute(SHARED_BYTES)  # the most that a block may ask for
        self.arch = f"sm_{self.attribute(MAJOR)}{self.attribute(MINOR)}"
        self._entries: dict[str, Entry] = {}
        self._modules: dict[str, c_void_p] = {}
        self._slots: list[Slot] = []
        self._captured: list[Slot] = []
        self._lock = threading.Lock()

    def attribute(self, number: int) -> int:
        """An attribute of the device."""
        value = c_int()
        call("cuDeviceGetAttribute", byref(value), number, self._handle)
        return value.value

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Makes this device's context the calling thread's."""
        call("cuCtxPushCurrent_v2", self.context)
        try:
            yield
        finally:
            call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def wait_for(self, stream: int, other: int) -> None:
        """Makes a stream wait for what was launched on the other; the caller goes on."""
        event = c_void_p()
        call("cuEventCreate", byref(event), WITHOUT_TIMING)
        call("cuEventRecord", event, other)
        call("cuStreamWaitEvent", stream, event, 0)
        call("cuEventDestroy_v2", event)  # the driver keeps it until it has occurred

    def entry(self, name: str) -> Entry:
        """An entry point, ``msda_<source>_...``; the first call compiles and loads it."""
        found = self._entries.get(name)
        if found is None:
            with self._lock:
                found = self._entries[name] = self._load(name)
        return found

    def _load(self, name: str) -> Entry:
        source = name.split("_")[1]
        if source not in self._modules:
            module, code = c_void_p(), nvrtc.cubin(source, self.arch).read_bytes()
            call("cuModuleLoadData", byref(module), code)
            self._modules[source] = module
        function = c_void_p()
        call("cuModuleGetFunction", byref(function), self._modules[source], name.encode())
        return Entry(self, function)

    def resident_copy(self, values: np.ndarray) -> int:
        """Memory on the device with these values, kept for good; waits for the copy."""
        values = np.ascontiguousarray(values)
        memory = c_void_p()
        call("cuMemAlloc_v2", byref(memory), max(1, values.nbytes))
        call("cuMemcpyHtoDAsync_v2", memory, values.ctypes.data, values.nbytes, None)
        call("cuCtxSynchronize")
        return memory.value

    @contextlib.contextmanager
    def batch(self, parts: list[np.ndarray | None], scratch: int, stream: int) -> Iterator[list]:
        """Memory on the device for one batch: copies of the parts, and scratch memory.

        Yields the addresses of the parts (None for None) and then that of the scratch memory. They
        hold for what is launched on the stream inside the ``with``; later batches do not touch
        them before that is done. In a graph that is being captured they hold for good.
        """
        offsets, size = [], 0
        for part in parts:
            offsets.append(size)
            size += 0 if part is None else -(-part.nbytes // ALIGNMENT) * ALIGNMENT
        capturing = c_int()
        call("cuStreamIsCapturing", stream, byref(capturing))
        slot = self._take(size, scratch, bool(capturing.value))
        try:
            for part, offset in zip(parts, offsets, strict=True):
                if part is not None:
                    slot.host[offset : offset + part.nbytes] = part.reshape(-1).view(np.uint8)
            if size:
                call("cuMemcpyHtoDAsync_v2", slot.device, slot.host.ctypes.data, size, stream)
            yield [
                *(
                    None if part is None else slot.device + offset
                    for part, offset in zip(parts, offsets, strict=True)
                ),
                slot.device + slot.upload,
            ]
        finally:
            if not capturing.value:
                call("cuEventRecord", slot.event, stream)
            with self._lock:
                (self._captured if capturing.value else self._slots).append(slot)

    def _take(self, upload: int, scratch: int, capturing: bool) -> Slot:
        """The slot that has been idle longest, or a new one."""
        if capturing:
            mode = c_int(CAPTURE_RELAXED)  # allows taking memory, which is no part of the graph
            call("cuThreadExchangeStreamCaptureMode", byref(mode))
            try:
                return Slot(upload, scratch)
            finally:
                call("cuThreadExchangeStreamCaptureMode", byref(mode))
        with self._lock:
            fitting = [s for s in self._slots if s.upload >= upload and s.scratch >= scratch]
            wait = len(fitting) >= BATCHES_UNDER_WAY
            for slot in fitting:
                if wait or slot.idle():
                    self._slots.remove(slot)
                    break
            else:
                slot, wait = None, False
        if wait:
            call("cuEventSynchronize", slot.event)
        return slot or Slot(upload, scratch)


class Slot:
    """Memory for one batch under way: pinned, on the device, and the event of its last use."""

    def __init__(self, upload: int, scratch: int):
        self.upload, self.scratch = _rounded(upload), _rounded(scratch)
        host, memory, self.event = c_void_p(), c_void_p(), c_void_p()
        call("cuMemHostAlloc", byref(host), self.upload, 1)  # portable: for every context
        self.host = np.ctypeslib.as_array((ctypes.c_uint8 * self.upload).from_address(host.value))
        call("cuMemAlloc_v2", byref(memory), self.upload + self.scratch)
        self.device = memory.value
        call("cuEventCreate", byref(self.event), WITHOUT_TIMING)

    def idle(self) -> bool:
        """Whether the device is done with it."""
        status = library().cuEventQuery(self.event)
        if status not in (0, NOT_READY):
            _check(library(), status)
        return status == 0


def _rounded(size: int) -> int:
    """The size rounded up, so that batches of nearly the same size can share memory."""
    return max(4096, 1 << (size - 1).bit_length()) if size else ALIGNMENT


class Entry:
    """A kernel of a device."""

    def __init__(self, device: Device, function: c_void_p):
        self.device, self.function = device, function
        self._blocks: dict[tuple[int, int], tuple[int, int]] = {}
        self._most_shared = 0

    def occupancy(self, limit: int = 0, shared: int = 0) -> tuple[int, int]:
        """Threads of a block that keep the device busiest, and how many such blocks it holds.

        Args:
            limit: At most so many threads, 0 for any number.
            shared: Bytes of dynamic shared memory of a block.
        """
        known = self._blocks.get((limit, shared))
        if known is None:
            if shared > self._most_shared:  # never lowered: earlier launches need theirs
                call("cuFuncSetAttribute", self.function, MAX_DYNAMIC_SHARED, shared)
                self._most_shared = shared
            grid, block, held = c_int(), c_int(), c_int()
            call(
                "cuOccupancyMaxPotentialBlockSize",
                byref(grid), byref(block), self.function, None, shared, limit,
            )  # fmt: skip
            call(
                "cuOccupancyMaxActiveBlocksPerMultiprocessor",
                byref(held), self.function, block, shared,
            )  # fmt: skip
            known = block.value, max(1, held.value) * self.device.multiprocessors
            self._blocks[limit, shared] = known
        return known

    def launch(
        self, grid: tuple[int, int], block: int, shared: int, stream: int, argument: object
    ) -> None:
        """Launches it with one structure as its argument."""
        values = (c_void_p * 1)(ctypes.addressof(argument))
        call("cuLaunchKernel", self.function, *grid, 1, block, 1, 1, shared, stream, values, None)
