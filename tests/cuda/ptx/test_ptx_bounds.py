"""The GPU's kernels take as many instructions, registers and bytes as bounds.py says."""

import numpy as np
import pytest

import dali_msda as msda
from tests.cuda import kernel_arguments as cuda
from tests.cuda import test_cuda_compiled
from tests.cuda.ptx import count, resources, small_kernel
from tests.cuda.ptx.bounds import BOUNDS
from tests.cuda.ptx.cost import cost
from tests.support.batches import KINDS

ABOVE, BELOW = 1.02, 0.95  # what falls by more is written into the table


def test_every_entry_point_has_bounds():
    """As test_cuda_compiled.py finds them in machine code."""
    assert set(test_cuda_compiled.BOUNDS) == set(BOUNDS)


@pytest.mark.parametrize(
    "policies, size, half, single",
    [
        ("mixup hmix", "224x224", 5.5, 3.5),
        ("cutmix fmix", "224x224", 4.5, 3.0),
        ("gmix", "224x224", 8.0, 6.0),
        ("mixup hmix cutmix fmix cutout resizemix gmix", "width 225", 9.0, 6.0),
    ],
)
def test_blends_are_as_lean_as_wanted(policies, size, half, single):
    """Instructions of a thread for each byte that it writes, to float16 and float32."""
    for dtype, most in (("float16", half), ("float32", single)):
        for policy in policies.split():
            found = BOUNDS[f"msda_blend_uint8_{dtype}"][f"{policy}, {size}, of threads"]
            assert max(found) <= most, (policy, dtype)


@pytest.mark.parametrize("source, dtype", KINDS)
@pytest.mark.parametrize("layout", ["CHW", "HWC"])
def test_blends_of_small_images_fill_a_device(source, dtype, layout):
    """32 warps on each of the 132 multiprocessors of an H200, by 256 images of 32 x 32."""
    size, plan = (32, 32, 3), msda.draw(msda.CutMix(), 256, 32, 32, seed=0, step=0)
    places = 4096 * np.arange(1, 257)  # which nobody looks at
    job = cuda.blend_job(places, places, plan, size, source, dtype, layout)
    records, counts = cuda.blend_records(job)
    argument = cuda.Blend(records.ctypes.data)
    ((entry, grid, threads),) = cuda.blend_launches(job, argument, counts)
    made = grid[0] * grid[1] * threads / 32 / 132
    assert threads <= 256 and min(made, *BOUNDS[entry]["warps"]) >= 32


def test_a_field_is_as_lean_as_wanted():
    """On a card whose shared memory holds it, as sm_90 does; and enough threads share one."""
    field = BOUNDS["msda_field_masks"]
    assert field["a field of 224x224"][0] <= 250_000
    assert all(min(BOUNDS[entry]["warps"]) >= 32 for entry in BOUNDS)


@pytest.mark.parametrize("arch", count.ARCHS)
@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, marks=() if e in count.OFTEN else pytest.mark.every_card) for e in BOUNDS],
)
def test_what_an_entry_point_takes(entry, arch):
    """Where this is meant to change, ``python -m tests.cuda.ptx.count`` prints the table anew."""
    at = count.ARCHS.index(arch)
    known = {name: row[at] for name, row in BOUNDS[entry].items() if row[at] is not None}
    found = count.measured(entry, arch)
    assert found.keys() == known.keys() and found["local"] == 0
    wrong = {
        name: (found[name], value)
        for name, value in known.items()
        if not BELOW * value <= found[name] <= ABOVE * value
    }
    assert not wrong, f"{entry} on {arch}, (found, bound): {wrong}"


@pytest.mark.parametrize(
    "body, warps, threads",
    [
        ("add.s32 %r2, %r1, 1;", 1, 32),
        ("@%p1 add.s32 %r2, %r1, 1;", 1, 32),  # is taken by all, and has no effect in most
        ("@%p1 bra $L1; / add.s32 %r2, %r1, 1; / $L1:", 2, 63.5),  # thread 3 of the first warp
        ("@!%p1 bra $L1; / add.s32 %r2, %r1, 1; / $L1:", 1.5, 32.5),
        # Both ways one after the other, and then together again.
        ("@%p1 bra $L1; / add.s32 %r2, %r1, 1; / bra $L2; / $L1: / add.s32 %r2, %r1, 2; / $L2: "
         "/ add.s32 %r2, %r1, 3;", 4.5, 127.5),
        # Three rounds of a thread of each warp, one of the others.
        ("and.b32 %r2, %r1, 31; / setp.eq.u32 %p1, %r2, 3; / mov.u32 %r3, 1; / @%p1 mov.u32 %r3, 3;"
         " / $L1: / sub.s32 %r3, %r3, 1; / setp.gt.s32 %p2, %r3, 0; / @%p2 bra $L1;",
         2.6 + 9, 2.6 * 32 + 3 * (31 + 3)),
    ],
)  # fmt: skip
def test_what_is_counted(body, warps, threads):
    """Instructions for each of the two warps, beyond those that the kernel has without these."""
    found = [
        cost(small_kernel.code(text), small_kernel.run)[small_kernel.NAME]
        for text in (body, "$L0:")
    ]
    assert (found[0].warps - found[1].warps) / 2 == pytest.approx(warps)
    assert (found[0].threads - found[1].threads) / 2 == pytest.approx(threads)


def test_accesses_are_counted_by_width():
    body = "ld.global.v2.u32 {%r1, %r2}, [%rd1]; / bar.sync 0; / st.global.u16 [%rd3], %r1;"
    found = cost(small_kernel.code(body), small_kernel.run)[small_kernel.NAME]
    assert found.accesses == {("ld", 8): small_kernel.THREADS, ("st", 2): small_kernel.THREADS}


@pytest.mark.parametrize(
    "arch, registers, shared, threads, warps",
    [
        ("sm_90", 32, 0, 256, 64),
        ("sm_90", 64, 0, 256, 32),
        ("sm_90", 65, 0, 256, 24),  # 72 are given
        ("sm_90", 128, 202_496 + 9_136, 512, 16),
        ("sm_90", 40, 100_000, 256, 16),
        ("sm_120", 32, 0, 1024, 32),  # 48 warps do not hold two blocks
        ("sm_120", 32, 0, 256, 48),
    ],
)
def test_the_warps_of_a_multiprocessor(arch, registers, shared, threads, warps):
    """As worked out by hand."""
    assert resources.warps(arch, registers, shared, threads) == warps
