"""The GPU's host, called as DALI's operators do, gives the CPU's bits over a stub of the driver.

The kernels are the GPU's, emulated; DALI's part, memory and shapes, is played by the test.
"""

import ctypes
import ctypes.util
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import packs
from tests.cuda.emulation import launches_of
from tests.cuda.host_gpu import COMPILER, library, library_file
from tests.cuda.native_host import SOURCES, Native
from tests.support import ROOT
from tests.support.batches import KINDS, every_kind_of_record, on_the_cpu, options_of, random_images
from tests.support.doors import assert_same
from tests.support.fmix_plans import LAWS, SHARED, records
from tests.support.variants import CASES, draw_any, make, name_of


@pytest.fixture
def native():
    return Native()


def compare(native, images, plan, dtype, layout, *, apart, **options):
    want = on_the_cpu(images, plan, dtype, layout, **options)
    got = native.blend(images, plan, dtype, layout, apart=apart, **options)
    assert_same(got, want)
    assert native.state.copies == 1
    assert native.state.launches == launches_of(plan, images.shape[-1])


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_method(native, case):
    for seed, (source, dtype) in enumerate(KINDS):
        shape = [(6, 9, 22, 3), (5, 4, 16, 1), (3, 5, 7, 2), (4, 1, 33, 3)][seed % 4]
        images = random_images(shape, source, seed)
        plan = draw_any(make(case), *shape[:3], seed=seed, step=4)
        options = options_of(images, dtype, seed)
        layout = ("CHW", "HWC")[seed // 2 % 2]
        compare(native, images, plan, dtype, layout, apart=seed % 2 == 0, **options)


@pytest.mark.parametrize("shared_bytes", [0, 9 * 1024 + 1000, 1], ids=["all", "some", "none"])
@pytest.mark.parametrize("layout", ["CHW", "HWC"])
def test_one_copy_and_a_launch_of_each_kind_of_kernel(layout, shared_bytes):
    """Records of all kinds, at odd sizes, softened or not; masks in shared memory or not."""
    native = Native(shared_bytes=shared_bytes)
    for seed, (source, dtype) in enumerate(KINDS):
        for batch in (1, 2, 31):
            shape = (batch, 5, 19 + seed, (3, 1, 4)[seed % 3])
            images = random_images(shape, source, seed)
            plan = every_kind_of_record(*shape[:3], seed=seed + batch)
            options = options_of(images, dtype, seed)
            compare(native, images, plan, dtype, layout, apart=batch == 2, **options)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(1, 12, 10), (1, 11, 97), (1, 61, 64), (5, 7, 6), (1, 1, 97)])
@pytest.mark.parametrize("shared_bytes", [1, 0], ids=["workspace", "shared"])
def test_masks_of_images_volumes_and_sequences(shape, law, shared_bytes):
    native = Native(shared_bytes=shared_bytes)
    for soft in (0, 1):
        plan = records(7, shape, lam=np.linspace(0, 1, 7), seed=soft, **LAWS[law])
        plan["own"], plan["partner"] = np.arange(7), (np.arange(7) + 3) % 7
        plan["soft"][2:5] = soft
        images = random_images((7, shape[0] * shape[1], shape[2], 3), "uint8")
        compare(native, images, plan, "uint8", "HWC", apart=True)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("share", ["pair", "batch"])
def test_interpolations(native, share, apart):
    for policy, layout in [(msda.FMix(), "CHW"), (msda.CutMix(), "HWC"), (msda.GMix(), "CHW")]:
        images = random_images((5, 6, 17, 3), "uint8")
        plan = msda.draw(msda.MultiMix(policy, 4, share=share), 5, 6, 17, seed=1, step=2)
        flags = np.array([0, 1, 1, 0, 1], np.uint8)
        compare(native, images, plan, "float16", layout, apart=apart, mirror=flags)


@pytest.mark.parametrize("name", SHARED)
def test_masks_that_records_share(native, name):
    """In one copy and one launch for them, as ever; batches with and without take turns."""
    for seed, (batch, layout) in enumerate([(7, "CHW"), (4, "HWC"), (9, "CHW")]):
        images = random_images((batch, 6, 21, 3), "uint8", seed)
        plan = msda.draw(SHARED[name], batch, 6, 21, seed=seed, step=1)
        compare(native, images, plan, "float16", layout, apart=seed == 1)
        plan = msda.draw(msda.FMix(), batch, 6, 21, seed=seed, step=1)
        compare(native, images, plan, "uint8", "HWC", apart=seed == 0)


def test_sizes_may_change_from_batch_to_batch(native):
    """Tables of the axes, lists and parts are kept from batch to batch: none may be stale."""
    for seed, size in enumerate([(8, 12), (12, 8), (8, 8), (8, 12), (5, 31)] * 2):
        batch = 2 + seed % 4
        images = random_images((batch, *size, 3), "uint8", seed)
        plan = msda.draw(msda.FMix(), batch, *size, seed=seed, step=0)
        compare(native, images, plan, "uint8", "HWC", apart=seed % 2 == 0)
        plan = msda.draw(msda.CutMix(), batch, *size, seed=seed, step=0)
        compare(native, images, plan, "float32", "CHW", apart=seed % 3 == 0)


def test_decays_may_change_from_batch_to_batch(native):
    images = random_images((4, 9, 20, 3), "uint8")
    for decay in (3.0, 1.5, 3.0):
        plan = msda.draw(msda.FMix(decay=decay), 4, 9, 20, seed=0, step=0)
        compare(native, images, plan, "uint8", "HWC", apart=False)


def test_large_masks_after_small_ones(native):
    """More shared memory than any kernel gets unasked: 51 KB, then 1 KB, then 51 KB again."""
    for size in (112, 16, 112):
        images = random_images((2, size, size, 3), "uint8")
        plan = msda.draw(msda.FMix(), 2, size, size, seed=0, step=0)
        compare(native, images, plan, "uint8", "HWC", apart=False)


def test_an_empty_batch_asks_nothing_of_the_device(native):
    images, plan = random_images((0, 4, 5, 3), "uint8"), every_kind_of_record(1, 4, 5)[:0]
    assert native.blend(images, plan, "uint8", "HWC", apart=True).shape == (0, 4, 5, 3)
    assert native.targets(np.arange(0), plan, 3).shape == (0, 3)
    native.saliency([], maps=True)
    assert (native.state.copies, native.state.launches) == (0, 0)
    assert native.state.allocations == native.state.pinned == 0


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("soft", [False, True])
def test_targets(native, soft, k):
    rng = np.random.default_rng(0)
    for batch in (1, 9):
        policy = msda.Choice([msda.CutMix(), msda.Mixup(alpha=0.4)])
        if k:
            policy = msda.MultiMix(msda.CutMix(), k)
        plan = msda.draw(policy, batch, 5, 6, seed=batch, step=0)
        labels = rng.random((batch, 11), np.float32) if soft else rng.integers(0, 11, batch)
        want = msda.targets(labels, plan, num_classes=11, smoothing=0.1)
        for gaps in ((), (3, 7), range(batch)):
            got = native.targets(labels, plan, 11, 0.1, gaps=gaps)
            np.testing.assert_array_equal(got, want)
            runs = 1 + sum(0 < gap < batch for gap in gaps)
            assert (native.state.copies, native.state.launches) == (1, runs)


def test_rows_from_pinned_memory(native):
    """Compact targets: neighbours are copied together."""
    values = np.arange(6 * 5, dtype=np.int64).reshape(6, 5)
    for at, runs in [([0, 1, 2, 3, 4, 5], 1), ([0, 1, 3, 4, 6, 7], 3), ([5, 4, 3, 2, 1, 0], 6)]:
        memory = np.full((8, 5), -1, np.int64)
        rows = np.array([memory[k].ctypes.data for k in at], np.int64)
        native.run("msda_gpu_scatter", rows.ctypes.data, 6, 40, values.ctypes.data)
        np.testing.assert_array_equal(memory[at], values)
        assert (np.delete(memory, at, axis=0) == -1).all()
        assert (native.state.copies, native.state.launches) == (runs, 0)


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_saliency(native, kind, maps):
    sizes = [(3, 40, 33, 3), (1, 7, 9, 3), (2, 40, 33, 1), (9, 12, 31, 3)]
    groups = [random_images(size, kind, seed) for seed, size in enumerate(sizes)]
    flags = np.arange(15, dtype=np.uint8) % 2
    for mirror, some in [(None, groups), (flags, groups), (flags[:3], groups[:1])]:
        peaks, got = native.saliency(some, maps=maps, mirror=mirror)
        assert (native.state.copies, native.state.launches) == (1, len(some))
        first = 0
        for images, found in zip(some, got, strict=True):
            last = first + len(images)
            some_flags = None if mirror is None else mirror[first:last]
            want, want_maps = msda.saliency(images, maps=True, mirror=some_flags)
            np.testing.assert_array_equal(peaks[first:last], want)
            if maps:
                np.testing.assert_array_equal(found, want_maps)
            else:
                assert (found == 99).all()
            first = last


# -------------------------------------------------------------------------------- what may go wrong


def small_batch(native):
    plan = msda.draw(msda.FMix(), 2, 4, 5, seed=0, step=0)
    return native.blend(random_images((2, 4, 5, 3), "uint8"), plan, "uint8", "HWC", apart=True)


def test_a_failing_driver_is_told_and_nothing_is_lost(native):
    for failing in (1, 2):
        native.state.failing = failing
        with pytest.raises(RuntimeError, match=r"^CUDA: stub error \(719\); see `python -m dali_m"):
            small_batch(native)
        native.state.failing = 0
        small_batch(native)


def test_devices_and_drivers_that_are_not_there():
    with pytest.raises(RuntimeError, match=r"^CUDA: stub error \(101\); see `python -m dali_msda"):
        Native(index=5)
    lib = library()
    assert lib.host_open(b"libnone.so.1") == b"CUDA: no driver (libnone.so.1 was not found)"
    said = lib.host_open(ctypes.util.find_library("m").encode())
    assert said.startswith(b"CUDA: cuInit is missing from the driver; install a")


def test_code_is_asked_for_once_and_before_any_batch():
    native = Native(fresh=False)
    assert sorted(native.asked) == sorted((source, "sm_90") for source in SOURCES)
    assert native.state.modules == len(SOURCES)
    small_batch(native)
    assert len(native.asked) == 6


def test_threads_that_hold_pythons_lock_may_ask_at_once():
    """One is at the compiler, which waits for the lock; those that hold it must not wait for it."""
    code = f"""
import ctypes, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
from tests.cuda.emulation import launches_of
from tests.cuda.host_gpu import COMPILER, library_file
from tests.cuda.native_host import Native
native = Native()
lib = ctypes.PyDLL(str(library_file()))  # as DALI's functions, it keeps the lock
def slow(source, arch, answer, room):
    time.sleep(0.2)
    return native._compile(source, arch, answer, room)
compiler = COMPILER(slow)
lib.msda_set_compiler(compiler)
ask = lambda: lib.msda_gpu_load(ctypes.byref(native.call), b"mask")
threads = [threading.Thread(target=ask) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(native.state.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "7\n", done.stderr[-2000:]


def refuse(text, returned=0):
    def compiler(source, arch, answer, room):
        ctypes.memmove(answer, text[:room], min(room, len(text)))
        return returned

    return COMPILER(compiler)


@pytest.mark.parametrize(
    "text, returned, message",
    [
        (b"NVRTC: not found; run `pip install x`", 0, "^NVRTC: not found; run `pip install x`$"),
        (b"", 0, "^the GPU's kernels: compiling was broken off$"),
        (b"/no/where", 1, "^/no/where: not found; `python -m dali_msda build --arch sm_90` puts"),
        (b"/dev/null", 1, "^/dev/null: no machine code; `python -m dali_msda build --arch sm_90`"),
        (b"x" * 20_000, 0, "^x{16383}$"),
    ],
)
def test_no_code(native, text, returned, message):
    compiler = refuse(text, returned)
    native.forget()
    native.lib.msda_set_compiler(compiler)
    with pytest.raises(RuntimeError, match=message):
        native.load()
    native.lib.msda_set_compiler(native.compiler)
    native.load()


def test_code_beside_the_library_serves_a_process_without_python(tmp_path):
    copy = shutil.copy(library_file(), tmp_path / "libother-1.2.so")
    missing = re.escape(f"{tmp_path / packs.file_name()}: not found; `pyth")
    with pytest.raises(RuntimeError, match=missing):
        Native(path=copy, compiler=False)
    codes = {(source, "sm_90"): b"\x7fELF" for source in SOURCES}
    packs.write(tmp_path / packs.file_name(), codes)
    small_batch(Native(path=copy, compiler=False))


def test_code_that_the_driver_refuses_names_both_versions(tmp_path, native):
    text = b"// Cuda compilation tools, release 12.4, V12.4.131\n\n.version 8.4\n"
    code = tmp_path / "code"
    code.write_bytes(text)  # PTX, which the stub does not take
    compiler = refuse(str(code).encode(), 1)
    native.forget()
    native.lib.msda_set_compiler(compiler)
    message = r"^CUDA: .*; the code was compiled by CUDA 12\.4, and the driver serves "
    with pytest.raises(RuntimeError, match=message):
        native.load()
    native.lib.msda_set_compiler(native.compiler)
