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
    BlendCounts,
    BlendLaunch,
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

# The driver proposes the largest block that fits, of which few share a multiprocessor.
MOST_THREADS = 256


@functools.lru_cache(64)
def axis(length: int) -> tuple[np.ndarray, Passes]:
    """Tables of an axis of a field: ``(3, length)`` cosines, sines and places, and its passes."""
    tables = np.empty((3, length), np.float32)
    made = Axis(*(row.ctypes.data for row in tables), Passes(length))
    cpu.library().msda_axis(ctypes.byref(made))
    return tables, made.passes


def field_launch(shape: tuple[int, int, int], batch: int = 1, **known: int) -> FieldLaunch:
    """How to launch the masks of FMix of this size; ``known`` gives members by name."""
    made = FieldLaunch(batch, *shape, **known)
    cpu.library().msda_field_launch(ctypes.byref(made))
    return made


def blend_job(
    outs: np.ndarray,
    ins: np.ndarray,
    plans: np.ndarray,
    size: tuple[int, int, int],
    in_dtype: str,
    out_dtype: str,
    layout: str,
    **options: np.ndarray | None,
) -> cpu.Blend:
    """What the C++ functions of a blend take; the arrays must live as long as it does.

    Args:
        outs: Addresses on the device, int64, one per record.
        ins: The same, one per input sample.
        plans: The records.
        size: Rows, width and channels of a sample.
        in_dtype: Type of the inputs.
        out_dtype: Type of the outputs.
        layout: Layout of the outputs.
        options: ``scale``, ``shift``, ``mirror``, ``pairs`` on the CPU, or None.
    """
    job = cpu.Blend(outs.ctypes.data, ins.ctypes.data, plans.ctypes.data)
    for name, values in options.items():
        setattr(job, name, None if values is None else values.ctypes.data)
    job.batch, job.samples, job.interpolations = plans.size, len(ins), interpolations(plans)
    job.height, job.width, job.channels = size
    job.in_dtype, job.out_dtype = cpu.DTYPES[in_dtype], cpu.DTYPES[out_dtype]
    job.out_layout = cpu.LAYOUTS[layout]
    return job


def blend_records(
    job: cpu.Blend, mask_stride: int = 0, owners: np.ndarray | None = None
) -> tuple[np.ndarray, int, int]:
    """Records of a blend, uint8 ``(n, 64)``, and how many outputs the two kinds of kernels make."""
    records = np.zeros((job.batch * (2 if job.pairs else 1), 64), np.uint8)
    counts = BlendCounts()
    address = None if owners is None else owners.ctypes.data
    cpu.library().msda_blend_records(
        records.ctypes.data, ctypes.byref(counts), ctypes.byref(job), mask_stride, address
    )
    return records, counts.groups, counts.values


def blend_launches(
    job: cpu.Blend, argument: Blend, groups: int, values: int, multiprocessors: int = 132
) -> Iterator[tuple[str, BlendLaunch | None]]:
    """Names of a blend's kernels and how to launch them, None for one that takes values.

    ``argument`` is that of the kernel which was yielded last.
    """
    types = [{code: name for name, code in cpu.DTYPES.items()}[code]
             for code in (job.in_dtype, job.out_dtype)]  # fmt: skip
    cpu.library().msda_blend_arguments(ctypes.byref(argument), ctypes.byref(job))
    if groups:
        how = BlendLaunch()
        cpu.library().msda_blend_launch(
            ctypes.byref(how), groups, ctypes.byref(job), multiprocessors
        )
        argument.count = groups
        for member in ("parts", "columns", "rows", "reciprocal"):
            setattr(argument, member, getattr(how, member))
        yield f"msda_pairs_{types[0]}" if job.pairs else f"msda_blend_{'_'.join(types)}", how
    if values:
        argument.records += groups * (128 if job.pairs else 64)
        argument.count = values
        yield f"msda_values_{'_'.join(types)}", None


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


def _addresses(batch: GpuArray, axes: int = 1) -> np.ndarray:
    """Addresses of the samples of such a batch, int64."""
    count = prod(batch.shape[:axes])
    return batch.ctypes.data + batch.strides[axes - 1] * np.arange(count, dtype=np.int64)


def mask_owners(plans: np.ndarray) -> np.ndarray | None:
    """The record whose mask of FMix each record uses, int32; None if each has its own."""
    owners = np.empty(plans.size, np.int32)
    shared = cpu.library().msda_mask_owners(owners.ctypes.data, plans.ctypes.data, plans.size)
    return owners if shared else None


def _launch(
    device: driver.Device, stream: int, name: str, extent: tuple[int, int, int], argument: object
) -> None:
    """Launches a kernel over an extent of (samples, rows, items)."""
    if not min(extent):
        return
    entry = device.entry(name)
    block, resident = entry.occupancy(MOST_THREADS)
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
    if not outs.size:
        return
    with _stream_for(images=images, out=outs, mirror=mirror) as (device, stream):
        fmix = None if fields is not None else FieldJob.of(device, plans)
        flags = None if isinstance(mirror, GpuArray) else mirror
        *_, width, channels = images.shape
        size = (prod(images.shape[1:-2]), width, 1 if planar else channels)
        options = {"scale": scale, "shift": shift, "mirror": flags, "pairs": pairs}
        types = images.dtype.name, out_dtype, layout
        out_at, in_at = _addresses(outs, plans.ndim), _addresses(images)
        job = blend_job(out_at, in_at, plans, size, *types, **options)
        stride = fmix.how.row if fmix else 0 if fields is None else fields.strides[0]
        made = []
        for _ in range(channels if planar else 1):
            made.append(blend_records(job, stride, fmix and fmix.owners))
            out_at += outs.strides[plans.ndim]
            in_at += images.strides[-1]
        parts = [plans, *(records for records, *_ in made), scale, shift, fmix and fmix.owners]
        room = fmix.scratch if fmix else 0
        with device.batch(parts, room, stream) as (
            address,
            *records,
            factors,
            terms,
            owners,
            scratch,
        ):
            masks = fmix.launch(stream, address, owners, scratch) if fmix else Masks()
            first = masks.first if fields is None else fields.ctypes.data
            for k, (_, groups, values) in enumerate(made):
                argument = Blend(records[k], address, first)
                if isinstance(mirror, GpuArray):
                    argument.mirror = mirror.ctypes.data
                if scale is not None:
                    job.scale, job.shift = (part.ctypes.data + 4 * k for part in (scale, shift))
                    argument.scale, argument.shift = factors + 4 * k, terms + 4 * k
                for name, how in blend_launches(
                    job, argument, groups, values, device.multiprocessors
                ):
                    if how is None:
                        items = size[1] * size[2]
                        _launch(device, stream, name, (values, size[0], items), argument)
                    else:
                        entry = device.entry(name)
                        entry.launch((*how.grid,), how.threads, 0, stream, argument)


def mask(weights: GpuArray, plans: np.ndarray) -> None:
    """Fills ``weights``, float32 ``(*plans.shape, ..., W)``."""
    with _stream_for(out=weights) as (device, stream):
        fmix = FieldJob.of(device, plans)
        parts, room = [plans, fmix and fmix.owners], fmix.scratch if fmix else 0
        with device.batch(parts, room, stream) as (address, owners, scratch):
            masks = fmix.launch(stream, address, owners, scratch) if fmix else Masks()
            height, width = prod(weights.shape[plans.ndim : -1]), weights.shape[-1]
            job = Mask(weights.ctypes.data, masks, address, plans.size, height, width)
            extent = (plans.size, height, width)
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
        threads, resident = entry.occupancy()
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

    A mask that records share is made once. ``owners`` says which those are: it goes to the device
    with the plans, and is None where there are none.
    """

    @classmethod
    def of(cls, device: driver.Device, plans: np.ndarray) -> FieldJob | None:
        """None where no record has a field."""
        return cls(device, plans) if has_trait(plans, "needs_field").any() else None

    def __init__(self, device: driver.Device, plans: np.ndarray):
        first = plans.reshape(-1)[0]
        self.shape = tuple(int(first[axis]) for axis in AXES)
        self.device, self.entry = device, device.entry("msda_field_masks")
        self.interpolations, self.owners = interpolations(plans), mask_owners(plans)
        known = {"soft": bool(plans["soft"].any()), "most_shared": device.shared_bytes}
        block = field_launch(self.shape, plans.size, **known)
        threads, resident = self.entry.occupancy(block.limit, block.shared)
        known |= {"threads": threads, "resident": resident}
        self.how = field_launch(self.shape, plans.size, **known)
        self.scratch = self.how.scratch
        whole = has_trait(plans, "needs_field") & (plans["modes"] == 0) & (plans["flags"] == 0)
        self.decay, self.amplitudes = 0.0, None
        if self.how.in_shared and whole.any():  # other fields are bound by memory
            self.decay = float(plans["decay"][whole][0])
            self.amplitudes = resident_amplitudes(device, self.shape, self.decay)

    def launch(self, stream: int, plans: int, owners: int | None, scratch: int) -> Masks:
        """Makes the masks in the scratch memory; all but the stream are addresses on the device."""
        how = self.how
        rows = Masks(scratch, how.row, owners)
        job = Fields(rows, plans, workspace=scratch + how.workspace, per_block=how.per_block)
        for k, length in enumerate(self.shape):
            job.axes[k] = resident_axis(self.device, length)
        job.batch, job.in_shared, job.radix = how.batch, how.in_shared, how.radix
        job.interpolations = self.interpolations
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
