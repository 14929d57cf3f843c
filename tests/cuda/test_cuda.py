"""Arrays on a GPU give the CPU's bits: for CuPy, for torch, and for a device that is emulated.

``pytest -m gpu`` runs the first two; they need a CUDA device, NumPy, CuPy and torch, nothing else.
With ``-m "gpu and sanitized"`` CuPy takes each array's memory from the driver, so that a checker of
addresses sees where one ends.
"""

import ctypes
import itertools
import shutil

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import cuda_arrays
from tests.cuda.host_gpu import HostArray, install, library_file, loaded
from tests.support.batches import every_kind_of_record, normalisation, random_images
from tests.support.doors import POISON, STORED, assert_same, output_shape, widened
from tests.support.fmix_plans import LAWS, SHARED, records
from tests.support.variants import CASES, draw_any, make, name_of

KINDS = [
    ("uint8", "uint8"),
    *itertools.product(("uint8", "float32"), ("float32", "float16", "bfloat16")),
]
SHAPES = [
    (7, 24, 32, 3),
    (5, 9, 48, 1),
    (6, 11, 37, 3),
    (3, 5, 16, 4),
    (2, 1, 1, 3),
    (4, 3, 1, 1),
    (3, 7, 2, 2),
]


class Emulated:
    """Arrays in CPU memory; every kernel runs, thread by thread, on the CPU."""

    real = False

    def __init__(self, monkeypatch):
        self.device = install(monkeypatch)

    def array(self, values):
        return HostArray(values.copy())

    def numpy(self, array):
        return array.values


class Cupy:
    real = True

    def __init__(self, monkeypatch):
        self.cupy = pytest.importorskip("cupy")
        if not self.cupy.cuda.is_available():
            pytest.skip("this CuPy has no CUDA device")

    def array(self, values):
        return self.cupy.asarray(values)

    def numpy(self, array):
        return self.cupy.asnumpy(array)

    def stream(self):
        return self.cupy.cuda.Stream(non_blocking=True)

    def wait(self):
        self.cupy.cuda.Device().synchronize()

    def free(self):
        """Bytes of the device that nobody has."""
        return self.cupy.cuda.runtime.memGetInfo()[0]

    def graph(self, work):
        """What records some work; calling the result repeats it."""
        stream = self.stream()
        with stream:
            stream.begin_capture()
            work()
            graph = stream.end_capture()
        return lambda: (graph.launch(stream), stream.synchronize())


class Torch:
    real = True

    def __init__(self, monkeypatch):
        self.torch = pytest.importorskip("torch")
        if not self.torch.cuda.is_available():
            pytest.skip("this torch has no CUDA")

    def array(self, values):
        tensor = self.torch.from_numpy(np.ascontiguousarray(values))
        return (tensor.view(self.torch.bfloat16) if values.dtype == np.uint16 else tensor).cuda()

    def numpy(self, array):
        if array.dtype == self.torch.bfloat16:
            array = array.view(self.torch.uint16)
        return array.cpu().numpy()

    def stream(self):
        return self.torch.cuda.stream(self.torch.cuda.Stream())

    def wait(self):
        self.torch.cuda.synchronize()

    def free(self):
        """Bytes of the device that nobody has."""
        return self.torch.cuda.mem_get_info()[0]

    def graph(self, work):
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            work()
        return lambda: (graph.replay(), self.torch.cuda.synchronize())


gpu = pytest.mark.gpu
sanitized = pytest.mark.sanitized
LIBRARIES = [Emulated, pytest.param(Cupy, marks=gpu), pytest.param(Torch, marks=gpu)]


def opened(request, monkeypatch):
    library = request.param(monkeypatch)
    if isinstance(library, Cupy) and "sanitized" in request.config.option.markexpr:
        library.cupy.cuda.set_allocator(None)  # no pool
    return library


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.__name__.lower())
def there(request, monkeypatch):
    return opened(request, monkeypatch)


@pytest.fixture(params=LIBRARIES[1:], ids=lambda library: library.__name__.lower())
def really(request, monkeypatch):
    return opened(request, monkeypatch)


def poisoned(there, shape, dtype):
    size = int(np.prod(shape)) * np.dtype(STORED[dtype]).itemsize
    return there.array(np.full(size, POISON, np.uint8).view(STORED[dtype]).reshape(shape))


def blended(there, images, plan, dtype, layout, out=True, **options):
    """The blend of a GPU into poisoned memory."""
    shape = (*plan.shape, *output_shape(images, layout)[1:])
    memory = poisoned(there, shape, dtype) if out else None
    given = there.array(images)
    got = msda.blend(given, plan, dtype=dtype, layout=layout, out=memory, **options)
    return widened(there.numpy(got), dtype)


def on_the_cpu(images, plan, dtype, layout, **options):
    return widened(msda.blend(images, plan, dtype=dtype, layout=layout, **options), dtype)


@sanitized
@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize("source, dtype", KINDS)
def test_every_type_layout_and_shape(there, source, dtype, layout):
    for seed, shape in enumerate(SHAPES):
        images = random_images(shape, source, seed)
        plan = every_kind_of_record(*shape[:3], seed=seed)
        options = {} if dtype == "uint8" else normalisation(shape[3], "mean and std")
        if seed % 2:
            options["mirror"] = np.random.default_rng(seed).random(len(images)) < 0.5
        want = on_the_cpu(images, plan, dtype, layout, **options)
        assert_same(blended(there, images, plan, dtype, layout, **options), want)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_method(there, case):
    for seed, shape in enumerate([(6, 9, 24, 3), (5, 8, 21, 3)]):
        images = random_images(shape, "uint8", seed)
        plan = draw_any(make(case), *shape[:3], seed=seed, step=1)
        want = on_the_cpu(images, plan, "float16", "CHW", std=60.0)
        assert_same(blended(there, images, plan, "float16", "CHW", std=60.0), want)


@sanitized
def test_interpolations(there):
    """Those of a sample share a field, whose values a softened mask replaces."""
    images = random_images((5, 6, 17, 3), "uint8")
    fields = msda.FMix(), msda.FMix(max_soft=0.4), msda.FMix(scope="batch"), msda.FMix(modes=2)
    for policy in (*fields, msda.CutMix(), msda.Mixup()):
        plan = msda.draw(msda.MultiMix(policy, 4), 5, 6, 17, seed=1, step=2)
        if plan["soft"].any():
            plan["soft"][:, 1] = 0
        want = on_the_cpu(images, plan, "float32", "CHW")
        assert_same(blended(there, images, plan, "float32", "CHW"), want)


@sanitized
@pytest.mark.parametrize("name", SHARED)
def test_masks_that_records_share(there, name):
    images = random_images((7, 9, 21, 3), "uint8")
    plan = msda.draw(SHARED[name], 7, 9, 21, seed=4, step=1)
    want = on_the_cpu(images, plan, "float16", "CHW", std=60.0)
    assert_same(blended(there, images, plan, "float16", "CHW", std=60.0), want)
    out = there.array(np.full((*plan.shape, 9, 21), np.nan, np.float32))
    got = there.numpy(msda.mask(plan, 9, 21, out=out))
    np.testing.assert_array_equal(got, msda.mask(plan, 9, 21))


@pytest.mark.parametrize("shape", [(45,), (1, 33), (3, 7, 10), (4, 5, 32)], ids=str)
def test_sequences_and_volumes(there, shape):
    policies = [msda.Mixup(n=3), msda.FMix(max_soft=0.3), msda.FMix(), msda.FMix(law="legacy")]
    for seed, policy in enumerate(policies):
        images = random_images((5, *shape, 3), "uint8", seed)
        plan = msda.draw(policy, 5, shape=shape, seed=seed, step=0)
        for dtype, layout in (("float16", "CHW"), ("uint8", "HWC")):
            want = on_the_cpu(images, plan, dtype, layout)
            got = widened(
                there.numpy(msda.blend(there.array(images), plan, dtype=dtype, layout=layout)),
                dtype,
            )
            assert_same(got, want)
        if len(shape) == 1:
            memory = np.full((5, *shape), np.nan, np.float32)
            weights = msda.mask(plan, shape=shape, out=there.array(memory))
            np.testing.assert_array_equal(there.numpy(weights), msda.mask(plan, shape=shape))


@sanitized
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_in_place(there, dtype):
    images = random_images((8, 9, 19, 3), dtype)
    for seed, policy in enumerate([msda.Mixup, msda.GMix, msda.FMix]):
        plan = msda.draw(policy(scope="pair", partner="flip"), 8, 9, 19, seed=seed, step=0)
        array = there.array(images)
        assert msda.blend(array, plan, out=array) is array
        assert_same(there.numpy(array), msda.blend(images, plan))


@sanitized
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(12, 10), (61, 64), (31, 97)], ids=str)
def test_masks(there, shape, law):
    plan = records(7, (1, *shape), lam=np.linspace(0, 1, 7), **LAWS[law])
    plan["decay"][1::2] += 0.5  # of which the amplitudes are not on the device
    plan["soft"][2:5:2] = 9, plan["count"][4] // 2
    out = there.array(np.full((7, *shape), np.nan, np.float32))
    got = there.numpy(msda.mask(plan, *shape, out=out))
    np.testing.assert_array_equal(got, msda.mask(plan, *shape))


@sanitized
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float32])
def test_targets(there, kind):
    plan, rng = every_kind_of_record(33, 4, 4), np.random.default_rng(0)
    labels = rng.integers(0, 11, 33).astype(kind)
    if kind == np.float32:
        labels = rng.random((33, 11), np.float32)
    given = {"num_classes": 11, "smoothing": 0.1}
    got = msda.targets(there.array(labels), plan, **given)
    np.testing.assert_array_equal(there.numpy(got), msda.targets(labels, plan, **given))
    if kind != np.float32:
        got = msda.targets(there.array(labels), plan, compact=True)
        for one, other in zip(got, msda.targets(labels, plan, compact=True), strict=True):
            np.testing.assert_array_equal(there.numpy(one), other)


@sanitized
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(6, 9, 31, 3), (3, 40, 26, 1), (2, 1, 1, 3)], ids=str)
def test_saliency(there, shape, dtype):
    images = random_images(shape, dtype)
    flags = np.arange(len(images)) % 2
    for mirror in (None, flags, there.array(flags.astype(np.uint8))):
        on_cpu = mirror if mirror is None else flags
        peaks, maps = msda.saliency(there.array(images), maps=True, mirror=mirror)
        want = msda.saliency(images, maps=True, mirror=on_cpu)
        assert_same(there.numpy(peaks), want[0])
        assert_same(there.numpy(maps), want[1])
        assert_same(there.numpy(msda.saliency(there.array(images), mirror=mirror)), want[0])


def test_saliencymix(there):
    """The peaks are read back on the way."""
    images, labels = random_images((6, 24, 17, 3), "uint8"), np.arange(6)
    policy, flags = msda.Choice([msda.SaliencyMix(), msda.GMix()]), np.arange(6) % 2
    settings = {"num_classes": 6, "seed": 1, "step": 2, "mirror": flags, "dtype": "float16"}
    want = msda.mix(images, labels, policy, **settings)
    got = msda.mix(there.array(images), there.array(labels), policy, **settings)
    for one, other in zip(got, want, strict=True):
        assert_same(there.numpy(one), other)


def test_new_outputs_are_of_the_same_library(there):
    images, labels = random_images((4, 6, 8, 3), "uint8"), np.arange(4)
    array = there.array(images)
    for dtype in ("uint8", "float16", "bfloat16"):
        plan = every_kind_of_record(4, 6, 8)
        got = msda.blend(array, plan, dtype=dtype)
        assert type(got) is type(array)
        assert_same(widened(there.numpy(got), dtype), on_the_cpu(images, plan, dtype, "HWC"))
    mixed, soft = msda.mix(array, there.array(labels), msda.GMix(), num_classes=4, seed=0, step=0)
    assert type(mixed) is type(soft) is type(array)


# ------------------------------------------------------------------------------ on a GPU, for real


@gpu
def test_any_address(really):
    """Samples may begin at any byte, and lie apart."""
    room = random_images((1 << 16,), "uint8")
    there = really.array(room)
    for offset in (0, 1, 2, 3, 5, 8, 13):
        size = 6 * 7 * 21 * 3
        images = room[offset : offset + size].reshape(6, 7, 21, 3)
        array = there[offset : offset + size].reshape(6, 7, 21, 3)
        plan = every_kind_of_record(6, 7, 21, seed=offset)
        want = msda.blend(images, plan, dtype="float16", layout="CHW")
        got = msda.blend(array, plan, dtype="float16", layout="CHW")
        assert_same(really.numpy(got), want)


@gpu
@pytest.mark.parametrize("size", [(224, 224), (176, 176), (225, 223), (352, 352), (194, 388)])
def test_large_images(really, size):
    images = random_images((16, *size, 3), "uint8")
    policies = [msda.Mixup(), msda.CutMix(), msda.FMix(), msda.HMix(), msda.GMix()]
    plan = msda.draw(msda.Choice(policies), 16, *size, seed=1, step=0)
    options = {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}
    options["mirror"] = np.arange(16) % 2
    for dtype, layout in itertools.product(("float16", "bfloat16", "float32"), ("CHW", "HWC")):
        want = on_the_cpu(images, plan, dtype, layout, **options)
        assert_same(blended(really, images, plan, dtype, layout, **options), want)


@gpu
@pytest.mark.parametrize("size", [48, 160, 224, 300])
def test_masks_in_shared_memory_and_in_global_memory(really, size):
    """No card has shared memory for the largest, all have for the smallest."""
    plan = records(40, (1, size, size), lam=np.linspace(0, 1, 40))
    out = really.array(np.zeros((40, size, size), np.float32))
    got = really.numpy(msda.mask(plan, size, size, out=out))
    np.testing.assert_array_equal(got, msda.mask(plan, size, size))


@gpu
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 1, 97), (1, 7, 11), (1, 223, 222), (1, 352, 176), (24, 40, 33)],
    ids=str,
)
def test_masks_of_every_length(really, shape, law):
    """Steps of one pass and of two, odd rows and columns, primes, volumes."""
    plan = records(9, shape, lam=np.linspace(0, 1, 9), **LAWS[law])
    out = really.array(np.full((9, *shape), np.nan, np.float32))
    got = really.numpy(msda.mask(plan, shape=shape, out=out))
    np.testing.assert_array_equal(got, msda.mask(plan, shape=shape))


@gpu
@pytest.mark.parametrize("size", [(224, 224), (331, 299), (64, 61)])
def test_saliency_of_large_images(really, size):
    images = random_images((9, *size, 3), "uint8") // np.uint8(2)
    images[:, 10:40, 5:50] += np.arange(9, dtype=np.uint8)[:, None, None, None] * np.uint8(12)
    peaks, maps = msda.saliency(really.array(images), maps=True)
    want = msda.saliency(images, maps=True)
    np.testing.assert_array_equal(really.numpy(maps), want[1])
    np.testing.assert_array_equal(really.numpy(peaks), want[0])


@gpu
def test_streams_do_not_disturb_each_other(really):
    """Many batches on several streams, none of which is waited for before the end."""
    shape = (8, 64, 64, 3)
    images = [random_images(shape, "uint8", seed) for seed in range(4)]
    arrays = [really.array(batch) for batch in images]
    outs = [poisoned(really, (8, 3, 64, 64), "float16") for _ in range(40)]
    plans = [every_kind_of_record(8, 64, 64, seed=step) for step in range(40)]
    streams = [really.stream() for _ in range(3)]
    really.wait()  # these streams do not wait for the one that made the arrays
    for step, (plan, out) in enumerate(zip(plans, outs, strict=True)):
        with streams[step % 3]:
            msda.blend(arrays[step % 4], plan, dtype="float16", layout="CHW", out=out)
    really.wait()
    for step, (plan, out) in enumerate(zip(plans, outs, strict=True)):
        want = msda.blend(images[step % 4], plan, dtype="float16", layout="CHW")
        assert_same(really.numpy(out), want)


@gpu
def test_no_memory_is_taken_after_the_first_batches(really):
    images = really.array(random_images((8, 32, 32, 3), "uint8"))
    out = poisoned(really, (8, 3, 32, 32), "float16")

    def step(number):
        plan = every_kind_of_record(8, 32, 32, seed=number % 3)
        msda.blend(images, plan, dtype="float16", layout="CHW", out=out)

    for number in range(3):
        step(number)
        really.wait()
    free = really.free()
    for number in range(50):
        step(number)
        really.wait()
    assert really.free() == free


@gpu
def test_more_batches_than_may_be_under_way(really):
    """The caller is then held back, and nothing is overwritten."""
    images = random_images((4, 16, 16, 3), "uint8")
    array, count = really.array(images), 200
    plans = [every_kind_of_record(4, 16, 16, seed=step) for step in range(count)]
    outs = [poisoned(really, images.shape, "uint8") for _ in plans]
    really.wait()
    free = really.free()
    for plan, out in zip(plans, outs, strict=True):
        msda.blend(array, plan, out=out)
    for plan, out in zip(plans, outs, strict=True):
        np.testing.assert_array_equal(really.numpy(out), msda.blend(images, plan))
    assert really.free() >= free - (64 << 20)


@gpu
def test_a_graph_repeats_a_batch(really):
    """Captured once; replayed on other images, with the plan of the capture."""
    first, second = (random_images((6, 24, 24, 3), "uint8", seed) for seed in (0, 1))
    labels = np.arange(6)
    array, indices = really.array(first), really.array(labels)
    out = poisoned(really, (6, 3, 24, 24), "float16")
    rows = really.array(np.full((6, 6), np.nan, np.float32))
    plan = msda.draw(msda.FMix(), 6, 24, 24, seed=0, step=0)

    def work():
        msda.blend(array, plan, dtype="float16", layout="CHW", out=out)
        msda.targets(indices, plan, num_classes=6, out=rows)

    work()  # compiles, loads, makes tables
    really.wait()
    replay = really.graph(work)
    other = every_kind_of_record(6, 24, 24, seed=5)
    for images in (second, first):
        array[...] = really.array(images)
        msda.blend(array, other)  # something else between the replays
        really.wait()
        replay()
        want = msda.blend(images, plan, dtype="float16", layout="CHW")
        assert_same(really.numpy(out), want)
        np.testing.assert_array_equal(really.numpy(rows), msda.targets(labels, plan, num_classes=6))


@gpu
def test_arrays_of_one_library_on_the_other(really):
    """By DLPack and the array interface, without a copy."""
    cupy, torch = pytest.importorskip("cupy"), pytest.importorskip("torch")
    images, plan = random_images((4, 6, 8, 3), "uint8"), every_kind_of_record(4, 6, 8)
    out = cupy.empty((4, 6, 8, 3), cupy.uint8)
    msda.blend(torch.from_numpy(images).cuda(), plan, out=out)
    torch.cuda.synchronize()
    np.testing.assert_array_equal(cupy.asnumpy(out), msda.blend(images, plan))

    class OnlyDlpack:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **how):
            return self.array.__dlpack__(**how)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    given = OnlyDlpack(cupy.asarray(images))
    assert cuda_arrays.on_gpu(given)
    got = msda.blend(given, plan)
    torch.cuda.synchronize()
    np.testing.assert_array_equal(np.asarray(got.cpu()), msda.blend(images, plan))


@gpu
def test_several_devices(really):
    torch = pytest.importorskip("torch")
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only")
    images, plan = random_images((4, 6, 8, 3), "uint8"), every_kind_of_record(4, 6, 8)
    for index in range(torch.cuda.device_count()):
        got = msda.blend(torch.from_numpy(images).cuda(index), plan)
        assert got.device.index == index
        np.testing.assert_array_equal(got.cpu().numpy(), msda.blend(images, plan))


@gpu
def test_launches_fill_the_device(tmp_path):
    lib = loaded(shutil.copy(library_file(), tmp_path))  # one that knows no other driver
    lib.host_use(b"libcuda.so.1")
    for name in ("msda_blend_uint8_float16", "msda_field_masks"):
        found = (ctypes.c_int32 * 3)()
        lib.host_occupancy(name.encode(), found)
        block, resident, multiprocessors = found
        assert block >= 32 and resident >= multiprocessors > 0
