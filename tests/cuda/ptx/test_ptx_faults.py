"""What stops PTX that is run on the CPU, and what its results show: faults put in on purpose."""

import itertools
import re

import numpy as np
import pytest

import dali_msda as msda
from dali_msda import puzzle
from dali_msda.backends import cpu
from tests.cuda import emulation
from tests.cuda import kernel_arguments as cuda
from tests.cuda.emulation import Fault, Walled, launch, masks_at, walled
from tests.cuda.host_gpu import HostArray, install
from tests.cuda.ptx import library, parse, small_kernel
from tests.cuda.ptx.small_kernel import THREADS
from tests.cuda.test_cuda_emulated import emulated_fields, emulated_saliency
from tests.support.batches import random_images
from tests.support.fmix_plans import fields_of, records


@pytest.fixture
def run(monkeypatch):
    """Runs a kernel of these instructions; see small_kernel.py."""

    def run(body):
        monkeypatch.setattr(emulation, "library", lambda: small_kernel.code(body))
        return small_kernel.run()

    return run


def test_what_is_in_order_is_run(run):
    """Each thread its own byte or word, or words of others behind a barrier; atomics."""
    others = "st.global.u32 [%rd3], %r1; / bar.sync 0; / ld.global.u32 %r2, [%rd1+8];"
    result = run(f"{others} / bar.sync 0; / st.global.u32 [%rd3], %r2;")
    np.testing.assert_array_equal(result, 2)
    counted = "atom.global.add.u32 %r2, [%rd1], 2; / bar.sync 0; / ld.global.u32 %r2, [%rd1];"
    result = run(f"{counted} / bar.sync 0; / st.global.u32 [%rd3], %r2;")
    np.testing.assert_array_equal(result, 7 + 2 * THREADS)
    bytes_ = "cvt.u64.u32 %rd6, %r1; / add.s64 %rd6, %rd6, %rd1; / st.global.u8 [%rd6], %r1;"
    np.testing.assert_array_equal(run(bytes_).view(np.uint8)[:THREADS], np.arange(THREADS))


@pytest.mark.parametrize(
    "body, message",
    [
        ("st.global.u32 [%rd1], %r1;", "a race"),
        ("st.shared.u32 [%rd4], %r1;", "a race"),
        ("ld.global.u32 %r2, [%rd1+12]; / st.global.u32 [%rd3], %r1;", "a race"),
        ("st.shared.u32 [%rd5], %r1; / ld.shared.u8 %r2, [%rd4+7];", "a race"),
        ("atom.global.add.u32 %r2, [%rd1], 1; / ld.global.u32 %r3, [%rd1];", "a race"),
        ("st.global.u32 [%rd3], %r1; / atom.global.max.u32 %r2, [%rd1], 1;", "a race"),
        ("st.global.u32 [%rd3+2], %r1;", "4 bytes at 0x[0-9a-f]+, not aligned"),
        ("ld.global.v2.u32 {%r1, %r2}, [%rd3];", "8 bytes at 0x[0-9a-f]+, not aligned"),
        (
            "ld.global.nc.u32 %r2, [%rd3]; / bar.sync 0; / st.global.u32 [%rd3], %r1;",
            "is loaded as read-only and written",
        ),
        ("ld.shared.u32 %r1, [%rd3];", "in another kind of memory"),
        ("ld.global.u32 %r1, [%rd5];", "in another kind of memory"),
        ("ld.global.u32 %r1, [%rd3+256];", "touched 0x[0-9a-f]+, where no memory is"),
        ("@%p1 bra $L1; / bar.sync 0; / $L1:", "only a part of the block reaches"),
        ("@%p1 ret; / bar.sync 0;", "only a part of the block reaches"),
        ("@%p1 bra $L1; / bar.sync 0; / bra $L2; / $L1: / bar.sync 0; / $L2:", "only a part"),
    ],
)
def test_a_fault_stops_the_launch(run, body, message):
    with pytest.raises(Fault, match=f"^msda_saliency_small: .*{message}"):
        run(body)


@pytest.mark.parametrize(
    "body, message",
    [
        ("ex2.approx.f32 %r1, %r2;", "unknown instruction in 'ex2.approx.f32 %r1, %r2'"),
        ("add.rn.ftz.f32 %r1, %r2, %r3;", "unknown instruction in 'add.rn.ftz.f32"),
        ("bar.sync 1;", "unknown instruction in 'bar.sync 1'"),
        ("mov.u32 %r1, %laneid;", "unknown operand '%laneid' in 'mov.u32 %r1, %laneid'"),
        ("mov.u32 %r1, room;", "unknown operand 'room'"),
        (".local .align 4 .b8 depot[4];", "unknown directive '.local .align 4 .b8 depot[4];'"),
    ],
)
def test_what_is_not_known_is_named(run, body, message):
    where = f"{small_kernel.NAME}, line {small_kernel.FIRST_LINE}"
    with pytest.raises(parse.Unknown, match="^" + re.escape(f"{where}: {message}")):
        run(body)


# --------------------------------------------------------------------- faults in the kernels' PTX


def a_field(law, in_shared):
    shape, soft = (2, 3, 70), law == "soft"
    plan = records(2, shape, legacy=law == "legacy", soft=40 if soft else 0)
    plan["count"] = [60, 190]
    want = fields_of(plan)
    got = emulated_fields(plan, blocks=1, threads=THREADS, in_shared=in_shared, order="shuffled")
    np.testing.assert_array_equal(got[:, : want.shape[1]], want)


def a_saliency():
    images, want = random_images((2, 12, 20, 3), "uint8"), np.zeros((2, 2), np.int32)
    cpu.saliency(want, images)
    flags = np.zeros(2, np.uint8)
    got = emulated_saliency(images, flags, blocks=1, threads=THREADS, order="shuffled")
    np.testing.assert_array_equal(got[0], want)


def a_puzzle(entry, batch):
    """Outputs of 4 x 4 places, several of them to a block, and of 16 x 16."""
    images = random_images((batch, 32, 32, 3), "uint8")
    maps = np.exp(np.random.default_rng(0).standard_normal((batch, 32, 32))).astype(np.float32)
    maps[::2] = 0
    plan = msda.draw(msda.Mixup(partner="roll"), batch, 32, 32, seed=1, step=0)
    with pytest.MonkeyPatch.context() as patched:
        install(patched).replace(entry, emulation.library())
        for blocks in (4, 16):
            how = {"settings": puzzle.PuzzleSettings(cell=2, move_cost=0.05, levels=4)}
            found = puzzle.solve(HostArray(images), HostArray(maps), plan, blocks=blocks, **how)
            want = puzzle.solve(images, maps, plan, blocks=blocks, **how)
            np.testing.assert_array_equal(found.cells.values, want.cells)
            np.testing.assert_array_equal(found.weights.values, want.weights)
            np.testing.assert_array_equal(found.uniform.values, want.uniform)
            mixed = puzzle.blend(HostArray(images), found)
            np.testing.assert_array_equal(mixed.values, puzzle.blend(images, want))


CASES = {
    "msda_field_masks": [
        lambda law=law, place=place: a_field(law, place)
        for law in ("paper", "legacy", "soft")
        for place in (True, False)
    ],
    "msda_saliency_uint8": [a_saliency],
} | {
    entry: [lambda entry=entry, batch=batch: a_puzzle(entry, batch)]
    for entry, batch in {
        "msda_puzzle_pool_uint8": 14,  # more than there are blocks
        "msda_puzzle_masks": 3,
        "msda_puzzle_blend_uint8_uint8": 3,
    }.items()
}


RARELY = [("sm_120", entry) for entry in CASES if "puzzle" in entry]


@pytest.mark.parametrize(
    "arch, entry",
    [
        pytest.param(*case, marks=pytest.mark.every_card if case in RARELY else ())
        for case in itertools.product(("sm_90", "sm_120"), CASES)
    ],
)
def test_a_barrier_that_is_left_out_shows(entry, arch, monkeypatch):
    code = library.code(arch)
    monkeypatch.setattr(emulation, "library", lambda: code)
    leave_out = getattr(code.library(entry), f"leave_out_{entry}")
    lines = [step.line for step in code.entry(entry).steps if step.opcode.startswith("bar.")]

    def shows(line):
        leave_out(line)
        for case in CASES[entry]:
            try:
                case()
            except (AssertionError, RuntimeError):  # a Fault is one; a driver says the other
                return True
        return False

    try:
        assert not shows(0)
        assert [n for n, line in enumerate(lines, 1) if not shows(line)] == []
    finally:
        leave_out(0)


def unfused(text):
    """PTX whose sums round their products first."""
    operand = r"(%\w+|0f\w+)"
    pattern = rf"fma\.rn\.f32\s+{', '.join([operand] * 4)};"
    return re.sub(pattern, r"mul.rn.f32 %unfused0, \2, \3;\nadd.rn.f32 \1, %unfused0, \4;", text)


def test_a_fused_sum_that_is_taken_apart_shows(monkeypatch):
    def change(entry):
        text = library.ptx_of("mask", "sm_90")
        assert "fma.rn.f32" in text and "fma.rn.f32" not in unfused(text)
        return unfused(text).replace("\n{\n", "\n{\n.reg .b32 %unfused<1>;\n")

    plan = msda.draw(msda.GMix(), 4, 40, 48, seed=0, step=0)
    out, memory = Walled((4, 40, 48), np.float32), walled(plan.view(np.uint8))
    bits = walled(fields_of(plan))
    m = cuda.Mask(out.address, masks_at(bits.array), memory.address, 4, 40, 48)
    for code, same in ((library.code("sm_90"), True), (library.Code("sm_90", change), False)):
        monkeypatch.setattr(emulation, "library", lambda code=code: code)
        launch("msda_mask_float32", m, (8, 4), THREADS)
        np.testing.assert_allclose(out.array, msda.mask(plan, 40, 48), atol=1e-5)
        assert np.array_equal(out.array, msda.mask(plan, 40, 48)) == same


def test_a_misaligned_output_shows(monkeypatch):
    monkeypatch.setattr(emulation, "library", lambda: library.code("sm_90"))
    plan = msda.draw(msda.Mixup(), 1, 4, 8, seed=0, step=0)
    out, memory = Walled((1, 40), np.float32), walled(plan.view(np.uint8))
    m = cuda.Mask(out.address + 2, cuda.Masks(), memory.address, 1, 4, 8)
    with pytest.raises(Fault, match="msda_mask_float32: line .* not aligned"):
        launch("msda_mask_float32", m, (1, 1), 32)
