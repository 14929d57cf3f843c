"""Whose memory is read and written: outputs given, blends in place, strides, torch tensors."""

import ctypes
import functools
import itertools
import mmap
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.backends import cpu
from tests.support.batches import every_kind_of_record, normalisation, random_images
from tests.support.doors import assert_same, poisoned
from tests.support.variants import IN_LOADERS, VARIANTS, draw_any, make

PAIRED = [
    msda.Mixup(partner="flip"),
    msda.Mixup(scope="pair"),
    msda.CutMix(scope="pair", partner="flip"),
    msda.CutMix(scope="pair", box="wrap"),
    msda.CutMix(scope="sample", partner="flip", prob=0.5),  # one of a pair may stay unmixed
    msda.Mixup(scope="pair", prob=0.5),
    msda.Choice([msda.Mixup(scope="pair"), msda.CutMix(scope="pair")], scope="pair"),
    msda.Choice([msda.Mixup(partner="flip", prob=0.7), msda.CutMix(partner="flip", prob=0.3)]),
    *(make((name, VARIANTS[name][0]), scope="pair") for name in IN_LOADERS if name != "resizemix"),
    msda.Choice(
        [msda.FMix(max_soft=0.3, partner="flip"), msda.GMix(partner="flip"), msda.Cutout()]
    ),
]


@pytest.mark.parametrize("source", ["uint8", "float32"])
@pytest.mark.parametrize("policy", PAIRED, ids=range(len(PAIRED)))
def test_in_place_equals_out_of_place(policy, source):
    for seed, shape in enumerate([(1, 5, 7, 3), (2, 1, 513, 1), (7, 33, 31, 3), (8, 600, 2, 2)]):
        for mirror in (None, np.random.default_rng(seed).random(shape[0]) < 0.5):
            images = random_images(shape, source, seed)
            plan = draw_any(policy, *shape[:3], seed=seed, step=1)
            options = {"mirror": mirror, "dtype": source}
            options |= normalisation(
                shape[3], "std" if source == "float32" and seed % 2 else "none"
            )
            want = msda.blend(images, plan, **options)
            for threads in (1, 3):
                given = images.copy()
                assert msda.blend(given, plan, out=given, threads=threads, **options) is given
                assert_same(given, want)


@pytest.mark.parametrize("isa", range(len(cpu.isas())))
def test_in_place_of_large_batches(isa):
    images = random_images((9, 123, 457, 3), "uint8")
    policy = msda.Choice([PAIRED[0], msda.CutMix(partner="flip")])
    plan = msda.draw(policy, 9, 123, 457, seed=0, step=0)
    want = msda.blend(images, plan)
    pairs = plan["partner"].copy()
    for threads in (1, 2, 7):
        given = images.copy()
        options = {"out_dtype": "uint8", "layout": "HWC", "pairs": pairs}
        cpu.blend(given, given, plan, threads=threads, isa=isa, **options)
        assert_same(given, want)


@pytest.mark.parametrize(
    "policy",
    [
        msda.Mixup(),
        msda.Mixup(partner="derangement"),
        msda.CutMix(partner="roll"),
        msda.CutMix(partner="roll", prob=0.5),
        msda.Mixup(n=3),
        msda.FMix(),
        msda.ResizeMix(partner="flip"),
        msda.ResizeMix(scope="pair"),
    ],
    ids=repr,
)
def test_in_place_without_pairs_is_refused(policy):
    """A partner that was overwritten is never read: nothing is written at all."""
    images = random_images((6, 4, 4, 3), "uint8")
    before = images.copy()
    refused = 0
    for step in range(20):
        plan = msda.draw(policy, 6, 4, 4, seed=0, step=step)
        want = msda.blend(images, plan)
        given = images.copy()
        try:
            msda.blend(given, plan, out=given)
        except ValueError as error:
            assert "out: expected memory apart from the images" in str(error)
            np.testing.assert_array_equal(given, before)
            refused += 1
        else:  # this draw happens to be one of pairs
            np.testing.assert_array_equal(given, want)
    assert refused > 5


def test_memory_that_half_overlaps_is_refused():
    memory = np.zeros(7 * 4 * 4 * 3, np.uint8)
    images, shifted = memory[: 6 * 48].reshape(6, 4, 4, 3), memory[48:].reshape(6, 4, 4, 3)
    plan = msda.draw(msda.Mixup(partner="flip"), 6, 4, 4, seed=0, step=0)
    for out in (shifted, images[::-1]):
        with pytest.raises(ValueError, match="out: expected"):
            msda.blend(images, plan, out=out)
    floats = np.zeros((6, 4, 4, 3), np.float32)
    with pytest.raises(ValueError, match="out: expected"):
        msda.blend(floats, plan, out=floats.transpose(0, 3, 1, 2), layout="CHW")


def test_interleaved_input_and_output_do_not_overlap():
    memory = random_images((12, 5, 5, 3), "uint8")
    images, out = memory[::2], memory[1::2]
    plan = every_kind_of_record(6, 5, 5)
    want = msda.blend(images.copy(), plan)
    msda.blend(images, plan, out=out)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_batches_need_not_be_contiguous(source):
    images = random_images((9, 6, 7, 3), source)
    for view in (images[::2], images[::-1], images[2:7], np.broadcast_to(images[:1], images.shape)):
        plan = every_kind_of_record(len(view), 6, 7)
        assert_same(msda.blend(view, plan), msda.blend(view.copy(), plan))


def test_images_need_be_contiguous_and_the_message_says_so():
    images = np.zeros((2, 6, 8, 3), np.uint8)
    plan = msda.draw(msda.Mixup(), 2, 6, 4, seed=0, step=0)
    with pytest.raises(ValueError, match=r"images: expected each sample to be contiguous.*copy"):
        msda.blend(images[:, :, ::2], plan)
    with pytest.raises(
        ValueError, match=r"layout: expected 'CHW' for images .* channel by channel"
    ):
        msda.blend(np.zeros((2, 3, 6, 4), np.uint8).transpose(0, 2, 3, 1), plan)
    with pytest.raises(ValueError, match=r"out: expected each sample to be contiguous"):
        msda.blend(images[:, :, :4].copy(), plan, out=images[:, :, :4])


def test_inputs_are_not_changed():
    images, labels = random_images((5, 6, 7, 3), "uint8"), np.arange(5)
    plan = every_kind_of_record(5, 6, 7)
    for array in (images, labels, plan):
        array.flags.writeable = False
    copies = images.copy(), labels.copy(), plan.copy()
    msda.blend(images, plan, mirror=[1, 0, 1, 0, 1])
    msda.targets(labels, plan, num_classes=5)
    for array, copy in zip((images, labels, plan), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "bfloat16"])
def test_torch_outputs_are_written_where_they_are(dtype, layout):
    images = random_images((4, 6, 7, 3), "uint8")
    plan = every_kind_of_record(4, 6, 7)
    kind = getattr(torch, dtype)
    shape = (4, 6, 7, 3) if layout == "HWC" else (4, 3, 6, 7)
    out = torch.zeros(shape, dtype=kind)
    at = out.data_ptr()
    tensor = torch.from_numpy(images)
    assert msda.blend(tensor, plan, dtype=kind, layout=layout, out=out) is out
    assert out.data_ptr() == at
    assert torch.equal(out, msda.blend(tensor, plan, dtype=dtype, layout=layout))


def test_a_tensor_in_channels_last_memory():
    """The permuted view of an NCHW batch in channels_last is an NHWC batch: no copy is needed."""
    images = random_images((4, 6, 7, 3), "uint8")
    plan = every_kind_of_record(4, 6, 7)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    mixed = msda.blend(batch.permute(0, 2, 3, 1), plan)
    assert_same(mixed.numpy(), msda.blend(images, plan))
    leaf = torch.rand((4, 6, 7, 3), requires_grad=True)
    assert not msda.blend(leaf, plan).requires_grad


def test_torch_in_place():
    images = torch.from_numpy(random_images((4, 6, 7, 3), "uint8"))
    plan = msda.draw(msda.CutMix(scope="pair"), 4, 6, 7, seed=0, step=0)
    want = msda.blend(images, plan)
    assert msda.blend(images, plan, out=images) is images
    assert torch.equal(images, want)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("shape", [(4, 6, 7, 1), (4, 1, 1, 3), (4, 1, 1, 1), (4, 9, 1)], ids=str)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_one_channel_or_pixel_in_place_in_either_layout(kind, shape, layout):
    """Both layouts then lie in memory in the same way."""
    images = random_images(shape, "float32")
    plan = msda.draw(msda.Mixup(partner="flip"), 4, shape=shape[1:-1], seed=0, step=0)
    want = msda.blend(images, plan, layout=layout)
    out = kind(np.ascontiguousarray(want))  # of the output's shape
    out[...] = kind(images if layout == "HWC" else np.moveaxis(images, -1, 1))
    moveaxis = np.moveaxis if kind is np.asarray else torch.movedim
    given = out if layout == "HWC" else moveaxis(out, 1, -1)
    assert msda.blend(given, plan, layout=layout, out=out) is out
    assert_same(np.asarray(out), want)


def test_in_place_of_another_layout_is_refused():
    images = random_images((4, 3, 3, 3), "float32")  # whose shape is the same in both layouts
    plan = msda.draw(msda.Mixup(partner="flip"), 4, 3, 3, seed=0, step=0)
    with pytest.raises(ValueError, match="out: expected the images themselves, in the same layout"):
        msda.blend(images, plan, out=images, layout="CHW")


def written_tensors():
    """Every ``out=`` as (name, tensor, what writes to it)."""
    images, plan = torch.zeros((4, 6, 7, 3)), every_kind_of_record(4, 6, 7)
    flip = msda.draw(msda.Mixup(partner="flip"), 4, 6, 7, seed=0, step=0)
    out, rows, weights = torch.zeros((4, 6, 7, 3)), torch.zeros((4, 5)), torch.zeros((4, 6, 7))
    maps, mixed = torch.zeros((2, 4, 6, 7), dtype=torch.int64)
    yield "blend", out, lambda: msda.blend(images, plan, out=out)
    yield "in place", images, lambda: msda.blend(images, flip, out=images)
    yield "targets", rows, lambda: msda.targets([0, 1, 2, 3], plan, num_classes=5, out=rows)
    yield "mask", weights, lambda: msda.mask(plan, 6, 7, out=weights)
    yield "segmentation", mixed, lambda: msda.segmentation(maps, plan, out=mixed)


WRITTEN = [*written_tensors()]


@pytest.mark.parametrize("name, out, write", WRITTEN, ids=[name for name, *_ in WRITTEN])
def test_autograd_is_told_what_was_written(name, out, write):
    """A tensor kept for the backward pass and then overwritten is an error, as for torch's own."""
    version = out._version
    assert write() is out and out._version == version + 1
    with torch.inference_mode():
        assert write() is out
    if out.is_floating_point():
        weight = torch.ones((), requires_grad=True)
        loss = (out * weight).sum()
        write()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        out.requires_grad_(True)
        with pytest.raises(ValueError, match="out: expected a tensor that needs no gradient"):
            write()
        with torch.no_grad():
            assert write() is out
        out.requires_grad_(False)


def test_inference_tensors_have_no_version():
    plan = every_kind_of_record(4, 6, 7)
    with torch.inference_mode():
        out = torch.zeros((4, 6, 7))
        assert msda.mask(plan, 6, 7, out=out) is out


def test_an_empty_batch():
    plan = msda.draw(msda.CutMix(), 0, 6, 7, seed=0, step=0)
    assert len(plan) == 0
    assert msda.blend(np.zeros((0, 6, 7, 3), np.uint8), plan).shape == (0, 6, 7, 3)
    assert msda.mask(plan, 6, 7).shape == (0, 6, 7)
    assert msda.targets(np.zeros(0, np.int64), plan, num_classes=4).shape == (0, 4)
    labels, weights = msda.targets(np.zeros(0, np.int64), plan, compact=True)
    assert labels.shape == weights.shape == (0, 2)


def between_guards(array, at_end):
    """A copy of an array between two pages that must not be touched, at the end or the start."""
    page = mmap.PAGESIZE
    room = -(-array.nbytes // page) * page
    memory = np.frombuffer(mmap.mmap(-1, room + 2 * page), np.uint8)
    for guard in (memory.ctypes.data, memory.ctypes.data + page + room):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    start = page + (room - array.nbytes if at_end else 0)
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def blend_between_guards(source):
    shapes = [(1, 3, 37, 3), (2, 5, 16, 3), (1, 1, 1, 1), (2, 3, 50, 3)]
    whole = functools.partial(msda.draw, msda.ResizeMix(), seed=0, step=0, lam=0)  # to the last row
    cases = itertools.product(shapes, (0, 1), (every_kind_of_record, whole))
    for shape, mirror, drawn in cases:
        images, plan = random_images(shape, source), drawn(*shape[:3])
        dtypes = ("uint8", "float32", "float16") if source == "uint8" else ("float32", "float16")
        for dtype, layout, at_end in itertools.product(dtypes, ("HWC", "CHW"), (False, True)):
            options = {"dtype": dtype, "layout": layout, "mirror": [mirror] * shape[0]}
            want = msda.blend(images, plan, **options)
            out = between_guards(want, at_end)
            msda.blend(between_guards(images, at_end), plan, out=out, threads=2, **options)
            assert_same(out, want)


@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_nothing_outside_the_images_is_read(source):
    """In a process of its own, which would be killed; a forked one, as loaders' workers are."""
    process = multiprocessing.get_context("fork").Process(
        target=blend_between_guards, args=[source]
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0


def blend_with_threads(images, plan, want):
    for _ in range(20):
        assert_same(msda.blend(images, plan, threads=4), want)


def test_a_forked_process_has_threads_of_its_own():
    images = random_images((8, 150, 200, 3), "uint8")
    plan = every_kind_of_record(8, 150, 200)
    want = msda.blend(images, plan, threads=4)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=blend_with_threads, args=(images, plan, want)) for _ in "ab"]
    for process in processes:
        process.start()
    blend_with_threads(images, plan, want)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def test_calls_from_many_threads_do_not_meet():
    images = [random_images((6, 90, 110, 3), "uint8", seed) for seed in range(6)]
    plans = [every_kind_of_record(6, 90, 110, seed) for seed in range(6)]
    want = [msda.blend(i, p, threads=1) for i, p in zip(images, plans, strict=True)]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            got = pool.map(lambda i, p: msda.blend(i, p, threads=3), images, plans)
            for one, other in zip(got, want, strict=True):
                assert_same(one, other)


def test_outputs_are_fresh_and_poison_does_not_show_through():
    images = random_images((4, 6, 7, 3), "uint8")
    plan = every_kind_of_record(4, 6, 7)
    out = poisoned((4, 6, 7, 3), "uint8")
    first = msda.blend(images, plan)
    msda.blend(images, plan, out=out)
    np.testing.assert_array_equal(first, out)
    assert not np.shares_memory(first, msda.blend(images, plan))
