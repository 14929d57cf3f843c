"""The driver's door, with a driver that has no GPU: memory in turns, graphs, streams, errors."""

import ctypes
import threading

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import cuda, cuda_arrays, driver, nvrtc
from tests.cuda.emulation import State, stub_driver
from tests.cuda.host_gpu import STREAM, HostArray
from tests.support.batches import every_kind_of_record, random_images

SHAPE = (6, 7, 19, 3)


@pytest.fixture
def stub(monkeypatch):
    """The stub in the place of libcuda.so.1, as it is after start-up."""
    nvrtc.library()
    path, load = str(stub_driver()), ctypes.CDLL
    lib = load(path)
    lib.stub_state.restype = ctypes.POINTER(State)
    state = lib.stub_state().contents
    ctypes.memset(ctypes.byref(state), 0, ctypes.sizeof(state))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: load(path if "libcuda" in name else name))
    monkeypatch.setattr(cuda, "current_stream", lambda array: STREAM)

    def empty(shape, dtype, model):
        return HostArray(np.full(shape, 77, dtype))

    monkeypatch.setattr(cuda_arrays, "empty", empty)
    caches = (driver.library, driver.device, cuda.resident_axis, cuda.resident_amplitudes)
    for cache in caches:
        cache.cache_clear()
    yield state
    for cache in caches:
        cache.cache_clear()


def batch(seed=0):
    plan = every_kind_of_record(*SHAPE[:3], seed=seed)
    plan["soft"] = 0
    return random_images(SHAPE, "uint8", seed), plan


def blend_and_compare(seed=0):
    images, plan = batch(seed)
    got = msda.blend(HostArray(images), plan, layout="CHW", mirror=[0, 1] * 3)
    want = msda.blend(images, plan, layout="CHW", mirror=[0, 1] * 3)
    np.testing.assert_array_equal(got.values, want)


def test_from_the_array_to_the_kernel(stub):
    blend_and_compare()
    assert stub.launches == 2 and stub.modules == 2  # the masks and the blend
    assert stub.stream == STREAM and stub.contexts == 0
    _, plan = batch()
    labels = np.arange(6)
    soft = msda.targets(HostArray(labels), plan, num_classes=6)
    np.testing.assert_array_equal(soft.values, msda.targets(labels, plan, num_classes=6))
    assert stub.launches == 3 and stub.modules == 3


def test_after_the_first_batches_nothing_is_taken_and_nobody_waits(stub):
    """The first: of each size, and of each decay of the paper's law of FMix."""
    for seed in range(6):
        blend_and_compare(seed)
    taken, records = stub.allocations, stub.records
    for seed in range(5):
        blend_and_compare(seed + 1)
    assert stub.allocations == taken and stub.waits == 0
    assert stub.records == records + 5
    assert len(driver.device(0)._slots) == 1


def test_masks_that_records_share_cost_no_further_copy(stub):
    """Nor do they in a graph, whose memory later batches leave alone."""
    images, plan = batch()[0], msda.draw(msda.FMix(scope="batch"), *SHAPE[:3], seed=0, step=0)
    assert cuda.mask_owners(plan) is not None

    def blend():
        copies, launches = stub.copies, stub.launches
        got = msda.blend(HostArray(images), plan)
        np.testing.assert_array_equal(got.values, msda.blend(images, plan))
        return stub.copies - copies, stub.launches - launches

    blend()  # makes tables
    assert blend() == (1, 2)
    stub.capturing = 1
    assert blend() == (1, 2)
    stub.capturing = 0
    (captured,) = driver.device(0)._captured
    kept = captured.host.copy()
    for seed in range(3):
        blend_and_compare(seed)
    np.testing.assert_array_equal(captured.host, kept)


def test_large_masks_after_small_ones(stub):
    """More shared memory than any kernel gets unasked: 51 KB, then 1 KB, then 51 KB again."""
    for size in (112, 16, 112):
        plan = msda.draw(msda.FMix(), 2, size, size, seed=0, step=0)
        out = HostArray(np.empty((2, size, size), np.float32))
        msda.mask(plan, size, size, out=out)
        np.testing.assert_array_equal(out.values, msda.mask(plan, size, size))


def test_memory_that_a_device_still_reads_is_left_alone(stub):
    stub.unfinished = 1
    for seed in range(4):
        blend_and_compare(seed)
    slots = driver.device(0)._slots
    assert len({slot.device for slot in slots}) == 4
    stub.unfinished = 0
    for seed in range(8):
        blend_and_compare(seed)
    assert len(slots) == 4 and stub.waits == 0


def test_a_caller_too_far_ahead_waits_for_the_oldest(stub):
    stub.unfinished = 1
    for _ in range(driver.BATCHES_UNDER_WAY):
        blend_and_compare()
    oldest = driver.device(0)._slots[0]
    assert stub.waits == 0
    blend_and_compare()
    assert stub.waits == 1 and len(driver.device(0)._slots) == driver.BATCHES_UNDER_WAY
    assert driver.device(0)._slots[-1] is oldest


def test_what_a_graph_captures_is_kept_for_good(stub):
    blend_and_compare()
    before = driver.device(0)._slots[0]
    stub.capturing = 1
    blend_and_compare(1)
    blend_and_compare(2)
    stub.capturing = 0
    captured = driver.device(0)._captured
    assert len(captured) == 2 and before not in captured and stub.relaxed == 0
    kept = [slot.host.copy() for slot in captured]
    for seed in range(3, 6):
        blend_and_compare(seed)
    assert driver.device(0)._slots == [before]
    for slot, content in zip(captured, kept, strict=True):
        np.testing.assert_array_equal(slot.host, content)


def test_threads_at_once(stub):
    """Each thread has a slot of its own while its batch is under way."""
    blend_and_compare()  # what is emulated must not run twice at once: launches take turns
    device, seen = driver.device(0), []
    barrier = threading.Barrier(4)

    def work():
        part = np.arange(100, dtype=np.uint8)
        with device.current(), device.batch([part], 64, STREAM) as (address, scratch):
            barrier.wait()
            seen.append((address, scratch))
            barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 4


def test_parts_do_not_overlap(stub):
    parts = [np.full(n, n % 251, np.uint8) for n in (1, 255, 256, 257, 160 * 7)]
    device = driver.device(0)
    with device.current(), device.batch([*parts, None], 1000, STREAM) as (*addresses, scratch):
        assert addresses[-1] is None and scratch % 256 == 0
        ctypes.memset(scratch, 1, 1000)
        for part, address in zip(parts, addresses[:-1], strict=True):
            assert address % 256 == 0
            assert ctypes.string_at(address, part.size) == part.tobytes()


def test_a_failed_launch_leaves_everything_usable(stub):
    blend_and_compare()
    stub.failing = 2
    with pytest.raises(RuntimeError, match=r"CUDA: stub error \(719\); see `python -m dali_msda d"):
        blend_and_compare()
    stub.failing = 0
    assert stub.contexts == 0


def test_a_stream_waits_for_another(stub):
    device = driver.device(0)
    with device.current():
        device.wait_for(STREAM, 9)
    assert stub.records == 1 and stub.stream == STREAM and stub.waits == 0


def test_errors(stub, monkeypatch):
    with pytest.raises(RuntimeError, match=r"CUDA: stub error \(101\)"):
        driver.device(5)
    driver.library.cache_clear()

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(RuntimeError, match=r"CUDA: no driver \(libcuda\.so\.1 was not found\)"):
        driver.library()
