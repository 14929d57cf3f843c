"""The kernels of the GPU: kernels/cuda/arguments.h's entry points, launched on a caller's stream.

Callers have checked the arguments. The functions are those of :mod:`dali_msda.backends.cpu`, for
arrays of :mod:`dali_msda.backends.cuda_arrays`; they start work on the current stream and do not
wait for it. ``threads`` is for the CPU and means nothing here.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from math import prod

import numpy as np

from dali_msda.backends import cpu, driver
from dali_msda.backends.cuda_arrays import GpuArray, current_stream
from dali_msda.backends.cuda_structures import (
    Axis,
    Blend,
    FieldLaunch,
    Fields,
    Mask,
    Masks,
    Passes,
    Saliency,
    Samples,
    Targets,
)
from dali_msda.backends.records import interpolations
from dali_msda.backends.shapes import AXES
from dali_msda.policy import METHODS, has_trait
from dali_msda.record import PLAN_DTYPE


@functools.lru_cache(64)
def axis(length: int) -> tuple[np.ndarray, Passes]:
    """Tables of an axis of a field: ``(3, length)`` cosines, sines and places, and its passes."""
    tables = np.empty((3, length), np.float32)
    made = Axis(*(row.ctypes.data for row in tables), Passes(length))
    cpu.library().msda_axis(ctypes.byref(made))
    return tables, made.passes


def field_launch(shape: tuple[int, int, int], fields: int = 1, **known: int) -> FieldLaunch:
    """How to launch the masks of FMix of this size, one for each field unless ``masks`` says more.

    ``known`` gives members by name.
    """
    made = FieldLaunch(fields, *shape, **{"masks": fields} | known)
    cpu.library().msda_field_launch(ctypes.byref(made))
    return made


def group_items(out_dtype: str, width: int, channels: int) -> int:
    """How many items a row has for the threads of a blend to share out."""
    return cpu.library().msda_group_items(cpu.DTYPES[out_dtype], width, channels)


def blend_name(plans: np.ndarray, in_dtype: str, out_dtype: str, channels: int) -> str:
    """The entry point of a blend: records that gather pixels take another than the rest."""
    gathers = cpu.library().msda_needs_gather(plans.ctypes.data, plans.size, channels)
    return f"msda_{'gather' if gathers else 'blend'}_{in_dtype}_{out_dtype}"


def grid(samples: int, rows: int, items: int, block: int, resident: int) -> tuple[int, int]:
    """Blocks along x and y of a launch over ``items`` items in each of ``rows`` rows.

    ``block`` is the number of threads of a block, of which the device holds ``resident`` at once.
    """
    made = (ctypes.c_uint32 * 2)()
    cpu.library().msda_grid(made, samples, rows, items, block, resident)
    return made[0], made[1]


@contextlib.contextmanager
def _stream_for(**given: object) -> Iterator[tuple[driver.Device, int]]:
    """The GPU that the arrays lie on, made current, and the stream to work on.

    The stream is that of the first array's library. If other arrays have other streams, ours first
    waits (on the GPU) for the work under way there, and later work there waits for ours.

    Raises:
        ValueError: If the arrays lie on several GPUs.
    """
    arrays = {name: array for name, array in given.items() if isinstance(array, GpuArray)}
    places = {name: _gpu_of(array) for name, array in arrays.items()}
    if len({*places.values()} - {None}) > 1:
        got = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise ValueError(f"{next(iter(arrays))}: expected all arrays on one GPU, got {got}")
    device = driver.device(next((place for place in places.values() if place is not None), 0))
    with device.current():
        named = dict.fromkeys(current_stream(array) for array in arrays.values())
        stream, *others = [one for one in named if one is not None] or [0]
        for other in others:
            device.wait_for(stream, other)
        yield device, stream
        for other in others:
            device.wait_for(other, stream)


def _gpu_of(array: GpuArray) -> int | None:
    """Number of an array's GPU; None if it is empty and does not tell."""
    unknown = array.gpu is None and array.ctypes.data
    return driver.device_of(array.ctypes.data) if unknown else array.gpu


def _samples(batch: GpuArray, axes: int = 1) -> Samples:
    """A batch whose first ``axes`` axes count samples, which lie one behind the other."""
    return Samples(batch.ctypes.data, batch.strides[axes - 1], None)


def mask_lists(plans: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Which masks of FMix a batch needs (kernels/cuda/host/geometry.h); numbers of fields, masks.

    The first ``plans.size`` numbers are those of the records' masks.
    """
    lists = np.empty(3 * plans.size + 1, np.int32)
    fields = cpu.library().msda_mask_lists(lists.ctypes.data, plans.ctypes.data, plans.size)
    return lists, fields, int(lists[2 * plans.size + fields])


def _launch(
    device: driver.Device, stream: int, name: str, extent: tuple[int, int, int], argument: object
) -> None:
    """Launches a kernel over an extent of (samples, rows, items)."""
    if not min(extent):
        return
    entry = device.entry(name)
    block, resident = entry.occupancy()
    entry.launch(grid(*extent, block, resident), block, 0, stream, argument)


def blend(
    outs: GpuArray,
    images: GpuArray,
    plans: np.ndarray,
    *,
    out_dtype: str,
    layout: str,
    scale: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    mirror: np.ndarray | GpuArray | None = None,
    pairs: np.ndarray | None = None,
    planar: bool = False,
    fields: GpuArray | None = None,
    threads: int = 0,
) -> None:
    """Fills ``outs`` from ``images``, ``(B, ..., W, C)``, as the CPU's ``blend`` does.

    Each channel of ``planar`` images is a launch. ``mirror`` may lie on the GPU or on the CPU. The
    masks of FMix are made on the way, unless they are given as ``fields``, as benchmarks do.

    Raises:
        ValueError: If there are both ``pairs`` and ``mirror``.
    """
    if pairs is not None and mirror is not None:
        raise ValueError("mirror: expected None in place on a GPU, got flags; give another out=")
    with _stream_for(images=images, out=outs, mirror=mirror) as (device, stream):
        fmix = None if fields is not None else FieldJob.of(device, plans)
        flags = None if isinstance(mirror, GpuArray) else mirror
        parts = [plans, flags, scale, shift, pairs, fmix and fmix.owners]
        room = fmix.scratch if fmix else 0
        with device.batch(parts, room, stream) as (*addresses, owners, scratch):
            masks = fmix.launch(stream, addresses[0], owners, scratch) if fmix else Masks()
            if fields is not None:
                masks = Masks(fields.ctypes.data, fields.strides[0])
            job = Blend(_samples(outs, plans.ndim), _samples(images), masks, *addresses)
            if isinstance(mirror, GpuArray):
                job.mirror = mirror.ctypes.data
            job.batch, job.interpolations = plans.size, interpolations(plans)
            _, *axes, job.width, channels = images.shape
            job.channels = 1 if planar else channels
            job.height = prod(axes)
            job.chw = layout == "CHW"
            items = group_items(out_dtype, job.width, job.channels)
            extent = (job.batch // job.interpolations, job.height, items)
            name = blend_name(plans, images.dtype.name, out_dtype, job.channels)
            _launch(device, stream, name, extent, job)
            for _ in range(channels - 1 if planar else 0):
                job.ins.first += images.strides[-1]
                job.outs.first += outs.strides[plans.ndim]
                if scale is not None:
                    job.scale += scale.itemsize
                    job.shift += shift.itemsize
                _launch(device, stream, name, extent, job)


def mask(weights: GpuArray, plans: np.ndarray) -> None:
    """Fills ``weights``, float32 ``(*plans.shape, ..., W)``."""
    with _stream_for(out=weights) as (device, stream):
        fmix = FieldJob.of(device, plans)
        parts, room = [plans, fmix and fmix.owners], fmix.scratch if fmix else 0
        with device.batch(parts, room, stream) as (address, owners, scratch):
            masks = fmix.launch(stream, address, owners, scratch) if fmix else Masks()
            height, width = prod(weights.shape[plans.ndim : -1]), weights.shape[-1]
            job = Mask(weights.ctypes.data, masks, address, plans.size, height, width)
            extent = (plans.size, height, -(-width // 4))
            _launch(device, stream, "msda_mask_float32", extent, job)


def targets_dense(out: GpuArray, plans: np.ndarray, labels: GpuArray, smoothing: float) -> None:
    """Fills ``out``, float32 ``(*plans.shape, C)``; labels: int ``(N,)``, float32 ``(N, C)``."""
    job = Targets(out.ctypes.data, None, None, labels.ctypes.data)
    job.batch, job.classes, job.smoothing = plans.size, out.shape[-1], smoothing
    name = f"msda_targets_dense_{labels.dtype.name}"
    given = {"labels": labels, "out": out}
    with (
        _stream_for(**given) as (device, stream),
        device.batch([plans], 0, stream) as (job.plans, _),
    ):
        _launch(device, stream, name, (1, plans.size, job.classes), job)


def targets_compact(
    out_labels: GpuArray, out_weights: GpuArray, plans: np.ndarray, labels: GpuArray
) -> None:
    """Fills ``(*plans.shape, 4)``: int64 class indices and float32 weights."""
    job = Targets(None, out_labels.ctypes.data, out_weights.ctypes.data, labels.ctypes.data)
    job.batch = plans.size
    name = f"msda_targets_compact_{labels.dtype.name}"
    given = {"labels": labels, "out": out_labels, "weights": out_weights}
    with (
        _stream_for(**given) as (device, stream),
        device.batch([plans], 0, stream) as (job.plans, _),
    ):
        _launch(device, stream, name, (1, plans.size, 4), job)


def saliency(
    peaks: GpuArray,
    images: GpuArray,
    *,
    maps: GpuArray | None = None,
    mirror: np.ndarray | GpuArray | None = None,
    threads: int = 0,
) -> None:
    """Fills ``peaks``, int32 ``(B, 2)``, and ``maps``, uint8 ``(B, H, W)``.

    ``mirror`` may lie on the GPU or on the CPU.
    """
    if not len(images):
        return
    flags = None if isinstance(mirror, GpuArray) else mirror
    given = {"images": images, "peaks": peaks, "maps": maps, "mirror": mirror}
    with _stream_for(**given) as (device, stream):
        entry = device.entry(f"msda_saliency_{images.dtype.name}")
        limit = cpu.library().msda_saliency_threads(*images.shape[:3])
        threads, resident = entry.occupancy(limit)
        per_block = cpu.library().msda_saliency_block_bytes(*images.shape[1:3])
        blocks = min(len(images), resident)
        with device.batch([flags], blocks * per_block, stream) as (there, workspace):
            outs = Samples() if maps is None else _samples(maps)
            job = Saliency(_samples(images), outs, peaks.ctypes.data, there, workspace, per_block)
            if isinstance(mirror, GpuArray):
                job.mirror = mirror.ctypes.data
            job.batch, job.height, job.width, job.channels = images.shape
            entry.launch((blocks, 1), threads, 0, stream, job)


class FieldJob:
    """The masks of a batch's FMix records: their memory and their launch.

    A mask that records share is made once. ``owners`` says which those are (:func:`mask_lists`): it
    goes to the device with the plans.
    """

    @classmethod
    def of(cls, device: driver.Device, plans: np.ndarray) -> FieldJob | None:
        """None where no record has a field."""
        return cls(device, plans) if has_trait(plans, "needs_field").any() else None

    def __init__(self, device: driver.Device, plans: np.ndarray):
        first = plans.reshape(-1)[0]
        self.shape = tuple(int(first[axis]) for axis in AXES)
        self.device, self.entry = device, device.entry("msda_field_masks")
        self.batch, (self.owners, fields, masks) = plans.size, mask_lists(plans)
        known = {
            "masks": masks,
            "soft": bool(plans["soft"].any()),
            "most_shared": device.shared_bytes,
        }
        block = field_launch(self.shape, fields, **known)
        threads, resident = self.entry.occupancy(block.limit, block.shared)
        known |= {"threads": threads, "resident": resident}
        self.how = field_launch(self.shape, fields, **known)
        self.scratch = self.how.scratch
        whole = has_trait(plans, "needs_field") & (plans["modes"] == 0) & (plans["flags"] == 0)
        self.decay, self.amplitudes = 0.0, None
        if self.how.in_shared and whole.any():  # other fields are bound by memory
            self.decay = float(plans["decay"][whole][0])
            self.amplitudes = resident_amplitudes(device, self.shape, self.decay)

    def launch(self, stream: int, plans: int, owners: int, scratch: int) -> Masks:
        """Makes the masks in the scratch memory; all but the stream are addresses on the device."""
        how = self.how
        rows = Masks(scratch, how.row, owners)
        job = Fields(rows, plans, workspace=scratch + how.workspace, per_block=how.per_block)
        for k, length in enumerate(self.shape):
            job.axes[k] = resident_axis(self.device, length)
        job.makers, job.firsts = owners + 4 * self.batch, owners + 8 * self.batch
        job.count = how.fields
        job.in_shared, job.radix = how.in_shared, how.radix
        job.amplitudes, job.decay = self.amplitudes, self.decay
        self.entry.launch((how.blocks, 1), how.threads, how.shared, stream, job)
        return rows


@functools.lru_cache(256)
def resident_axis(device: driver.Device, length: int) -> Axis:
    """The tables of an axis in the memory of a device."""
    tables, passes = axis(length)
    first = device.resident_copy(tables)
    return Axis(first, first + 4 * length, first + 8 * length, passes)


@functools.lru_cache(256)
def resident_amplitudes(device: driver.Device, shape: tuple[int, int, int], decay: float) -> int:
    """Amplitudes of the paper's law in the memory of a device, which all fields of a size share."""
    plan = np.zeros(1, PLAN_DTYPE)
    depth, height, width = plan["depth"], plan["height"], plan["width"] = shape
    plan["method"], plan["decay"] = METHODS["fmix"].code, decay
    values = np.empty(depth * height * (width // 2 + 1) + 1, np.float32)
    cpu.library().msda_amplitudes(values.ctypes.data, plan.ctypes.data)
    return device.resident_copy(values)
