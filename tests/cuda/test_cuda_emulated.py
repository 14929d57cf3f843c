"""The GPU's entry points, run on the CPU: the CPU backend's bits, each value written once.

They are run as g++ compiles them, and as NVRTC does: its PTX, the code that a driver or ptxas turns
into machine code, is run in the place of theirs (ptx/). Inputs and outputs stand between pages that
must not be touched, so that an address out of range stops the launch. What is not shown here is
that a GPU does the same: test_cuda.py, which needs one.
"""

import ctypes
import itertools

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import cpu
from dali_msda.policy import METHODS
from tests.cuda import emulation
from tests.cuda import kernel_arguments as cuda
from tests.cuda.emulation import ORDERS, Fault, Walled, launch, masks_at, rows_at, scattered, walled
from tests.cuda.ptx import library as ptx
from tests.support.batches import KINDS, every_kind_of_record, on_the_cpu, options_of, random_images
from tests.support.doors import STORED, assert_same, output_shape, widened
from tests.support.fmix_plans import LAWS, SHARED, fields_of, masks, owners_of, records

SHAPES = [  # batch, height, width, channels
    (5, 3, 32, 3),  # the fast way: whole groups, all aligned
    (4, 5, 48, 1),
    (4, 2, 7, 3),
    (3, 4, 17, 3),  # rows begin at any address
    (3, 3, 41, 1),
    (2, 3, 16, 4),  # looked up one by one
    (3, 2, 5, 2),
    (3, 1, 1, 3),
    (2, 7, 1, 1),
    (1, 2, 13, 3),
]
FMIX = METHODS["fmix"].code
OFTEN = ("sm_90", "sm_120")  # cards of two front ends of NVRTC; the others share one of these
ARCHS = (*OFTEN, "sm_75", "sm_100")


def codes(often=OFTEN):
    """Whose code is run: g++'s, and NVRTC's PTX for cards; without a marker, for some of them."""
    rare = pytest.mark.every_card
    known = ("g++", *often)
    return [pytest.param(c, marks=() if c in known else rare) for c in ("g++", *ARCHS)]


def kinds(often):
    """Types of inputs and outputs, and whose code: always PTX for the cards in ``often``."""
    return [
        pytest.param(*kind, *code.values, marks=code.marks)
        for kind in KINDS
        for code in codes(often.get(kind, ()))
    ]


TWO = {("uint8", "float16"): OFTEN, ("uint8", "float32"): ("sm_90",)}
by_codes = pytest.mark.parametrize("code", codes(), indirect=True)
by_codes_rarely = pytest.mark.parametrize("code", codes(()), indirect=True)
by_kinds = pytest.mark.parametrize("source, dtype, code", kinds(TWO), indirect=["code"])
by_kinds_rarely = pytest.mark.parametrize("source, dtype, code", kinds({}), indirect=["code"])


@pytest.fixture(autouse=True)
def code(request, monkeypatch):
    """Whose code launches run."""
    value = getattr(request, "param", "g++")
    if value != "g++":
        monkeypatch.setattr(emulation, "library", lambda: ptx.code(value))
    return value


LAUNCHES = [(32, 1.0, "forwards"), (97, 0.4, "backwards"), (256, 0.0, "shuffled")]


def launch_grid(samples, rows, items, block, share):
    """A grid that holds this share of the threads that there is work for."""
    needed = -(-rows * items // block)
    return max(1, round(share * needed)), max(1, round(share * samples))


def blend_launches(
    outs, images, plan, size, types, *, chw, scale=None, shift=None, mirror=None, fields=None,
    numbers=None, pairs=None, flags=None, block=None, share=None, multiprocessors=132,
):  # fmt: skip
    """Kernels of a blend, their arguments over memory between walls, grids and blocks.

    ``outs`` and ``images`` are addresses; ``flags`` are those of ``mirror``, on the device only.
    With ``share``, a grid has blocks of ``block`` threads, and this share of those that there is
    work for; without it, it is what the host chooses. Without multiprocessors none are left idle,
    so that no runs are apart.
    """
    multiprocessors = multiprocessors if share is None else 0
    flat = np.ascontiguousarray(plan).reshape(-1)
    if fields is None:
        fields = fields_of(plan) if plan.size else np.empty((0, 1), np.uint32)
    masks = walled(fields)
    stride = masks.array.strides[0] if len(fields) else 0
    options = {"scale": scale, "shift": shift, "mirror": mirror, "pairs": pairs}
    options = {k: None if v is None else np.ascontiguousarray(v) for k, v in options.items()}
    layout = "CHW" if chw else "HWC"
    job = cuda.blend_job(outs, images, flat, size, *types, layout, **options)
    records, counts = cuda.blend_records(job, stride, numbers)
    kept = [records, flat, flags, scale, shift]
    kept = [None if value is None else walled(value) for value in kept]
    b = cuda.Blend(*(memory and memory.address for memory in kept[:2]), masks.address)
    b.mirror, b.scale, b.shift = (memory and memory.address for memory in kept[2:])
    for name, grid, threads in cuda.blend_launches(job, b, counts, multiprocessors):
        if grid is None:
            items, threads = size[1] * size[2], block or 64
            grid = launch_grid(
                counts.values, size[0], items, threads, 1.0 if share is None else share
            )
        elif share is not None:
            across = b.parts * b.columns
            b.columns = min(across, block)
            b.parts = -(-across // b.columns)
            b.rows, b.reciprocal = block // b.columns, -(-(1 << 20) // b.columns)
            rows = max(1, round(share * -(-size[0] // b.rows)))
            grid, threads = (b.parts * rows, max(1, round(share * counts.groups))), block
        yield name, b, grid, threads


def addresses(samples):
    """Those of the samples of an array, or of memories."""
    if isinstance(samples, np.ndarray):
        stride = samples.strides[0] if len(samples) else 0
        return samples.ctypes.data + stride * np.arange(len(samples), dtype=np.int64)
    return np.array([memory.address for memory in samples], np.int64)


def emulated_blend(
    images, plan, dtype, layout, *, block=None, share=None, order="forwards", at_end=True,
    apart=False, watch=True, **options,
):  # fmt: skip
    """The blend by its entry points; the number of writes of each byte must be one."""
    _, height, width, channels = images.shape
    shape = output_shape(images, layout)[1:]
    out = Walled((*plan.shape, *shape), STORED[dtype], at_end=at_end)
    if apart:
        sources = [walled(image, at_end=at_end) for image in images]
    else:
        whole = walled(images, at_end=at_end)
        sources = whole.array
    writes = np.zeros(out.array.nbytes, np.uint32)
    mixed = np.zeros(out.array.nbytes, np.uint8)
    for name, b, grid, threads in blend_launches(
        addresses(out.array.reshape(plan.size, *shape)), addresses(sources), plan,
        (height, width, channels), (images.dtype.name, dtype), chw=layout == "CHW", block=block,
        share=share, **options,
    ):  # fmt: skip
        new = launch(name, b, grid, threads, order=order, watch=out.array if watch else None)
        if watch:
            writes += new
            mixed[new > 0] = out.array.reshape(-1).view(np.uint8)[new > 0]
    if watch:
        assert (writes == 1).all(), f"{(writes != 1).sum()} bytes not written once"
        out.array.reshape(-1).view(np.uint8)[...] = mixed
    return widened(out.array.copy(), dtype)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@by_kinds_rarely
def test_the_blend_is_the_cpus_and_writes_once(source, dtype, layout):
    for seed, shape in enumerate(SHAPES):
        images = random_images(shape, source, seed)
        plan = every_kind_of_record(*shape[:3], seed=seed)
        options = options_of(images, dtype, seed)
        want = on_the_cpu(images, plan, dtype, layout, **options)
        block, share, order = LAUNCHES[seed % 3]
        # Also as the host launches few groups, whose runs are apart.
        for launched in ({"block": block, "share": share}, {})[: 2 if seed == 0 else 1]:
            got = emulated_blend(
                images, plan, dtype, layout, order=order, at_end=seed % 2 == 0, apart=seed % 4 > 1,
                **launched, **options,
            )  # fmt: skip
            assert_same(got, want)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@by_kinds
def test_launches_that_the_host_chooses(source, dtype, layout):
    """Among them rows of more groups than a block has threads."""
    shapes = [(40, *shape[1:]) for shape in SHAPES] + [(3, 2, 2500, 3), (2, 3, 2501, 1)]
    for seed, shape in enumerate(shapes):
        images = random_images(shape, source, seed)
        plan = every_kind_of_record(*shape[:3], seed=seed)
        options = options_of(images, dtype, seed)
        if "mirror" in options and seed % 2:  # flags that only the device has
            options["flags"] = options.pop("mirror")
        order = LAUNCHES[seed % 3][2]
        how = {"order": order, "at_end": seed % 2 == 0, "watch": False}
        got = [
            emulated_blend(images, plan, dtype, layout, multiprocessors=n, **how, **options)
            for n in ((132, 0) if seed == 0 else (132,))  # few groups with their runs apart, or not
        ]
        if "flags" in options:
            options["mirror"] = options.pop("flags")
        want = on_the_cpu(images, plan, dtype, layout, **options)
        for one in got:
            assert_same(one, want)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@by_kinds_rarely
def test_records_that_nobody_draws(source, dtype, layout):
    """What the format allows: any number of sources of any method, and weights of 0 among them."""
    rng = np.random.default_rng(0)
    for seed, shape in enumerate([(50, 5, 24, 3), (50, 4, 37, 3), (50, 4, 19, 1)]):
        images = random_images(shape, source, seed)
        if source == "float32":
            images[rng.random(shape) < 0.05] = np.inf
        plan = every_kind_of_record(*shape[:3], seed=seed)
        plan = plan[plan["method"] != FMIX]  # whose fields would be others' sizes
        plan["sources"] = rng.integers(1, 5, len(plan))
        plan["extra"] = rng.integers(0, len(images), plan["extra"].shape)
        weights = rng.random((len(plan), 4), np.float32) * (rng.random((len(plan), 4)) < 0.6)
        plan["weight"], plan["partner_weight"] = weights[:, 0], weights[:, 1]
        plan["extra_weight"] = weights[:, 2:]
        options = options_of(images, dtype, seed + 1)
        want = on_the_cpu(images, plan, dtype, layout, **options)
        assert_same(emulated_blend(images, plan, dtype, layout, watch=False, **options), want)


@by_kinds_rarely
def test_every_method_at_every_place_of_a_group(source, dtype):
    """Many records, so that each method meets boxes, bits and tails of every position."""
    for seed, shape in enumerate([(60, 5, 24, 3), (60, 3, 37, 3), (40, 4, 50, 1)]):
        images = random_images(shape, source, seed)
        plan = every_kind_of_record(*shape[:3], seed=seed)
        assert len(np.unique(plan["method"])) >= 8
        options = options_of(images, dtype, seed + 1)
        for layout in ("CHW", "HWC"):
            want = on_the_cpu(images, plan, dtype, layout, **options)
            got = emulated_blend(images, plan, dtype, layout, watch=False, **options)
            assert_same(got, want)


@by_kinds_rarely
def test_interpolations_share_their_sources(source, dtype):
    shape = (6, 4, 21, 3)
    images = random_images(shape, source)
    flags = np.array([0, 1, 0, 1, 1, 0], np.uint8)
    for policy in (msda.FMix(), msda.GMix(), msda.CutMix(prob=0.5), msda.ResizeMix()):
        plan = msda.draw(msda.MultiMix(policy, 3), *shape[:3], seed=3, step=1)
        want = on_the_cpu(images, plan, dtype, "CHW", mirror=flags)
        got = emulated_blend(images, plan, dtype, "CHW", mirror=flags, apart=True)
        assert got.shape == (6, 3, 3, 4, 21)
        assert_same(got, want)


@by_kinds_rarely
@pytest.mark.parametrize("mirrored", [0, 1])
def test_the_ends_of_a_sample(source, dtype, mirrored):
    """The first and the last pixels of a sample that fills its pages to either end."""
    for width, channels, at_end in itertools.product((1, 3, 8, 15, 16, 31), (1, 3), (0, 1)):
        images = random_images((2, 2, width, channels), source, width)
        options = {"mirror": np.full(2, mirrored, np.uint8)}
        for policy in (msda.Mixup(partner="roll"), msda.Mixup(n=4), msda.ResizeMix(tau=(0.5, 1))):
            plan = msda.draw(policy, 2, 2, width, seed=width, step=0)
            want = on_the_cpu(images, plan, dtype, "HWC", **options)
            got = emulated_blend(images, plan, dtype, "HWC", at_end=at_end, apart=True, **options)
            assert_same(got, want)


@by_codes_rarely
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_in_place(dtype, channels):
    shape = (8, 5, 19, channels)
    images = random_images(shape, dtype)
    policies = [msda.Mixup(), msda.CutMix(), msda.FMix(), msda.GMix(), msda.Cutout(length=4)]
    policies += [msda.HMix(), msda.FMix(max_soft=0.1)]
    for seed, policy in enumerate(policies):
        plan = msda.draw(policy, *shape[:3], seed=seed, step=0)
        plan["partner"] = pairs = np.array([1, 0, 2, 6, 7, 5, 3, 4], np.int32)
        want = on_the_cpu(images, plan, dtype, "HWC")
        memory = walled(images)
        places = addresses(memory.array)
        for order in ORDERS:
            memory.array[...] = images
            for name, b, grid, block in blend_launches(
                places, places, plan, shape[1:], (dtype, dtype), chw=0, pairs=pairs, block=32,
                share=0.5,
            ):  # fmt: skip
                assert name.startswith("msda_pairs_" if channels in (1, 3) else "msda_values_")
                launch(name, b, grid, block, order=order)
            assert_same(memory.array.copy(), want)


@by_codes_rarely
def test_other_batches_than_that_of_the_inputs():
    """A plan may have more records than there are samples, or fewer, or none."""
    images = random_images((3, 4, 24, 3), "uint8")
    empty = every_kind_of_record(1, 4, 24)[:0]
    assert emulated_blend(images, empty, "float16", "CHW").shape == (0, 3, 4, 24)
    for batch in (1, 7):
        plan = every_kind_of_record(batch, 4, 24, seed=1)
        for name in ("own", "partner", "extra"):
            plan[name] %= 3
        want = on_the_cpu(images, plan, "float16", "CHW")
        assert_same(emulated_blend(images, plan, "float16", "CHW"), want)


# --------------------------------------------------------------------------- masks, targets, fields


@by_codes
@pytest.mark.parametrize("block, share, order", LAUNCHES)
def test_the_mask(block, share, order):
    for height, width in ((3, 16), (4, 7), (1, 1), (2, 33)):
        plan = every_kind_of_record(12, height, width, seed=width)
        out = Walled((12, height, width), np.float32)
        memory, fields = walled(plan.view(np.uint8)), walled(fields_of(plan))
        m = cuda.Mask(out.address, masks_at(fields.array), memory.address, 12, height, width)
        grid = launch_grid(12, height, width, block, share)
        writes = launch("msda_mask_float32", m, grid, block, order=order, watch=out.array)
        assert (writes == 1).all()
        np.testing.assert_array_equal(out.array, msda.mask(plan, height, width))


@by_codes
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float32])
@pytest.mark.parametrize("block, share, order", LAUNCHES)
def test_the_targets(kind, block, share, order):
    rng = np.random.default_rng(0)
    for batch, classes in ((9, 7), (1, 1), (40, 3), (2, 100)):
        plan = every_kind_of_record(batch, 4, 4, seed=batch)
        labels = rng.integers(0, classes, batch).astype(kind)
        if kind == np.float32:
            labels = rng.random((batch, classes), np.float32)
        memory, source = walled(plan.view(np.uint8)), walled(labels)
        t = cuda.Targets(None, None, None, source.address, memory.address, batch, classes, 0.1)
        for dense in (True, False)[: 2 - (kind == np.float32)]:
            rows = Walled((batch, classes), np.float32)
            indices, weights = Walled((batch, 4), np.int64), Walled((batch, 4), np.float32)
            t.rows, t.labels, t.weights = rows.address, indices.address, weights.address
            name = f"msda_targets_{'dense' if dense else 'compact'}_{np.dtype(kind).name}"
            grid = launch_grid(1, batch, classes if dense else 4, block, share)
            watch = rows.array if dense else indices.array
            writes = launch(name, t, grid, block, order=order, watch=watch)
            assert (writes == 1).all()
            if dense:
                want = msda.targets(labels, plan, num_classes=classes, smoothing=0.1)
                np.testing.assert_array_equal(rows.array, want)
                continue
            want_indices, want_weights = np.empty((batch, 4), np.int64), np.empty((batch, 4), "f4")
            cpu.targets_compact(want_indices, want_weights, plan, labels.astype(np.int64))
            np.testing.assert_array_equal(indices.array, want_indices)
            writes = launch(name, t, grid, block, order=order, watch=weights.array)
            assert (writes == 1).all()
            np.testing.assert_array_equal(weights.array, want_weights)


def emulated_fields(plan, *, apart=False, **how):
    """Rows of bits or of weights of the records; those of other methods are full of 0xCD.

    With ``apart``, the masks as they lie in memory, and the number of each record's mask.
    """
    rows = emulated_masks(plan.reshape(-1), **how)
    numbers = cuda.mask_lists(plan)[0][: plan.size]
    if apart:
        return rows, numbers
    made = plan.reshape(-1)["method"] == FMIX
    got = np.full((plan.size, rows.shape[1]), 0xCDCDCDCD, np.uint32)
    got[made] = rows[numbers[made]]
    return got


def emulated_masks(plan, *, blocks, threads, in_shared, order, amplitudes=None):
    """A row of memory for each mask of a batch.

    ``amplitudes`` are those of the decay of the first record.
    """
    shape = tuple(int(plan[name][0]) for name in ("depth", "height", "width"))
    lists, fields, masks = cuda.mask_lists(plan)
    known = {"soft": bool(plan["soft"].any()), "threads": threads, "resident": blocks}
    how = cuda.field_launch(shape, fields, **known, masks=masks, most_shared=in_shared * 2**30)
    assert how.in_shared == in_shared
    rows = walled(np.full((masks, how.row // 4), 0xCDCDCDCD, np.uint32))
    memory, workspace = walled(plan.view(np.uint8)), Walled(blocks * how.per_block, np.uint8)
    there = masks_at(rows.array, lists)
    f, kept = cuda.Fields(there, memory.address), [there]
    for k, length in enumerate(shape):
        tables, passes = cuda.axis(length)
        kept.append([walled(row) for row in tables])
        f.axes[k] = cuda.Axis(*(table.address for table in kept[-1]), passes)
    f.workspace, f.per_block = workspace.address, how.per_block
    f.makers, f.firsts = there.numbers + 4 * len(plan), there.numbers + 8 * len(plan)
    f.count, f.in_shared, f.radix = fields, in_shared, how.radix
    if amplitudes is not None:
        kept.append(walled(amplitudes, at_end=False))  # as aligned as an allocation
        f.amplitudes, f.decay = kept[-1].address, plan["decay"][0]
    launch("msda_field_masks", f, (blocks, 1), threads, order=order)
    return rows.array.copy()


@by_codes
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 97), (1, 7, 11), (1, 32, 48), (1, 45, 26), (5, 7, 6)], ids=str
)
def test_the_fields(shape, law):
    """Threads wait for one another at barriers, and take their turns in any order between them."""
    pixels = int(np.prod(shape))
    plan = records(6, shape, **LAWS[law])
    plan["count"] = [0, min(1, pixels), pixels // 3, -(-pixels // 2), pixels - 1, pixels]
    want = fields_of(plan)
    runs = [*itertools.product(ORDERS, (True, False))]
    sizes = [(32, 1), (96, 4), (256, 7)] * 2
    for (order, in_shared), (threads, blocks) in zip(runs, sizes, strict=True):
        got = emulated_fields(
            plan, blocks=blocks, threads=threads, in_shared=in_shared, order=order
        )
        np.testing.assert_array_equal(got, want)


@by_codes
@pytest.mark.parametrize("shape", [(1, 1, 97), (1, 20, 33), (1, 32, 48), (5, 7, 6)], ids=str)
def test_the_ramps(shape):
    """Softened edges: two thresholds, a list in any order, a sort across the threads."""
    pixels = int(np.prod(shape))
    plan = records(5, shape)
    plan["count"] = [1, pixels // 3, pixels // 2, pixels - 1, pixels // 2]
    plan["soft"] = [1, pixels // 4, pixels // 2, 1, 0]
    rows = fields_of(plan)
    for (order, in_shared), threads in zip(
        itertools.product(ORDERS, (True, False)), (32, 96, 256) * 2, strict=True
    ):
        got = emulated_fields(plan, blocks=3, threads=threads, in_shared=in_shared, order=order)
        np.testing.assert_array_equal(got[:4], rows[:4])
        words = -(-pixels // 32)
        np.testing.assert_array_equal(got[4, :words], rows[4, :words])


@by_codes
def test_the_field_of_a_common_size():
    plan = records(2, (1, 224, 224), lam=[0.3, 0.7])
    got = emulated_fields(plan, blocks=2, threads=1024, in_shared=True, order="shuffled")
    np.testing.assert_array_equal(got, fields_of(plan))
    hopper, used = 227 * 1024, cpu.field_block_bytes(plan)  # of shared memory, for a block
    how = cuda.field_launch((1, 224, 224), most_shared=hopper)
    assert (how.values, how.room, how.in_shared, how.shared) == (210_576, 0, 1, 210_576)
    assert not cuda.field_launch((1, 224, 224), most_shared=used - 1).in_shared


@pytest.mark.parametrize(
    "shape, batch, known, want",
    [  # as worked out by hand: in_shared, limit, blocks, row, workspace, per_block, scratch
        ((1, 8, 8), 5, {"most_shared": 10**6, "threads": 64, "resident": 3},
         (1, 64, 3, 8, 256, 0, 256)),
        ((1, 8, 8), 5, {"soft": 1, "most_shared": 0, "threads": 32, "resident": 9},
         (0, 64, 5, 256, 2048, 624, 7040)),
        ((1, 11, 97), 40, {"most_shared": 10**6, "threads": 128, "resident": 30},
         (1, 832, 30, 136, 8704, 128 * 97 * 16, 8704 + 30 * 128 * 97 * 16)),
        ((1, 224, 224), 256, {"most_shared": 100_000, "threads": 1024, "resident": 264},
         (0, 1024, 256, 6272, 1_605_632, 210_576, 1_605_632 + 256 * 210_576)),
        ((2, 3, 1), 1, {"most_shared": 10**6, "threads": 64, "resident": 1},
         (1, 64, 1, 4, 256, 0, 256)),
    ],
)  # fmt: skip
def test_the_launch_of_the_fields(shape, batch, known, want):
    how = cuda.field_launch(shape, batch, **known)
    got = "in_shared limit blocks row workspace per_block scratch".split()
    assert tuple(getattr(how, name) for name in got) == want


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("batch", [256, 1024, 4096])
def test_small_images_fill_a_device(size, batch):
    """32 warps on a multiprocessor of an H200: 132 of them, each with 65536 registers, 228 KB."""
    each = -(-batch // 132)  # blocks that a multiprocessor gets
    how = cuda.field_launch((1, size, size), batch, most_shared=227 * 1024)
    held = min(each, 228 * 1024 // (how.shared + 12 * 1024), 1024 // how.limit)
    assert held * how.limit >= 1024
    limit = cpu.library().msda_saliency_threads(batch, size, size)
    assert min(each, 228 * 1024 // (10 * 1024), 1024 // limit) * limit >= 1024


@by_codes
def test_fields_of_other_methods_are_passed_over():
    plan = records(5, (1, 8, 9))
    plan["method"][[0, 3]] = [2, 0]
    got = emulated_fields(plan, blocks=2, threads=64, in_shared=True, order="forwards")
    assert (got[[0, 3]] == 0xCDCDCDCD).all()
    np.testing.assert_array_equal(got[[1, 2, 4]], fields_of(plan)[[1, 2, 4]])


# "choice" needs kernels that take long to compile.
@pytest.mark.parametrize(
    "name, code",
    [
        pytest.param(name, *code.values, marks=code.marks)
        for name in SHARED
        for code in codes(() if name == "choice" else OFTEN)
    ],
    indirect=["code"],
)
def test_a_mask_that_records_share_is_made_once(name):
    """There is a row of memory for each mask, and none for the other records."""
    batch, height, width = 9, 6, 21
    plan = msda.draw(SHARED[name], batch, height, width, seed=2, step=1)
    want, flat = fields_of(plan), plan.reshape(-1)
    fmix, owners = flat["method"] == FMIX, owners_of(plan)
    lists, fields, count = cuda.mask_lists(plan)
    numbers, makers, firsts = np.split(lists, [plan.size, 2 * plan.size])
    np.testing.assert_array_equal(makers[numbers][fmix], owners[fmix])
    np.testing.assert_array_equal(makers[:count], np.unique(owners[fmix]))
    assert firsts[0] == 0 and 0 < fields <= count < fmix.sum()
    words = np.where(flat["soft"] > 0, height * width, -(-height * width // 32))
    for (order, in_shared), (threads, blocks) in zip(
        itertools.product(ORDERS, (True, False)), [(32, 1), (96, 4), (64, 7)] * 2, strict=True
    ):
        how = {"blocks": blocks, "threads": threads, "in_shared": in_shared, "order": order}
        got, numbers = emulated_fields(plan, apart=True, **how)
        for i in np.flatnonzero(fmix):
            np.testing.assert_array_equal(got[numbers[i], : words[i]], want[i, : words[i]])
    images = random_images((batch, height, width, 3), "uint8")
    on_cpu = on_the_cpu(images, plan, "float16", "CHW")
    given = {"fields": got, "numbers": numbers, "apart": True}
    assert_same(emulated_blend(images, plan, "float16", "CHW", **given), on_cpu)
    out, memory = Walled((plan.size, height, width), np.float32), walled(flat.view(np.uint8))
    fields = walled(got)
    rows = masks_at(fields.array, numbers)
    m = cuda.Mask(out.address, rows, memory.address, plan.size, height, width)
    launch("msda_mask_float32", m, (3, 4), 32)
    weights = msda.mask(plan, height, width).reshape(out.array.shape)
    np.testing.assert_array_equal(out.array, weights)


def test_records_that_have_masks_of_their_own():
    def lists(plan):
        found, fields, masks = cuda.mask_lists(plan)
        numbers, makers, firsts = np.split(found, [plan.size, 2 * plan.size])
        return *(part.tolist() for part in (numbers, makers[:masks], firsts[:fields])), masks

    nine = list(range(9))
    assert lists(msda.draw(msda.FMix(), 9, 6, 21, seed=2, step=1)) == (nine, nine, nine, 9)
    assert lists(msda.draw(msda.CutMix(), 9, 6, 21, seed=2, step=1)) == ([0] * 9, [], [], 0)
    threes = lists(msda.draw(msda.MultiMix(msda.FMix(), 3), 9, 6, 21, seed=2, step=1))
    assert threes == (list(range(27)), list(range(27)), list(range(0, 27, 3)), 27)
    plan = records(6, (1, 6, 21))
    assert lists(plan)[0] == list(range(6))
    plan["field_seed"], plan["count"] = 7, [5, 5, 5, 6, 6, 5]  # one field, two masks
    assert lists(plan) == ([0, 0, 0, 1, 1, 0], [0, 3], [0], 2)
    plan["field_seed"], plan["soft"] = [[2**32 - 1, i // 5] for i in range(6)], [0, 1, 0, 1, 0, 0]
    assert lists(plan) == ([0, 1, 0, 2, 3, 4], [0, 1, 3, 4, 5], [0, 4], 5)
    assert lists(plan[:0]) == ([], [], [], 0)


@by_codes
def test_ties_are_taken_in_order_of_the_pixels():
    """One frequency along y is left of a steep spectrum: rows tie, and are cut in the middle."""
    plan = records(6, (1, 40, 24), decay=300.0)
    plan["count"] = [1, 25, 100, 385, 700, 959]
    for threads, order in ((96, "backwards"), (32, "shuffled")):
        for in_shared in (True, False):
            got = emulated_fields(plan, blocks=2, threads=threads, in_shared=in_shared, order=order)
            np.testing.assert_array_equal(got, fields_of(plan))
    mask = masks(plan).reshape(6, 40, 24)
    np.testing.assert_array_equal(mask.sum((1, 2)), plan["count"])
    assert (np.diff(mask.astype(int), axis=2) <= 0).all()  # the first pixels of a row are own


# ---------------------------------------------------------------------------------------- saliency


def emulated_saliency(images, mirror, *, blocks, threads, order, apart=False):
    """Peaks and maps; with ``apart``, every image and every map has memory of its own."""
    batch, height, width, _ = images.shape
    per_block = cpu.library().msda_saliency_block_bytes(height, width)
    peaks, workspace = Walled((batch, 2), np.int32), Walled(blocks * per_block, np.uint8)
    maps, ins = Walled((batch, height, width), np.uint8), walled(images)
    sources, places = rows_at(ins.array), rows_at(maps.array)
    if apart:
        each = [Walled((height, width), np.uint8) for _ in images]
        sources, places = scattered([walled(image) for image in images]), scattered(each)
    peaks.array[...], maps.array[...], workspace.array[...] = -7, 77, 0xCD
    flags = walled(mirror)
    a = cuda.Saliency(sources, places, peaks.address, flags.address, workspace.address, per_block)
    a.batch, a.height, a.width, a.channels = images.shape
    launch(f"msda_saliency_{images.dtype.name}", a, (blocks, 1), threads, order=order)
    found = np.stack([memory.array for memory in each]) if apart else maps.array.copy()
    return peaks.array.copy(), found


@by_codes
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 40, 1), (40, 1, 3), (7, 5, 3), (33, 50, 3), (60, 31, 1)], ids=str
)
def test_the_saliency(shape, kind):
    """Threads wait for one another, as those of a field; a block may have several images."""
    # Floats lie beyond both ends, and between whole numbers.
    low, high = (-40, 300) if kind == np.float32 else (0, 256)
    images = np.random.default_rng(3).uniform(low, high, (5, *shape)).astype(kind)
    mirror = np.array([0, 1, 1, 0, 1], np.uint8)
    want = np.zeros((5, 2), np.int32), np.zeros((5, *shape[:2]), np.uint8)
    cpu.saliency(want[0], images, maps=want[1], mirror=mirror)
    for order, (threads, blocks) in zip(ORDERS, [(32, 1), (97, 5), (256, 3)], strict=True):
        for apart in (False, True):
            got = emulated_saliency(
                images, mirror, blocks=blocks, threads=threads, order=order, apart=apart
            )
            np.testing.assert_array_equal(got[1], want[1])
            np.testing.assert_array_equal(got[0], want[0])


@by_codes
def test_the_saliency_of_a_common_size():
    """Larger than every square, with more than one wave of threads."""
    images = random_images((1, 229, 226, 3), "uint8") // np.uint8(2)
    images[:, 60:90, 100:140] += np.uint8(90)
    want = np.zeros((1, 2), np.int32), np.zeros((1, 229, 226), np.uint8)
    cpu.saliency(want[0], images, maps=want[1])
    got = emulated_saliency(images, np.zeros(1, np.uint8), blocks=1, threads=1024, order="shuffled")
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(got[0], want[0])


# ------------------------------------------------------------------------------------- huge batches


def sparse(shape, dtype, rows, seed):
    """A huge sample, 0 but for some rows."""
    memory = Walled(shape, dtype)
    for y in rows:
        memory.array[0, y] = random_images(shape[2:], np.dtype(dtype).name, seed + y)
    return memory


@by_codes_rarely
@pytest.mark.parametrize("sources", [2, 3])
@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize(
    "source, dtype, shape",
    [
        ("uint8", "float16", (1, 40_000, 40_008, 3)),
        ("uint8", "uint8", (1, 46_341, 46_343, 1)),
        ("float32", "float32", (1, 30_011, 30_013, 3)),
        ("uint8", "float16", (1, 30_011, 30_013, 3)),
        ("uint8", "bfloat16", (1, 70_001, 6_007, 6)),
        ("uint8", "float16", (1, 3, 800_000_017, 1)),
    ],
    ids=str,
)
def test_past_2_to_the_31_elements(source, dtype, shape, layout, sources):
    """The last block of a grid as large as the batch, over memory that is never allocated."""
    _, height, width, channels = shape
    assert height * width * channels > 2**31
    rows = (height - 2, height - 1)
    images = sparse(shape, source, rows, 1) if width < 10**6 else Walled(shape, source)
    images.array[0, -1, -40:] = random_images((40, channels), source, 9)
    plan = msda.draw(msda.CutMix(), 1, height, width, seed=1, step=0)
    plan["sources"], plan["inside"], plan["outside"] = sources, 0.25, 0.75
    plan["weight"], plan["partner_weight"], plan["extra_weight"] = 0.5, 0.25, 0.25
    plan["y0"], plan["y1"], plan["x0"], plan["x1"] = height - 1, height, width - 11, width - 2
    mirror = np.array([0], np.uint8)
    out = Walled((1, *output_shape(images.array, layout)[1:]), STORED[dtype])
    for name, b, grid, block in blend_launches(
        addresses(out.array), addresses(images.array), plan, shape[1:], (source, dtype),
        chw=layout == "CHW", mirror=mirror, fields=np.zeros((1, 1), np.uint32), block=256,
        share=1.0,
    ):  # fmt: skip
        launch(name, b, grid, block, blocks=((grid[0] - 2, 0), (2, 1)))
    tail = images.array[:, -1:, -40:].copy()
    small = plan.copy()
    small["height"], small["width"] = 1, 40
    small["y0"], small["y1"] = 0, 1
    small["x0"], small["x1"] = plan["x0"] - (width - 40), plan["x1"] - (width - 40)
    want = on_the_cpu(tail, small, dtype, layout)
    got = out.array[:, :, -1:, -40:] if layout == "CHW" else out.array[:, -1:, -40:]
    assert_same(widened(got.copy(), dtype), want)


@by_codes_rarely
def test_samples_far_apart():
    """Offsets of samples past 2^32 bytes, and more samples than a grid's y axis may have."""
    memory = Walled((70_000, 1, 24, 3), np.uint8)
    far = Walled(3 * (1 << 33), np.uint8)
    image = random_images((1, 1, 24, 3), "uint8")
    far.array[2 << 33 : (2 << 33) + image.size] = image.ravel()
    plan = msda.draw(msda.Mixup(prob=0), 70_000, 1, 24, seed=0, step=0)
    plan["own"] = plan["partner"] = 2
    far_apart = far.address + (np.arange(3, dtype=np.int64) << 33)
    for name, b, grid, block in blend_launches(
        addresses(memory.array), far_apart, plan, (1, 24, 3), ("uint8", "uint8"), chw=0,
        fields=np.zeros((1, 1), np.uint32),
    ):  # fmt: skip
        assert grid == (1, 65_535)
        launch(name, b, grid, block)
    assert (memory.array == image).all()


def test_launches_cover_their_work_within_cudas_limits():
    for samples, rows, items, block, resident in [
        (256, 224, 28, 256, 1056),
        (1, 2**31 - 1, 2**27, 1024, 264),
        (2**31 - 1, 1, 1, 128, 132),
        (0, 5, 5, 128, 132),
        (64, 8, 8, 512, 264),
    ]:
        x, y = cuda.grid(samples, rows, items, block, resident)
        assert x >= 1 and x * block < 2**31 and 1 <= y <= 65535
        assert x <= max(1, -(-rows * items // block))
    assert cuda.grid(256, 224, 28, 256, 1056) == (25, 256)


# ------------------------------------------------------------------------- the emulation has teeth


@by_codes
def test_an_address_out_of_range_stops_the_launch():
    images = walled(random_images((2, 3, 16, 3), "uint8"))
    plan = msda.draw(msda.Mixup(), 2, 3, 16, seed=0, step=0)
    out = Walled((2, 3, 16, 3), np.float32)
    places = addresses(out.array), addresses(images.array)
    a_row_too_many = (4, 16, 3)
    types = ("uint8", "float32")
    ((name, b, _, block),) = blend_launches(*places, plan, a_row_too_many, types, chw=0)
    with pytest.raises(Fault, match="msda_blend_uint8_float32: touched 0x"):
        launch(name, b, (1, 2), block)


@by_codes
def test_a_value_written_twice_or_never_shows():
    plan = every_kind_of_record(4, 3, 16)
    out, memory, fields = Walled((4, 3, 16), "f4"), walled(plan.view("u1")), walled(fields_of(plan))
    m = cuda.Mask(out.address, masks_at(fields.array), memory.address, 4, 3, 16)
    twice = ((0, 0), (2, 1))  # the second block has nothing to do, and the second sample no block
    writes = launch("msda_mask_float32", m, (2, 4), 32, watch=out.array, blocks=twice)
    assert (writes.reshape(4, -1)[0] == 1).all() and not writes.reshape(4, -1)[1:].any()
    m.fields.stride = 0
    m.weights -= 64  # as if a row began too early
    with pytest.raises(Fault):
        launch("msda_mask_float32", m, (64, 4), 32, blocks=((0, 3), (1, 1)))
        m.weights += 64 + 4 * 48 * 4
        launch("msda_mask_float32", m, (1, 4), 32)


def test_structures_are_as_large_as_the_kernels():
    """Python's view of kernels/cuda/arguments.h."""
    sizes = {
        "Samples": 24,
        "Blend": 6 * 8 + 6 * 4 + 4 * 4 + 8 + 9 * 4 + 4,
        "Mask": 8 + 24 + 8 + 12 + 4,
    }
    sizes |= {"Saliency": 48 + 3 * 8 + 8 + 16, "Masks": 24}
    assert {name: ctypes.sizeof(getattr(cuda, name)) for name in sizes} == sizes
