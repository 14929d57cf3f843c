"""Puzzle Mix on a GPU: the CPU's bits, for arrays of real libraries and for a device in emulation.

``pytest -m gpu`` runs what needs a device: the fixtures of test_cuda.py, by which a test takes the
arrays of each library, have ``pytest.mark.gpu`` on those of a real one. Without a device the
kernels run thread by thread, as g++ compiles them and as NVRTC does (ptx/).
"""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest

import dali_msda as msda
from dali_msda import puzzle
from dali_msda.backends import cuda_arrays
from tests.cuda.host_gpu import STREAM, HostArray, install
from tests.cuda.ptx import library
from tests.cuda.test_cuda import KINDS, Cupy, really, sanitized, there  # noqa: F401
from tests.methods.puzzle_batches import plan_of
from tests.support.batches import random_images
from tests.support.doors import assert_same, widened

BATCH = 9


def maps_of_all_kinds(size, seed=0):
    """Peaked, smooth, of few values, uniform, one pixel, not usable in three ways, and tiny."""
    rng = np.random.default_rng(seed)
    maps = np.exp(2 * rng.standard_normal((BATCH, *size))).astype(np.float32)
    maps[1] = np.linspace(0, 1, maps[1].size).reshape(size)
    maps[2] = rng.integers(0, 2, size)
    maps[3] = 7
    maps[4] = 0
    maps[4, -1, -1] = 1
    maps[5], maps[6, 0, 0], maps[7, 1, 1] = 0, np.nan, -1
    maps[8] *= np.float32(1e-42)
    return maps


def images_of_all_kinds(size, source, channels=3, seed=0):
    """Noise, and images whose borders all cost the same, or nothing."""
    images = random_images((BATCH, *size, channels), source, seed)
    images[3], images[4] = 0, 200 if source == "uint8" else 0.75
    return images


def as_planes(where, images):
    """The images on the GPU, channel by channel."""
    planes = np.ascontiguousarray(np.moveaxis(images, 3, 1))
    if not where.real:
        return HostArray(np.moveaxis(planes, 1, 3))
    array = where.array(planes)
    return getattr(array, "permute", array.transpose)(0, 2, 3, 1)


def solved(where, images, maps, plan, planar=False, **how):
    """What a GPU finds, in NumPy."""
    given = as_planes(where, images) if planar else where.array(images)
    found = puzzle.solve(given, where.array(maps), plan, **how)
    cells, weights, uniform = map(where.numpy, (found.cells, found.weights, found.uniform))
    return puzzle.Solution(found.drawn, cells, found.levels, uniform, weights)


def assert_same_solution(got, want):
    np.testing.assert_array_equal(got.cells, want.cells)
    np.testing.assert_array_equal(got.uniform, want.uniform)
    np.testing.assert_array_equal(got.plan, want.plan)


SOLUTIONS = [  # blocks, settings
    (2, dict()),
    (2, dict(places=8, levels=4)),
    (3, dict(places=6, beta=8.0, gamma=1.0)),
    (4, dict(levels=2, eta=0.0)),
    (4, dict(places=8, move_cost=0.0)),
    (5, dict(transport=False)),
    (8, dict(levels=4, beta=0.0)),
    (8, dict(beta=8.0, eta=1.0, move_cost=0.01)),
    (16, dict(places=16, beta=0.3)),
    (16, dict(levels=4, beta=8.0, gamma=1.0, move_cost=0.0)),
]


@sanitized
@pytest.mark.parametrize("blocks, settings", SOLUTIONS)
def test_masks_and_what_moves(there, blocks, settings):  # noqa: F811
    places = max(blocks, settings.get("places", 2))
    size = 2 * places, 4 * places
    maps, images = maps_of_all_kinds(size), images_of_all_kinds(size, "uint8")
    how = {"blocks": blocks, "settings": puzzle.PuzzleSettings(cell=2, **settings)}
    plan = plan_of(BATCH, *size, lam=np.linspace(0, 1, BATCH, dtype=np.float32))
    want = puzzle.solve(images, maps, plan, **how)
    assert_same_solution(solved(there, images, maps, plan, **how), want)
    assert want.uniform.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 0]


@sanitized
def test_interpolations_floats_and_unmixed_samples(there):  # noqa: F811
    """Normalised floats, channel by channel, of one channel; outputs in several blocks."""
    size, how = (24, 16), {"blocks": 4, "settings": puzzle.PuzzleSettings(cell=2)}
    for channels, k in ((3, 5), (1, None)):
        plan = plan_of(BATCH, *size, k=k, prob=0.7, partner="roll")
        assert 1 in plan["sources"]
        images = images_of_all_kinds(size, "float32", channels)
        maps, how["mean"], how["std"] = maps_of_all_kinds(size), 0.4, 0.3
        want = puzzle.solve(images, maps, plan, **how)
        for planar in (False, True):
            assert_same_solution(solved(there, images, maps, plan, planar, **how), want)


def some_solution(batch, size, places, k=None):
    """Cells of any weights, with parts of any places, as no mask has them."""
    rng = np.random.default_rng(places)
    plan = plan_of(batch, *size, k=k, prob=0.8)
    cells = rng.integers(0, places**2, (*plan.shape, places, places, 3), np.uint8)
    cells[..., 0] = rng.integers(0, 4, cells.shape[:-1])
    return puzzle.Solution(plan, cells, 4, np.zeros(batch, np.uint8))


BLENDS = [  # batch, height, width, channels, places
    (5, 32, 32, 3, 8),
    (3, 14, 28, 3, 7),  # of 12 values, and rows at any address
    (4, 9, 15, 1, 3),
    (3, 16, 16, 1, 16),  # a pixel each
    (2, 8, 2, 2, 2),
    (1, 6, 9, 4, 3),
    (3, 4, 520, 3, 4),  # rows of more groups than a block has threads
]


@sanitized
@pytest.mark.parametrize("planar", [False, True], ids=["HWC", "CHW"])
@pytest.mark.parametrize("source, dtype", KINDS)
def test_blends(there, source, dtype, planar):  # noqa: F811
    for batch, *size, channels, places in BLENDS:
        found = some_solution(batch, size, places, k=None if batch % 2 else 2)
        images = random_images((batch, *size, channels), source, batch)
        given = as_planes(there, images) if planar else there.array(images)
        seen = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 3, 1)), 1, 3)
        want = puzzle.blend(seen if planar else images, found, dtype=dtype)
        cells = there.array(found.cells)
        got = puzzle.blend(given, puzzle.Solution(found.drawn, cells, 4, None), dtype=dtype)
        assert_same(widened(there.numpy(got), dtype), widened(want, dtype))


@sanitized
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float32])
def test_targets_with_the_weights_of_masks(there, kind):  # noqa: F811
    rng, plan = np.random.default_rng(0), plan_of(BATCH, 8, 8, k=2, prob=0.7)
    labels = rng.integers(0, 11, BATCH).astype(kind)
    if kind == np.float32:
        labels = rng.random((BATCH, 11), np.float32)
    weights = rng.random(plan.shape, np.float32)
    weights[plan["sources"] == 1] = 1
    weighed = puzzle.Solution(plan, None, 3, None, weights).plan
    for how in (dict(num_classes=11, smoothing=0.1), dict(compact=True)):
        if kind == np.float32 and "compact" in how:
            continue
        whole = msda.targets(labels, weighed, **how)
        here = msda.targets(labels, plan, weights=weights, **how)
        got = msda.targets(there.array(labels), plan, weights=there.array(weights), **how)
        parts = (
            ((whole, here, got),) if "num_classes" in how else zip(whole, here, got, strict=True)
        )
        for want, one, other in parts:
            np.testing.assert_array_equal(one, want)
            np.testing.assert_array_equal(there.numpy(other), want)


def test_a_batch_in_a_graph(really):  # noqa: F811
    """A launch of the graph mixes what lies in the same memory by then."""
    if isinstance(really, Cupy):
        pytest.skip("CuPy takes new memory while it captures, which CUDA forbids")
    size, made = (32, 32), {}
    plan = plan_of(BATCH, *size)
    batches = [images_of_all_kinds(size, "uint8", seed=seed) for seed in range(2)]
    maps = [maps_of_all_kinds(size, seed) for seed in range(2)]
    given, saliency = really.array(batches[0]), really.array(maps[0])
    labels = really.array(np.arange(BATCH))

    def work():
        found = puzzle.solve(given, saliency, plan, blocks=8)
        made["images"] = puzzle.blend(given, found)
        made["rows"] = msda.targets(labels, plan, num_classes=BATCH, weights=found.weights)

    work()
    replay = really.graph(work)
    given[...], saliency[...] = really.array(batches[1]), really.array(maps[1])
    replay()
    want = puzzle.solve(batches[1], maps[1], plan, blocks=8)
    np.testing.assert_array_equal(really.numpy(made["images"]), puzzle.blend(batches[1], want))
    rows = msda.targets(np.arange(BATCH), want.plan, num_classes=BATCH)
    np.testing.assert_array_equal(really.numpy(made["rows"]), rows)


# ------------------------------------------------------------------------------- without a device


@pytest.fixture
def device(monkeypatch):
    return install(monkeypatch)


SMALL = [(4, dict(levels=4)), (8, dict(beta=8.0, move_cost=0.0))]
ENTRIES = ["pool_uint8", "pool_float32", "masks", "weights", "blend_float32_bfloat16"]


@pytest.mark.parametrize("arch", ["sm_90", pytest.param("sm_120", marks=pytest.mark.every_card)])
def test_what_nvrtc_makes(device, arch):
    """Its PTX, run in place of the kernels: the CPU's bits, and no race."""
    code = library.code(arch)
    for entry in ENTRIES:
        device.replace(f"msda_puzzle_{entry}", code)
    for blocks, settings in SMALL:
        size, plan = (16, 16), plan_of(BATCH, 16, 16, k=2)
        how = {"blocks": blocks, "settings": puzzle.PuzzleSettings(cell=2, **settings)}
        maps, labels = maps_of_all_kinds(size), np.arange(BATCH)
        for source in ("uint8", "float32"):
            images = images_of_all_kinds(size, source)
            want = puzzle.solve(images, maps, plan, **how)
            found = puzzle.solve(HostArray(images), HostArray(maps), plan, **how)
            np.testing.assert_array_equal(found.cells.values, want.cells)
            np.testing.assert_array_equal(found.weights.values, want.weights)
            np.testing.assert_array_equal(found.uniform.values, want.uniform)
        mixed = puzzle.blend(HostArray(images), found, dtype="bfloat16")
        on_cpu = puzzle.blend(images, want, dtype="bfloat16")
        assert_same(widened(mixed.values, "bfloat16"), widened(on_cpu, "bfloat16"))
        rows = msda.targets(HostArray(labels), plan, num_classes=9, weights=found.weights)
        np.testing.assert_array_equal(rows.values, msda.targets(labels, want.plan, num_classes=9))


def test_nothing_is_allocated_for_a_batch_and_nobody_waits(device):
    """Nor is anything copied back; the weights are only when they are asked for."""
    size, state = (16, 16), device.state
    images, maps = images_of_all_kinds(size, "float32"), maps_of_all_kinds(size)
    labels, plan = HostArray(np.arange(BATCH)), plan_of(BATCH, *size)
    state.deferred = state.unfinished = 1
    results = []
    for step in range(3):
        found = puzzle.solve(HostArray(images), HostArray(maps), plan, blocks=4)
        mixed = puzzle.blend(HostArray(images), found)
        rows = msda.targets(labels, plan, num_classes=9, weights=found.weights)
        results.append((found, mixed, rows))
        if step == 0:
            state.allocations = 0
    assert state.waits == 0 and state.allocations == 0 and state.stream == STREAM
    assert (mixed.values == 77).all()  # nothing has run
    state.unfinished = 0
    assert device.stub.stub_finish() == 0
    want = puzzle.solve(images, maps, plan, blocks=4)
    for found, mixed, rows in results:
        np.testing.assert_array_equal(found.cells.values, want.cells)
        np.testing.assert_array_equal(found.plan, want.plan)
        np.testing.assert_array_equal(found.mask(*size), want.mask(*size))
        np.testing.assert_array_equal(mixed.values, puzzle.blend(images, want))
        np.testing.assert_array_equal(
            rows.values, msda.targets(labels.values, want.plan, num_classes=9)
        )


@pytest.mark.parametrize("order", ["contiguous_format", "channels_last"])
def test_the_class_on_a_gpu(monkeypatch, order):
    """The CPU's images, targets and count of unusable maps; halves, which become floats."""
    torch = pytest.importorskip("torch")
    from dali_msda.torch import PuzzleMix
    from tests.cuda.pretend_cuda import PretendCuda, There

    theirs = cuda_arrays.empty, cuda_arrays.on_cpu
    install(monkeypatch)
    monkeypatch.setattr(cuda_arrays, "empty", theirs[0])
    monkeypatch.setattr(cuda_arrays, "on_cpu", theirs[1])
    images = torch.rand(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = images.to(memory_format=getattr(torch, order))
    maps, labels = torch.from_numpy(maps_of_all_kinds((16, 16))), torch.arange(BATCH)
    how = {"blocks": (2, 4, 8), "settings": puzzle.PuzzleSettings(cell=2), "seed": 5}
    for more in (dict(k=2), dict(compact=True, prior_lam=0.5), dict(smoothing=0.1)):
        here, over = (PuzzleMix(BATCH, **how, **more) for _ in range(2))
        for given in (images, images.half()):
            with pytest.warns(RuntimeWarning) if not here.step else nullcontext():
                want = here(given, labels, maps)
            with PretendCuda(), warnings.catch_warnings():
                warnings.simplefilter("error")
                got = over(given.cuda(), labels.cuda(), maps.cuda())
                assert all(isinstance(part, There) for part in got)
            for one, other in zip(got, want, strict=True):
                assert torch.equal(one.as_subclass(torch.Tensor), other)
        with PretendCuda():
            assert over.uniform_maps == here.uniform_maps == 6
        assert over.state_dict() == here.state_dict()


def test_arrays_that_are_refused(device):
    images, maps = np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 8, 16), np.float32)
    plan, given = plan_of(2, 8, 8), HostArray(images)
    with pytest.raises(ValueError, match="saliency: expected an array on the GPU, like the others"):
        puzzle.solve(given, maps[..., ::2], plan, blocks=2)
    with pytest.raises(ValueError, match="saliency: expected a contiguous array"):
        puzzle.solve(given, HostArray(maps[..., ::2]), plan, blocks=2)
    with pytest.raises(ValueError, match="images: expected sides that are multiples of 3"):
        puzzle.solve(given, HostArray(maps[..., :8].copy()), plan, blocks=3)
    none = puzzle.solve(given[:0], HostArray(maps[:0, :, :8].copy()), plan[:0], blocks=2)
    assert puzzle.blend(given[:0], none).values.shape == (0, 8, 8, 3)
    found = some_solution(2, (8, 8), 4)
    with pytest.raises(ValueError, match="cells: expected an array on the GPU, like the others"):
        puzzle.blend(given, found)
    with pytest.raises(ValueError, match="cells: expected an array in CPU memory"):
        puzzle.blend(images, puzzle.Solution(plan, HostArray(found.cells), 4, None))
    with pytest.raises(ValueError, match="weights: expected float32"):
        msda.targets(np.arange(2), plan, num_classes=2, weights=np.ones(2))
    with pytest.raises(ValueError, match=r"weights: expected numbers in \[0, 1\], got nan"):
        msda.targets(np.arange(2), plan, compact=True, weights=np.float32([1, np.nan]))
    three = plan_of(2, 8, 8, n=3)
    with pytest.raises(ValueError, match="weights: expected none with records of 3 samples"):
        msda.targets(np.arange(2), three, compact=True, weights=np.ones(2, np.float32))
    assert not device.launched
