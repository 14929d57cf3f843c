"""Co-Mixup in a training step: mixed batches, their targets, and what is refused."""

import warnings

import numpy as np
import pytest
import torch

from dali_msda import comixup
from dali_msda.comixup import CoMixupSettings
from dali_msda.torch import CoMixup
from dali_msda.torch.methods.comixup import blended

BATCH, CLASSES = 7, 5
GENERATOR = torch.Generator().manual_seed(1)
IMAGES = torch.rand(BATCH, 3, 32, 32, generator=GENERATOR)
LABELS = torch.tensor([0, 4, 2, 2, 1, 3, 0])
MAPS = torch.rand(BATCH, 32, 32, generator=GENERATOR) ** 8
LAST = torch.channels_last
SETTINGS = CoMixupSettings(part=3)


@pytest.mark.parametrize("order", [torch.contiguous_format, LAST], ids=["planes", "channels last"])
def test_batches_are_those_of_the_arrays(order):
    images = IMAGES.to(memory_format=order)
    mix = CoMixup(CLASSES, blocks=(2, 4, 8), settings=SETTINGS, seed=4, rank=2)
    counts = set()
    for step in range(6):
        mixed, rows = mix(images, LABELS, MAPS)
        found = mix.solution
        counts.add(found.sources.shape[1])
        want = comixup.solve(
            MAPS, blocks=found.sources.shape[1], settings=SETTINGS, seed=4, step=step, rank=2
        )
        np.testing.assert_array_equal(found.sources, want.sources)
        hwc = images.permute(0, 2, 3, 1).contiguous().numpy()
        np.testing.assert_array_equal(mixed.permute(0, 2, 3, 1), comixup.blend(hwc, found))
        assert mixed.is_contiguous(memory_format=order)
        expected = comixup.targets(LABELS.numpy(), found, num_classes=CLASSES)
        np.testing.assert_array_equal(rows, expected)
    assert mix.step == 6 and len(counts) > 1


def test_draws_depend_on_seed_rank_and_step_and_state_comes_back():
    def run(mix, steps=3):
        return torch.cat([mix(IMAGES, LABELS, MAPS)[1] for _ in range(steps)])

    first = run(CoMixup(CLASSES))
    assert torch.equal(first, run(CoMixup(CLASSES, seed=0, rank=0)))
    for other in (CoMixup(CLASSES, seed=1), CoMixup(CLASSES, rank=1)):
        assert not torch.equal(first, run(other))
    mix, restored = CoMixup(CLASSES), CoMixup(CLASSES)
    run(mix, 2)
    restored.load_state_dict(mix.state_dict())
    assert torch.equal(run(restored, 1), first[-BATCH:])
    assert torch.equal(CoMixup(CLASSES)(IMAGES, LABELS, MAPS, step=2)[1], first[-BATCH:])
    text = "co-mixup state: expected seed 7, as in this run, got 0"
    with pytest.raises(ValueError, match=text):
        CoMixup(CLASSES, seed=7).load_state_dict(mix.state_dict())


def test_compact_targets_and_soft_labels():
    _, rows = CoMixup(CLASSES, settings=SETTINGS)(IMAGES, LABELS, MAPS)
    _, labels, weights = CoMixup(settings=SETTINGS, compact=True)(IMAGES, LABELS, MAPS)
    assert labels.shape == weights.shape == (BATCH, 3)
    torch.testing.assert_close(torch.zeros(BATCH, CLASSES).scatter_add(1, labels, weights), rows)
    soft = torch.eye(CLASSES)[LABELS]
    _, again = CoMixup(settings=SETTINGS)(IMAGES, soft, MAPS)
    torch.testing.assert_close(again, rows)
    _, smoothed = CoMixup(CLASSES, settings=SETTINGS, smoothing=0.5)(IMAGES, LABELS, MAPS)
    torch.testing.assert_close(smoothed, 0.5 * rows + 0.5 / CLASSES)


@pytest.mark.parametrize("order", [torch.contiguous_format, LAST], ids=["planes", "channels last"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
def test_types_come_back_and_other_devices_have_the_same_bits(dtype, order):
    images = (IMAGES * 255).to(dtype).contiguous(memory_format=order)
    mix = CoMixup(CLASSES)
    mixed, _ = mix(images, LABELS, MAPS.half().float())
    assert mixed.dtype == dtype
    elsewhere = blended(images, torch.from_numpy(mix.solution.sources))
    assert torch.equal(elsewhere, mixed) and elsewhere.is_contiguous(memory_format=order)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_a_gpu_has_the_bits_of_the_cpu(dtype):
    images = (IMAGES * 255).to(dtype)
    want = CoMixup(CLASSES)(images, LABELS, MAPS)
    got = CoMixup(CLASSES, via_cpu=True)(images.cuda(), LABELS.cuda(), MAPS.cuda())
    for ours, theirs in zip(got, want, strict=True):
        assert ours.is_cuda and torch.equal(ours.cpu(), theirs)


def test_unusable_maps_are_counted_and_warned_of_once():
    mix, maps = CoMixup(CLASSES), MAPS.clone()
    maps[1], maps[3, 4, 5] = 0, torch.nan
    with pytest.warns(RuntimeWarning, match="saliency: expected finite maps .* got 2 of 7 others"):
        mix(IMAGES, LABELS, maps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mix(IMAGES, LABELS, maps)
    assert mix.uniform_maps == 4


def test_an_empty_batch():
    mixed, rows = CoMixup(CLASSES)(IMAGES[:0], LABELS[:0], MAPS[:0])
    assert mixed.shape == (0, 3, 32, 32) and rows.shape == (0, CLASSES)


@pytest.mark.parametrize(
    "how, error, text",
    [
        (dict(blocks=(1, 2)), ValueError, "blocks: expected 2 to 16 along each side"),
        (dict(blocks=4), TypeError, r"blocks: expected numbers such as \(4,\), got 4"),
        (dict(settings={}), TypeError, "settings: expected CoMixupSettings, got {}"),
        (dict(smoothing=2), ValueError, "smoothing: expected"),
        (dict(via_cpu=1), TypeError, "via_cpu: expected True or False, got 1"),
        (dict(seed=-1), ValueError, "seed: expected"),
    ],
)
def test_settings_that_are_refused(how, error, text):
    with pytest.raises(error, match=text):
        CoMixup(CLASSES, **how)


META = IMAGES.to("meta")  # any other device stands for a GPU here


@pytest.mark.parametrize(
    "images, maps, error, text",
    [
        (IMAGES[..., :30], MAPS[..., :30], ValueError, "images: expected sides that are multi"),
        (IMAGES, MAPS[:2], ValueError, r"saliency: expected shape \(7, 32, 32\)"),
        (IMAGES, MAPS.int(), TypeError, "saliency: expected a tensor of floats, got torch.int"),
        (IMAGES.double(), MAPS, TypeError, "images: expected uint8, float32"),
        (META, MAPS.to("meta"), ValueError, "images: .* CPU memory, got one on meta; .* via_cpu"),
    ],
)
def test_batches_that_are_refused(images, maps, error, text):
    with pytest.raises(error, match=text):
        CoMixup(CLASSES)(images, LABELS.to(images.device), maps)
