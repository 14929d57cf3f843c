"""Arrays on a GPU, from the door to the launch, with a device that emulates the kernels.

What a real device does is the matter of test_cuda.py.
"""

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.backends import backend_of, cuda, cuda_arrays
from dali_msda.backends.places import on_gpu
from dali_msda.policy import METHODS
from tests.cuda.host_gpu import STREAM, HostArray, install
from tests.support.batches import every_kind_of_record, random_images
from tests.support.doors import assert_same
from tests.support.fmix_plans import LAWS, records
from tests.support.variants import CASES, draw_any, make, name_of


@pytest.fixture
def device(monkeypatch):
    return install(monkeypatch)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_method(device, case):
    """NumPy in: the CPU. A GPU's array in: the same bits there."""
    shape = (6, 9, 22, 3)
    for seed, (source, dtype) in enumerate(
        [("uint8", "uint8"), ("uint8", "float16"), ("float32", "bfloat16")]
    ):
        images = random_images(shape, source, seed)
        options = {"dtype": dtype, "layout": "CHW" if seed else "HWC"}
        if seed == 1:
            options |= {"mean": [120, 110, 100], "std": 58.0, "mirror": [0, 1, 1, 0, 0, 1]}
        plan = draw_any(make(case), *shape[:3], seed=seed, step=4)
        want = msda.blend(images, plan, **options)
        assert not device.launched
        got = msda.blend(HostArray(images), plan, **options)
        np.testing.assert_array_equal(got.values.view(want.dtype), want)
        assert device.launched.pop() == f"msda_blend_{source}_{dtype}"
        assert device.launched == ["msda_field_masks"] * ("needs_field" in METHODS[case[0]].traits)
        device.launched.clear()


def test_one_launch_whatever_the_batch_holds(device):
    images = random_images((40, 7, 19, 3), "uint8")
    plan = every_kind_of_record(40, 7, 19)
    got = msda.blend(HostArray(images), plan)
    np.testing.assert_array_equal(got.values, msda.blend(images, plan))
    assert device.launched == ["msda_field_masks", "msda_blend_uint8_uint8"]


def test_interpolations(device):
    images = random_images((5, 6, 17, 3), "uint8")
    plan = msda.draw(msda.MultiMix(msda.FMix(), 4), 5, 6, 17, seed=1, step=2)
    got = msda.blend(HostArray(images), plan, dtype="float32", layout="CHW")
    np.testing.assert_array_equal(
        got.values, msda.blend(images, plan, dtype="float32", layout="CHW")
    )
    gaps = HostArray(np.zeros((5, 5, 6, 17, 3), np.uint8)[:, :4])
    with pytest.raises(ValueError, match="out: expected a batch whose samples lie one behind"):
        msda.blend(HostArray(images), plan, out=gaps)


def test_out_and_strides(device):
    """Images apart from one another, outputs too, and the array that was given comes back."""
    room = random_images((12, 5, 18, 3), "uint8")
    images, plan = room[1::2], every_kind_of_record(6, 5, 18)
    memory = np.full((13, 5, 18, 3), 99, np.uint8)
    out = HostArray(memory[0:12:2])
    assert msda.blend(HostArray(images), plan, out=out) is out
    np.testing.assert_array_equal(memory[0:12:2], msda.blend(images, plan))
    assert (memory[1::2] == 99).all() and (memory[12] == 99).all()


def test_in_place(device):
    images = random_images((8, 5, 18, 3), "uint8")
    plan = msda.draw(msda.CutMix(scope="pair", partner="flip"), 8, 5, 18, seed=0, step=0)
    want = msda.blend(images, plan)
    array = HostArray(images.copy())
    assert msda.blend(array, plan, out=array) is array
    np.testing.assert_array_equal(array.values, want)
    with pytest.raises(ValueError, match="mirror: expected None in place on a GPU"):
        msda.blend(array, plan, out=array, mirror=[0] * 8)
    with pytest.raises(ValueError, match="out: expected memory apart from the images"):
        roll = msda.draw(msda.CutMix(partner="roll", alpha=100), 8, 5, 18, seed=0, step=0)
        msda.blend(array, roll, out=array)
    with pytest.raises(ValueError, match="got memory that overlaps them"):
        msda.blend(array[:7], every_kind_of_record(7, 5, 18), out=array[1:])


def test_mirror_flags_may_lie_on_either_side(device):
    images, plan = random_images((6, 5, 18, 3), "uint8"), every_kind_of_record(6, 5, 18)
    flags = np.array([1, 0, 1, 1, 0, 0], bool)
    want = msda.blend(images, plan, mirror=flags)
    for given in (flags, flags.tolist(), HostArray(flags), HostArray(flags.astype(np.uint8))):
        np.testing.assert_array_equal(
            msda.blend(HostArray(images), plan, mirror=given).values, want
        )
    for wrong in (flags[:5], flags.astype(np.int32), np.repeat(flags, 2)[::2]):
        with pytest.raises(ValueError, match="mirror: expected 6 flags of type bool or uint8"):
            msda.blend(HostArray(images), plan, mirror=HostArray(wrong))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(1, 12, 10), (1, 11, 97), (1, 61, 64)], ids=str)
@pytest.mark.parametrize("shared_bytes", [16 * 1024, 227 * 1024])
def test_masks_in_shared_memory_or_not(monkeypatch, shape, law, shared_bytes):
    """A small card's masks are those of a large one; 97 needs room for its butterflies."""
    device = install(monkeypatch, shared_bytes=shared_bytes)
    plan = records(7, shape, lam=np.linspace(0, 1, 7), **LAWS[law])
    plan["soft"][2:5] = 1, 9, plan["count"][4] // 2
    _, height, width = shape
    out = HostArray(np.full((7, height, width), np.nan, np.float32))
    assert msda.mask(plan, height, width, out=out) is out
    np.testing.assert_array_equal(out.values, msda.mask(plan, height, width))
    assert device.launched == ["msda_field_masks", "msda_mask_float32"]


def test_mask_into_memory_of_the_cpu():
    plan = every_kind_of_record(5, 6, 7)
    out = np.empty((5, 6, 7), np.float32)
    assert msda.mask(plan, 6, 7, out=out) is out
    np.testing.assert_array_equal(out, msda.mask(plan, 6, 7))
    with pytest.raises(ValueError, match="out: expected a contiguous array"):
        msda.mask(plan, 6, 7, out=np.empty((10, 6, 7), np.float32)[::2])


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float32])
def test_targets(device, kind):
    plan, rng = every_kind_of_record(9, 4, 4), np.random.default_rng(0)
    labels = rng.integers(0, 11, 9).astype(kind)
    if kind == np.float32:
        labels = rng.random((9, 11), np.float32)
    got = msda.targets(HostArray(labels), plan, num_classes=11, smoothing=0.1)
    want = msda.targets(labels, plan, num_classes=11, smoothing=0.1)
    np.testing.assert_array_equal(got.values, want)
    if kind != np.float32:
        pairs = zip(
            msda.targets(HostArray(labels), plan, compact=True),
            msda.targets(labels, plan, compact=True),
            strict=True,
        )
        for one, other in pairs:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one.values, other)


def test_mix(device):
    images, labels = random_images((6, 8, 8, 3), "uint8"), np.arange(6)
    settings = {"num_classes": 6, "seed": 1, "step": 2, "std": 50.0}
    want = msda.mix(images, labels, msda.GMix(), **settings)
    got = msda.mix(HostArray(images), HostArray(labels), msda.GMix(), **settings)
    for one, other in zip(got, want, strict=True):
        assert_same(one.values, other)


def test_saliency(device):
    images = random_images((6, 12, 18, 3), "uint8")
    want = msda.saliency(images[::2], maps=True, mirror=[1, 0, 1])
    got = msda.saliency(HostArray(images)[::2], maps=True, mirror=[1, 0, 1])
    for one, other in zip(got, want, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.values, other)
    assert device.launched == ["msda_saliency_uint8"]
    with pytest.raises(ValueError, match="images: expected shape"):
        msda.saliency(HostArray(images[0]))
    with pytest.raises(TypeError, match="images: expected uint8 or float32, got float64"):
        msda.saliency(HostArray(images.astype(float)))
    with pytest.raises(ValueError, match="mirror: expected 6 flags"):
        msda.saliency(HostArray(images), mirror=HostArray(np.zeros(5, np.uint8)))
    assert msda.saliency(HostArray(images[:0])).values.shape == (0, 2)
    assert len(device.launched) == 1


class OnEitherSide:
    """As JAX's arrays: their class has a CUDA array interface, which those on the CPU have not."""

    def __init__(self, values, place):
        self.values, self.place = values, place
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self):
        return len(self.values)

    @property
    def __cuda_array_interface__(self):
        if self.place[0] == 1:
            raise AttributeError("the array is on the CPU")
        return HostArray(self.values).__cuda_array_interface__

    def __dlpack_device__(self):
        return self.place

    def __dlpack__(self, **how):
        return self.values.__dlpack__(**how)


def test_dlpack_says_where_an_array_is(device):
    """1 is the CPU, 2 and 13 a GPU (its own memory, and what the driver moves to and fro)."""
    images, plan = random_images((4, 6, 8, 3), "uint8"), every_kind_of_record(4, 6, 8)
    want = msda.blend(images, plan)
    given = OnEitherSide(images, (1, 0))
    assert not on_gpu(given)
    np.testing.assert_array_equal(msda.blend(given, plan), want)
    assert not device.launched
    for place in ((2, 0), (13, 0)):
        assert on_gpu(OnEitherSide(images, place))
        got = msda.blend(OnEitherSide(images, place), plan)
        np.testing.assert_array_equal(got.values, want)
    assert len(device.launched) == 4
    elsewhere = HostArray(np.empty_like(images), 1)
    with pytest.raises(ValueError, match="one GPU, got images on 0, out on 1"):
        msda.blend(OnEitherSide(images, (2, 0)), plan, out=elsewhere)


def test_the_streams_that_arrays_name_are_waited_for(device, monkeypatch):
    """Before the launch by ours, after it by theirs; 1 is another name for 0."""
    monkeypatch.setattr(cuda, "current_stream", cuda_arrays.current_stream)
    images, plan = random_images((4, 6, 8, 3), "uint8"), every_kind_of_record(4, 6, 8)
    cases = [
        ((STREAM, STREAM), []),
        ((None, STREAM), []),
        ((STREAM, None), []),
        ((STREAM, 9), [(STREAM, 9), (9, STREAM)]),
        ((STREAM, 1), [(STREAM, 0), (0, STREAM)]),
        ((STREAM, 2), [(STREAM, 2), (2, STREAM)]),
    ]
    for (own, other), waited in cases:
        out = HostArray(np.empty_like(images), stream=other)
        msda.blend(HostArray(images, stream=own), plan, out=out)
        np.testing.assert_array_equal(out.values, msda.blend(images, plan))
        assert device.waited == waited
        device.waited.clear()
    for wrong in (0, -1, True, "7"):
        with pytest.raises(ValueError, match="images: expected the stream of .* None, 1, 2 or an"):
            msda.blend(HostArray(images, stream=wrong), plan)


def test_both_backends_have_the_same_functions(device):
    here, there = backend_of(np.zeros(1)), backend_of(HostArray(np.zeros(1)))
    assert here != there and here == backend_of(None) == backend_of([1])
    for name in ("view", "on_cpu", "output", "mirror_flags", "labels"):
        assert callable(getattr(here.arrays, name)) and callable(getattr(there.arrays, name))
    for name in ("blend", "mask", "targets_dense", "targets_compact", "saliency"):
        assert callable(getattr(here.kernels, name)) and callable(getattr(there.kernels, name))


def test_the_other_byte_order_is_refused(device):
    images, plan = random_images((4, 6, 8, 3), "float32"), every_kind_of_record(4, 6, 8)
    other = HostArray(images.astype(">f4"))
    with pytest.raises(TypeError, match="images: expected uint8 or float32, got >f4"):
        msda.blend(other, plan)
    with pytest.raises(ValueError, match="out: expected float32 .* got >f4"):
        msda.blend(HostArray(images), plan, out=other)
    with pytest.raises(TypeError, match="labels: expected int64 .* got >i8"):
        msda.targets(HostArray(np.arange(4).astype(">i8")), plan, num_classes=4)


def test_empty_batches(device):
    images, plan = random_images((3, 4, 5, 3), "uint8"), every_kind_of_record(1, 4, 5)[:0]
    assert msda.blend(HostArray(images), plan).values.shape == (0, 4, 5, 3)
    assert msda.targets(HostArray(np.arange(3)), plan, num_classes=3).values.shape == (0, 3)
    compact = msda.targets(HostArray(np.arange(3)), plan, compact=True)
    assert [len(part) for part in compact] == [0, 0]
    out = HostArray(np.empty((0, 4, 5), np.float32))
    assert msda.mask(plan, 4, 5, out=out) is out
    assert not device.launched


def test_errors_at_the_door(device):
    images, plan = random_images((4, 6, 8, 3), "uint8"), every_kind_of_record(4, 6, 8)
    there = HostArray(images)
    with pytest.raises(ValueError, match="out: expected an array on the GPU, like the others"):
        msda.blend(there, plan, out=np.empty_like(images))
    with pytest.raises(ValueError, match="out: expected an array in CPU memory, got one on a GPU"):
        msda.blend(images, plan, out=HostArray(np.empty_like(images)))
    with pytest.raises(ValueError, match="expected all arrays on one GPU, got images on 0, out on"):
        msda.blend(there, plan, out=HostArray(np.empty_like(images), 1))
    with pytest.raises(TypeError, match="images: expected uint8 or float32, got float64"):
        msda.blend(HostArray(images.astype(float)), plan)
    with pytest.raises(ValueError, match="images: expected each sample to be contiguous"):
        msda.blend(HostArray(np.zeros((4, 6, 16, 3), np.uint8)[:, :, ::2]), plan)
    with pytest.raises(ValueError, match="out: expected a writeable array"):
        locked = np.empty_like(images)
        locked.flags.writeable = False
        msda.blend(there, plan, out=HostArray(locked))
    for labels in (np.arange(4, dtype=np.uint8), np.zeros((4, 3)), np.zeros((2, 2, 1), np.float32)):
        with pytest.raises(TypeError, match="labels: expected int64 or int32 class indices"):
            msda.targets(HostArray(labels), plan, num_classes=4)
    with pytest.raises(ValueError, match="labels: expected a contiguous array"):
        msda.targets(HostArray(np.arange(8)[::2]), plan, num_classes=4)
    with pytest.raises(ValueError, match="num_classes: expected at least 1, got 0"):
        msda.targets(HostArray(np.arange(4)), plan, num_classes=0)
    with pytest.raises(ValueError, match="num_classes: expected 3, as the labels have, got 4"):
        msda.targets(HostArray(np.ones((4, 3), np.float32)), plan, num_classes=4)
    assert not device.launched
