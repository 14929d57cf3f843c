"""The saliency filter against its definition and against OpenCV's, and what its door refuses."""

import itertools

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.backends import cpu
from tests.reference import plain_kernels
from tests.reference.saliency import saliency as by_definition
from tests.reference.saliency import shares
from tests.support.photographs import pieces

SIZES = [(1, 1), (1, 2), (2, 1), (1, 60), (53, 1), (2, 2), (3, 5), (17, 16), (31, 53), (64, 61)]
ISAS = range(len(cpu.isas()))
THREADS, ORDERS = (1, 32, 97), (1, 2, 3)


def noise(size, channels=3, batch=2, seed=0):
    """Blocks and noise of any brightness: photographs' contrasts are milder."""
    rng = np.random.default_rng([seed, *size])
    images = rng.integers(0, 256, (batch, *size, channels), dtype=np.uint8)
    images[0, : size[0] // 2] //= 4
    images[:, :, size[1] // 2 :] //= 2
    return images


def peak_of(saliency_map):
    return np.unravel_index(saliency_map.argmax(), saliency_map.shape)


def assert_as_defined(images, peaks, maps):
    assert peaks.dtype == np.int32 and maps.dtype == np.uint8
    assert peaks.shape == (len(images), 2) and maps.shape == images.shape[:3]
    for image, peak, got in zip(images, peaks, maps, strict=True):
        np.testing.assert_array_equal(got, by_definition(image))
        assert tuple(peak) == peak_of(got)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_maps_are_as_defined(size, channels):
    images = noise(size, channels)
    assert_as_defined(images, *msda.saliency(images, maps=True))


def test_a_map_larger_than_every_square_is_as_defined():
    images = np.stack([*pieces(1, [(229, 231)], seed=1)][:1])
    assert images.shape == (1, 229, 231, 3)
    assert_as_defined(images, *msda.saliency(images, maps=True))


@pytest.mark.parametrize("source", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [*SIZES, (224, 224), (225, 227)], ids=str)
def test_maps_depend_on_no_machine(size, source):
    images = noise(size, batch=3).astype(source)
    want = np.zeros((3, 2), np.int32), np.zeros((3, *size), np.uint8)
    cpu.saliency(want[0], images, maps=want[1])
    walks = [{"isa": isa, "threads": threads} for isa in ISAS for threads in (1, 2, 7)]
    orders = itertools.product(THREADS, ORDERS)
    walks += [{"threads": threads, "order": order} for threads, order in orders]
    for walk in walks[: None if size[0] < 200 else 12]:
        peaks, maps = np.full((3, 2), -1, np.int32), np.full((3, *size), 77, np.uint8)
        run = plain_kernels.saliency if "order" in walk else cpu.saliency
        run(peaks, images, maps=maps, **walk)
        np.testing.assert_array_equal(maps, want[1], err_msg=str(walk))
        np.testing.assert_array_equal(peaks, want[0], err_msg=str(walk))


def test_sizes_may_change_from_call_to_call():
    for size in [(40, 30), (7, 90), (40, 30), (30, 40), (2, 2)]:
        images = noise(size)
        assert_as_defined(images, *msda.saliency(images, maps=True, threads=1))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_nothing_stands_out_of_a_flat_image(value):
    peaks, maps = msda.saliency(np.full((2, 40, 30, 3), value, np.uint8), maps=True)
    assert not maps.any() and not peaks.any()


@pytest.mark.parametrize("spot, ground", [(255, 0), (0, 255), (140, 120)])
def test_a_spot_is_the_peak(spot, ground):
    images = np.full((1, 90, 70, 3), ground, np.uint8)
    images[0, 60:65, 20:25] = spot
    assert msda.saliency(images).tolist() == [[62, 22]]  # smoothed twice, only its centre stays


@pytest.mark.parametrize("first, second", [(255, 40), (40, 255)])
def test_of_equal_values_the_first_is_the_peak(first, second):
    """What is brightest and what is darkest both count 255."""
    images = np.full((1, 90, 70, 1), 100, np.uint8)
    images[0, 40:45, 50:55] = first
    images[0, 60:65, 20:25] = second
    (peak,), (found,) = msda.saliency(images, maps=True)
    assert found[42, 52] == found[62, 22] == 255
    assert peak.tolist() == [42, 52]


def test_what_exceeds_a_byte_is_255():
    """Both kinds of contrast are scaled apart, so that a pixel may have much of each."""
    images = np.full((1, 96, 96, 1), 194, np.uint8)
    images[0, 29:, 55:] = 176
    images[0, 66:, 37:] = 160
    images[0, 63:, 66:93] = 109
    total = shares(images[0])
    assert (total > 255).any()
    (peak,), (found,) = msda.saliency(images, maps=True)
    np.testing.assert_array_equal(found, np.minimum(total, 255))
    assert tuple(peak) == peak_of(found)
    peaks, maps = np.empty((1, 2), np.int32), np.empty((1, 96, 96), np.uint8)
    plain_kernels.saliency(peaks, images, 32, 2, maps=maps)
    np.testing.assert_array_equal(maps[0], found)
    np.testing.assert_array_equal(peaks[0], peak)


def test_floats_are_rounded_first():
    images = noise((40, 31)).astype(np.float32)
    want = msda.saliency(images.astype(np.uint8), maps=True)
    jitter = np.random.default_rng(1).uniform(-0.49, 0.49, images.shape).astype(np.float32)
    for got, expected in zip(msda.saliency(images + jitter, maps=True), want, strict=True):
        np.testing.assert_array_equal(got, expected)
    odd = np.array([0.5, 1.5, -9, 256, 1e9, np.inf, -np.inf, np.nan], np.float32)
    as_bytes = np.array([0, 2, 0, 255, 255, 255, 0, 0], np.uint8)
    got, same = (
        msda.saliency(np.tile(values, 6).reshape(1, 6, 8, 1), maps=True)[1]
        for values in (odd, as_bytes)
    )
    np.testing.assert_array_equal(got, same)
    assert same.any()


@pytest.mark.parametrize("width", [1, 40, 33])
def test_a_mirrored_image_has_the_mirrored_map(width):
    images = noise((35, width), batch=4)
    plain_peaks, plain = msda.saliency(images, maps=True)
    flags = np.array([0, 1, 1, 0])
    peaks, maps = msda.saliency(images, maps=True, mirror=flags)
    for i, flag in enumerate(flags):
        np.testing.assert_array_equal(maps[i], plain[i, :, ::-1] if flag else plain[i])
        x = plain_peaks[i, 1]
        assert peaks[i].tolist() == [plain_peaks[i, 0], width - 1 - x if flag else x]
    np.testing.assert_array_equal(msda.saliency(images, mirror=flags), peaks)


def test_arrays_of_any_kind():
    images = noise((20, 30), batch=6)
    want = msda.saliency(images)
    np.testing.assert_array_equal(msda.saliency(images[::-2]), want[::-2])
    peaks = msda.saliency(torch.from_numpy(images))
    assert isinstance(peaks, torch.Tensor) and peaks.dtype == torch.int32
    np.testing.assert_array_equal(peaks.numpy(), want)
    peaks, maps = msda.saliency(torch.from_numpy(images).float(), maps=True)
    assert maps.dtype == torch.uint8 and maps.shape == (6, 20, 30)
    np.testing.assert_array_equal(peaks.numpy(), want)
    peaks, maps = msda.saliency(images[:0], maps=True)
    assert peaks.shape == (0, 2) and maps.shape == (0, 20, 30)


def test_memory_beside_the_results_is_left_alone():
    images = noise((13, 17), batch=3)
    room = np.full((5, 13 * 17), 99, np.uint8)
    maps = room[1:4].reshape(3, 13, 17)
    peaks = np.full((5, 2), -7, np.int32)
    cpu.saliency(peaks[1:4], images, maps=maps, mirror=np.array([0, 1, 0], np.uint8))
    assert (room[[0, 4]] == 99).all() and (peaks[[0, 4]] == -7).all()
    np.testing.assert_array_equal(peaks[1], msda.saliency(images)[0])


IMAGES = np.zeros((2, 8, 9, 3), np.uint8)


@pytest.mark.parametrize(
    "images, options, error, text",
    [
        (IMAGES[0], {}, ValueError, "images: expected shape (B, H, W, C)"),
        (IMAGES[..., :2], {}, ValueError, "1 or 3 channels, got (2, 8, 9, 2)"),
        (IMAGES[:, :0], {}, ValueError, "at least one pixel"),
        (IMAGES.astype(float), {}, TypeError, "images: expected uint8 or float32, got float64"),
        (torch.zeros(2, 8, 9, 3, dtype=torch.bfloat16), {}, TypeError, "got bfloat16"),
        (IMAGES[:, ::2], {}, ValueError, "images: expected each sample to be contiguous"),
        ([1, 2], {}, TypeError, "images: expected a NumPy array or a torch tensor, got list"),
        (IMAGES, {"maps": 1}, TypeError, "maps: expected True or False, got 1"),
        (IMAGES, {"mirror": [1]}, ValueError, "mirror: expected 2 flags"),
        (IMAGES, {"threads": -1}, ValueError, "threads: expected 0"),
        (IMAGES, {"threads": 1.0}, TypeError, "threads: expected a whole number"),
    ],
)
def test_what_is_refused(images, options, error, text):
    with pytest.raises(error) as caught:
        msda.saliency(images, **options)
    assert text in str(caught.value)


# ----------------------------------------------------------------------------------------- OpenCV


def by_opencv(image):
    """Map of OpenCV, which returns bytes divided by 255 and takes colours in the order BGR."""
    cv2 = pytest.importorskip("cv2", reason="opencv-contrib-python-headless is not installed")
    bgr = np.ascontiguousarray(image[..., ::-1])
    success, found = cv2.saliency.StaticSaliencyFineGrained_create().computeSaliency(bgr)
    assert success
    return np.rint(found * 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 65), (128, 181), (181, 181)], ids=str)
def test_maps_of_photographs_are_opencvs(size):
    """Equal to the last pixel: up to 181 x 181 no sum exceeds what OpenCV's floats hold."""
    for image in pieces(8, [size], seed=2):
        np.testing.assert_array_equal(msda.saliency(image[None], maps=True)[1][0], by_opencv(image))


@pytest.mark.parametrize("size", [(224, 224), (160, 352), (331, 299)], ids=str)
def test_peaks_of_larger_photographs_are_opencvs(size):
    """At least 95 of 100; among the other pixels single grey levels differ, in few."""
    images = [*pieces(8, [size], seed=3)]
    alike = 0
    for image in images:
        peaks, (found,) = msda.saliency(image[None], maps=True)
        want = by_opencv(image)
        alike += tuple(peaks[0]) == peak_of(want)
        assert (found != want).mean() < 0.01
    assert alike >= 0.95 * len(images)
