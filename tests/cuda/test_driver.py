"""The GPU's host on a driver that has no GPU: memory in turns, graphs, streams, errors."""

import ctypes
import os
import threading

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import cuda
from tests.cuda import kernel_arguments
from tests.cuda.host_gpu import STREAM, HostArray, install
from tests.support.batches import every_kind_of_record, random_images

SHAPE = (6, 7, 19, 3)
MOST_PIECES, MOST_BYTES = 32, 512 << 20  # of kernels/cuda/host/memory.h
MOST_TABLES = 64 << 20  # bytes, of kernels/cuda/host/driver.h


kept = []  # memory that a stream which has not started will read


@pytest.fixture
def device(monkeypatch):
    kept.clear()
    return install(monkeypatch)


@pytest.fixture
def stub(device):
    """What may be set and read of the driver, as it is after start-up."""
    return device.state


def batch(seed=0):
    plan = every_kind_of_record(*SHAPE[:3], seed=seed)
    plan["soft"] = 0
    return random_images(SHAPE, "uint8", seed), plan


def blended(seed=0):
    """What a GPU makes of a batch, and what it should."""
    images, plan = batch(seed)
    kept.append(images)
    given = {"layout": "CHW", "mirror": [0, 1] * 3}
    return msda.blend(HostArray(images), plan, **given).values, msda.blend(images, plan, **given)


def blend_and_compare(seed=0):
    np.testing.assert_array_equal(*blended(seed))


def finish(device, batches):
    """The device catches up, and has made what it should."""
    assert device.stub.stub_finish() == 0
    for got, want in batches:
        np.testing.assert_array_equal(got, want)


def pieces(stub):
    """How many pieces of pinned memory and of the device's were taken, besides tables."""
    return stub.pinned, stub.allocations - stub.tables


def test_from_the_array_to_the_kernel(stub):
    blend_and_compare()
    assert stub.launches == 2 and stub.modules == 2  # the masks and the blend
    assert stub.stream == STREAM and stub.contexts == stub.relaxed == 0
    _, plan = batch()
    labels = np.arange(6)
    soft = msda.targets(HostArray(labels), plan, num_classes=6)
    np.testing.assert_array_equal(soft.values, msda.targets(labels, plan, num_classes=6))
    assert stub.launches == 3 and stub.modules == 3


def test_after_the_first_batches_nothing_is_taken_and_nobody_waits(stub):
    """The first: of each size, and of each decay of the paper's law of FMix."""
    for seed in range(6):
        blend_and_compare(seed)
    tables, records = stub.tables, stub.records
    for seed in range(5):
        blend_and_compare(seed + 1)
    assert stub.tables == tables and stub.waits == 0
    assert stub.records == records + 2 * 5  # of pinned memory, and of the device's
    assert pieces(stub) == (1, 1)


def test_masks_that_records_share_cost_no_further_copy(device, stub):
    """Nor do they in a graph."""
    images, plan = batch()[0], msda.draw(msda.FMix(scope="batch"), *SHAPE[:3], seed=0, step=0)
    assert kernel_arguments.mask_lists(plan)[1:] == (1, 1)

    def blend():
        copies, launches = stub.copies, stub.launches
        got = msda.blend(HostArray(images), plan)
        if stub.capturing:
            stub.capturing = 0
            device.stub.stub_replay()
        np.testing.assert_array_equal(got.values, msda.blend(images, plan))
        return stub.copies - copies, stub.launches - launches

    assert blend() == (1, 2)
    stub.capturing = 1
    assert blend() == (1, 2)


def test_large_masks_after_small_ones(stub):
    """More shared memory than any kernel gets unasked: 51 KB, then 1 KB, then 51 KB again."""
    for size in (112, 16, 112):
        plan = msda.draw(msda.FMix(), 2, size, size, seed=0, step=0)
        out = HostArray(np.empty((2, size, size), np.float32))
        msda.mask(plan, size, size, out=out)
        np.testing.assert_array_equal(out.values, msda.mask(plan, size, size))


# ------------------------------------------------------------------------------------------ memory


def test_memory_that_a_device_still_reads_is_left_alone(device, stub):
    """Pinned memory is written by the CPU; that of the device is protected by the stream."""
    stub.deferred = 1
    for _ in range(3):
        finish(device, [blended(seed) for seed in range(4)])
        assert pieces(stub) == (4, 1) and stub.waits == 0


def test_a_caller_too_far_ahead_waits_for_the_oldest(device, stub):
    stub.deferred = 1
    batches = [blended() for _ in range(MOST_PIECES)]
    assert pieces(stub) == (MOST_PIECES, 1) and stub.waits == 0
    batches += [blended(1) for _ in range(3)]
    assert pieces(stub) == (MOST_PIECES, 1) and stub.waits == 3
    finish(device, batches)


def saliency_of(size):
    """Asks for it; takes scratch memory of some 36 bytes a pixel."""
    return msda.saliency(HostArray(np.zeros((6, size, size, 3), np.uint8)))


def test_scratch_memory_does_not_grow_with_the_batches_under_way(device, stub, monkeypatch):
    """Those of a stream use the same; 40 streams share what may be held at most."""
    stub.deferred = 1
    for _ in range(MOST_PIECES - 2):
        saliency_of(448)
    one = stub.bytes
    assert 4 << 20 < one <= 32 << 20 and pieces(stub)[1] == 1
    device.stub.stub_drop()
    stub.deferred, stub.failing = 0, 2  # memory is taken, kernels are not run
    stub.unfinished = 1
    for stream in range(100, 100 + 2 * MOST_PIECES):
        monkeypatch.setattr(cuda, "current_stream", lambda array, stream=stream: stream)
        with pytest.raises(RuntimeError, match="stub error"):
            saliency_of(448)
    assert one < stub.most_bytes <= MOST_BYTES


def test_memory_of_many_sizes_is_given_back(stub):
    """Pieces that are too small for what is asked now make room."""
    rng = np.random.default_rng(0)
    for size in rng.integers(1, 5000, 3 * MOST_PIECES):
        labels = rng.integers(0, 3, size)
        plan = msda.draw(msda.Mixup(), int(size), 2, 2, seed=0, step=0)
        got = msda.targets(HostArray(labels), plan, num_classes=3)
        np.testing.assert_array_equal(got.values, msda.targets(labels, plan, num_classes=3))
    assert stub.pinned_bytes < 3 << 20 and stub.bytes < 3 << 20


def test_more_streams_than_pieces(device, stub, monkeypatch):
    """A batch then waits, on the device, for the last one in its memory: the last runs first."""
    stub.deferred = 1
    batches = []
    for stream in range(2 * MOST_PIECES):
        monkeypatch.setattr(cuda, "current_stream", lambda array, stream=stream + 1: stream)
        batches.append(blended(stream))
    assert pieces(stub) == (MOST_PIECES, MOST_PIECES)
    finish(device, batches)


def test_a_new_stream_with_the_handle_of_an_old_one(device, stub):
    """Its order says nothing of work that is still under way on the old one."""
    stub.deferred = 1
    first = blended(0)
    device.stub.stub_reuse_handle(STREAM)
    finish(device, [first, blended(1)])
    assert pieces(stub)[1] == 1


def test_tables_stay_on_the_device_up_to_a_bound(device, stub):
    """What comes later is sent with its batch; addresses in graphs stay good."""
    blend_and_compare()
    stub.deferred = 1
    lengths = [1 << 20, 3 << 19, 5 << 18, 7 << 17]
    lengths.append((MOST_TABLES - stub.table_bytes - 12 * (1 + sum(lengths))) // 12)
    for length in lengths:
        plan = msda.draw(msda.FMix(), 1, shape=(length,), seed=0, step=0)
        msda.mask(plan, shape=(length,), out=HostArray(np.empty((1, length), np.float32)))
    device.stub.stub_drop()
    stub.deferred, tables = 0, stub.tables
    blend_and_compare()  # whose tables are there
    for shape in ((5, 9, 22, 3), (5, 11, 13, 1)):
        images, copies = random_images(shape, "uint8"), stub.copies
        plan = msda.draw(msda.FMix(), *shape[:3], seed=1, step=0)
        got = msda.blend(HostArray(images), plan)
        np.testing.assert_array_equal(got.values, msda.blend(images, plan))
        assert stub.copies == copies + 1
    assert stub.tables == tables


def test_parts_do_not_overlap(device):
    parts = [np.full(n, n % 251, np.uint8) for n in (1, 255, 256, 257, 160 * 7, 0)]
    addresses = (ctypes.c_void_p * 7)()
    given = np.array([part.ctypes.data for part in parts[:-1]] + [0], np.int64)
    sizes = np.array([part.size for part in parts], np.int64)
    ends = ctypes.c_void_p(STREAM), given.ctypes.data_as(ctypes.c_void_p)
    device.lib.host_send(*ends, sizes.ctypes.data_as(ctypes.c_void_p), 6, 1000, addresses)
    *there, scratch = addresses
    assert there[-1] is None and scratch % 256 == 0
    ctypes.memset(scratch, 1, 1000)
    for part, address in zip(parts[:-1], there, strict=False):
        assert address % 256 == 0
        assert ctypes.string_at(address, part.size) == part.tobytes()


# ------------------------------------------------------------------------------ graphs and threads


def test_what_a_graph_captures_is_kept_for_good(device, stub):
    """Replayed when other batches have used all other memory, it does the same once more."""
    blend_and_compare()
    stub.deferred = stub.capturing = 1
    captured = [blended(1), blended(2)]
    assert pieces(stub) == (3, 3) and stub.waits == stub.broken == stub.relaxed == 0
    stub.capturing = 0
    for _ in range(2):
        finish(device, [blended(seed) for seed in range(3, 6)])
        for got, _ in captured:
            got[...] = 0
        device.stub.stub_replay()
        finish(device, captured)
    assert pieces(stub) == (2 + 3, 3)  # three batches are under way at once


def test_a_batch_does_not_disturb_the_capture_of_another_thread(device, stub):
    """Neither with new memory, code and tables nor with old ones."""
    stub.elsewhere = stub.deferred = 1
    batches = [blended(seed) for seed in range(MOST_PIECES + 4)]
    assert stub.waits == 4
    assert stub.broken == stub.relaxed == 0
    stub.elsewhere = 0
    finish(device, batches)
    stub.deferred = 0
    for stub.elsewhere in (0, 1):
        blend_and_compare()
    assert stub.broken == 0


def test_threads_at_once(device, stub, monkeypatch):
    """Two on one stream, three on others; no batch's memory is another's."""
    streams = dict.fromkeys(range(5))
    mine = threading.local()
    monkeypatch.setattr(cuda, "current_stream", lambda array: mine.stream)
    wants = [msda.blend(*batch(seed)) for seed in range(5)]
    barrier = threading.Barrier(5)

    def work(number):
        mine.stream = 1 + max(1, number)
        images, plan = batch(number)
        barrier.wait()
        for _ in range(4):
            streams[number] = msda.blend(HostArray(images), plan).values

    threads = [threading.Thread(target=work, args=[number]) for number in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, want in enumerate(wants):
        np.testing.assert_array_equal(streams[number], want)
    assert stub.contexts == stub.relaxed == 0


def test_a_stream_waits_for_another(device, stub, monkeypatch):
    """And it for ours, when the work is there; nobody waits on the CPU."""
    images, plan = batch()
    monkeypatch.setattr(cuda, "current_stream", lambda array: array.stream or STREAM)
    out = HostArray(np.empty_like(images), stream=9)
    msda.blend(HostArray(images, stream=STREAM), plan, out=out)
    assert device.waited == [(STREAM, 9), (9, STREAM)] and stub.waits == 0
    stub.deferred = 1
    out.values[...] = 0
    msda.blend(HostArray(images, stream=STREAM), plan, out=out)
    finish(device, [(out.values, msda.blend(images, plan))])


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("failing", [1, 2, 4], ids=["copy", "launch", "memory"])
def test_what_fails_is_told_and_leaves_everything_usable(stub, failing):
    for seed in range(2):
        stub.failing = failing
        with pytest.raises(RuntimeError, match=r"CUDA: stub error \(\d+\); see `python -m dali_ms"):
            msda.mask(batch(seed)[1], *SHAPE[1:3], out=HostArray(np.zeros(SHAPE[:3], np.float32)))
            saliency_of(64 << seed)
        stub.failing = 0
        blend_and_compare(seed)
        assert stub.contexts == stub.relaxed == 0


def test_errors(device):
    images, plan = batch()
    with pytest.raises(RuntimeError, match=r"CUDA: stub error \(101\)"):
        msda.blend(HostArray(images, 5), plan, out=HostArray(images.copy(), 5))
    said = device.lib.host_open(b"libcuda.so.none")
    assert said == b"CUDA: no driver (libcuda.so.none was not found)"


def test_a_forked_process_is_told_what_it_cannot_do(device):
    blend_and_compare()
    child = os.fork()
    if child == 0:
        try:
            blend_and_compare()
        except RuntimeError as error:
            os._exit(0 if "a forked process cannot use a GPU" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    blend_and_compare()
