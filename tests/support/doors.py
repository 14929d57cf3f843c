"""Every way into the blend behind one signature, so that one test serves them all.

A door is ``blend(images, plan, *, mean, std, mirror, dtype, layout)`` over NumPy arrays. bfloat16
results come back as float32. Outputs are poisoned before they are filled.
"""

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import cpu
from tests.reference import mixing as reference
from tests.reference import plain_kernels
from tests.support.fmix_plans import fields_of
from tests.support.oracle import checked_weights

POISON = 0xCD
STORED = {"uint8": "u1", "float32": "f4", "float16": "f2", "bfloat16": "u2"}


def poisoned(shape, dtype, offset=0):
    """Memory in which whatever is not written shows, ``offset`` items past a multiple of 64 bytes.

    Large outputs take another way into memory where they are aligned.
    """
    kind = np.dtype(STORED[dtype])
    size = int(np.prod(shape)) * kind.itemsize
    memory = np.full(size + 128, POISON, np.uint8)
    start = -memory.ctypes.data % 64 + offset * kind.itemsize
    return memory[start : start + size].view(kind).reshape(shape)


def widened(array, dtype):
    """bfloat16 bits as float32, other arrays as they are."""
    if dtype != "bfloat16":
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def output_shape(images, layout):
    batch, *size, channels = images.shape
    return (batch, channels, *size) if layout == "CHW" else images.shape


def by_reference(images, plan, *, dtype=None, **options):
    dtype = dtype or images.dtype.name
    options["weight"] = checked_weights(plan, *images.shape[1:-1])
    return widened(reference.blend(images, plan, dtype=dtype, **options), dtype)


def native(run=cpu.blend, **walk):
    """The C functions themselves, for one instruction set or number of threads."""

    def blend(images, plan, *, mean=None, std=None, mirror=None, dtype=None, layout="HWC"):
        dtype = dtype or images.dtype.name
        out = poisoned(output_shape(images, layout), dtype)
        scale = shift = None
        if std is not None:
            mean = np.zeros(len(std)) if mean is None else mean
            scale, shift = np.float32(1 / std), np.float32(-mean / std)
        flags = None if mirror is None else np.ascontiguousarray(mirror, np.uint8)
        # fmt: off
        run(out, np.ascontiguousarray(images), plan, out_dtype=dtype, layout=layout,
            scale=scale, shift=shift, mirror=flags, fields=fields_of(plan), **walk)
        # fmt: on
        return widened(out, dtype)

    return blend


def by_numpy(images, plan, *, dtype=None, layout="HWC", **options):
    dtype = dtype or images.dtype.name
    out = poisoned(output_shape(images, layout), dtype)
    assert msda.blend(images, plan, dtype=dtype, layout=layout, out=out, **options) is out
    return widened(out, dtype)


def by_torch(images, plan, *, dtype=None, mirror=None, **options):
    torch = pytest.importorskip("torch")
    dtype = dtype or images.dtype.name
    mirror = None if mirror is None else torch.from_numpy(np.asarray(mirror, bool))
    mixed = msda.blend(torch.from_numpy(images), plan, dtype=dtype, mirror=mirror, **options)
    assert isinstance(mixed, torch.Tensor) and str(mixed.dtype) == f"torch.{dtype}"
    return (mixed.float() if dtype == "bfloat16" else mixed).numpy()


plain = native(plain_kernels.blend)

DOORS = {
    "reference": by_reference,
    "plain": plain,
    **{name: native(isa=k, threads=2) for k, name in enumerate(cpu.isas())},
    "numpy": by_numpy,
    "torch": by_torch,
}


@pytest.fixture(params=DOORS)
def blend(request):
    """Each way into the blend in turn."""
    return DOORS[request.param]


def assert_same(got, want):
    """Equal to the bit, but for what a NaN carries."""
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got, want)
    if got.dtype.kind == "f":
        number = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]))
