"""The transform of batches in the training step, and images that lie plane by plane."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import dali_msda as msda
from dali_msda.torch import Mixer
from tests.cuda.host_gpu import HostArray, install
from tests.support.loader_workers import raises_in_worker
from tests.support.variants import CASES, draw_any, make, name_of

BATCH, CHANNELS, HEIGHT, WIDTH, CLASSES = 5, 3, 12, 17, 6
BYTES = torch.from_numpy(
    np.random.default_rng(0).integers(0, 256, (BATCH, CHANNELS, HEIGHT, WIDTH), dtype=np.uint8)
)
FLOATS = BYTES / 255 - 0.5
LABELS = torch.tensor([0, 5, 2, 2, 1])
POLICIES = [
    msda.CutMix(),
    msda.FMix(max_soft=0.2),
    msda.Mixup(n=3),
    msda.ResizeMix(),
    msda.LaMix(),
    msda.Alternate([msda.Cutout(length=4), msda.HMix()]),
    msda.MultiMix(msda.GMix(), k=2),
]
ORDERS = {
    "planes": lambda images: images,
    "channels_last": lambda images: images.contiguous(memory_format=torch.channels_last),
    "strided": lambda images: torch.stack([images, images], -1)[..., 1],
    "every other": lambda images: torch.stack([images, images], 1).flatten(0, 1)[::2],
}


def expected(policy, images, labels, *, seed=0, step=0, rank=0, **how):
    hwc = images.permute(0, 2, 3, 1).contiguous()
    peaks = msda.saliency(hwc) if policy.needs_peaks else None
    plan = msda.draw(policy, len(images), *images.shape[2:], seed=seed, step=step, rank=rank,
                     peaks=peaks)  # fmt: skip
    mixed = msda.blend(hwc, plan, layout="CHW", **how).flatten(0, plan.ndim - 1)
    rows = msda.targets(labels, plan, num_classes=CLASSES).flatten(0, plan.ndim - 1)
    return mixed, rows


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_batches_are_those_of_the_plan(policy, order):
    mixer = Mixer(policy, CLASSES, seed=4, rank=2)
    for step in range(3):
        for number, images in enumerate((BYTES, FLOATS)):
            given = ORDERS[order](images)
            kept = given.clone()
            mixed, rows = mixer(given, LABELS)
            key = dict(seed=4, step=2 * step + number, rank=2)
            want, want_rows = expected(policy, images, LABELS, **key)
            assert torch.equal(mixed, want) and torch.equal(rows, want_rows)
            assert torch.equal(given, kept)
            last = torch.channels_last if order == "channels_last" else torch.contiguous_format
            assert mixed.is_contiguous(memory_format=last)
    assert mixer.step == 6


def test_saliency_needs_bytes_and_finds_their_peaks():
    mixer = Mixer(msda.SaliencyMix(), CLASSES)
    for given in (BYTES, ORDERS["channels_last"](BYTES)):
        images, rows = mixer(given, LABELS, step=0)
        want = expected(msda.SaliencyMix(), BYTES, LABELS)
        assert torch.equal(images, want[0]) and torch.equal(rows, want[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("order", ORDERS)
def test_half_precision_is_rounded_once(dtype, order):
    half = FLOATS.to(dtype)
    mixed, _ = Mixer(msda.Mixup(), CLASSES)(ORDERS[order](half), LABELS)
    want, _ = expected(msda.Mixup(), half.float(), LABELS, dtype=dtype)
    assert mixed.dtype == dtype and torch.equal(mixed, want)


@pytest.mark.parametrize("order", ["planes", "channels_last"])
def test_normalisation_type_and_mirror(order):
    mean, std = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)
    how = dict(mean=mean, std=std, dtype="float16")
    mixer = Mixer(msda.FMix(), CLASSES, mirror=0.5, **how)
    flipped = set()
    for step in range(4):
        mixed, _ = mixer(ORDERS[order](BYTES), LABELS)
        flips = (Mixer(msda.Mixup(prob=0.0), CLASSES, mirror=0.5)(BYTES, LABELS, step=step)[0]
                 != BYTES).any((1, 2, 3))  # fmt: skip
        flipped |= set(flips.tolist())
        want, _ = expected(msda.FMix(), BYTES, LABELS, step=step, mirror=flips, **how)
        assert torch.equal(mixed, want)
    assert flipped == {False, True}


def test_ranks_and_seeds_and_steps_differ():
    def lams(**how):
        mixer = Mixer(msda.Mixup(), CLASSES, mirror=0.5, **how)
        return torch.cat([torch.cat([p.flatten() for p in mixer(FLOATS, LABELS)]) for _ in "ab"])

    first = lams()
    assert torch.equal(first, lams(seed=0, rank=0))
    for other in (lams(rank=1), lams(seed=1)):
        assert (first != other).float().mean() > 0.5
    assert not torch.equal(*first.chunk(2))


def test_a_restored_mixer_goes_on():
    mixer = Mixer(msda.Alternate([msda.Mixup(), msda.CutMix()]), CLASSES, seed=7)
    mixer(FLOATS, LABELS)
    state = mixer.state_dict()
    want = [mixer(FLOATS, LABELS) for _ in range(3)]
    other = Mixer(mixer.policy, CLASSES, seed=7)
    other.load_state_dict(state)
    for images, rows in want:
        got = other(FLOATS, LABELS)
        assert torch.equal(got[0], images) and torch.equal(got[1], rows)
    assert torch.equal(other(FLOATS, LABELS, step=1)[0], want[0][0])
    assert other.step == 4
    with pytest.raises(ValueError, match="mixer state: expected seed 8"):
        Mixer(msda.Mixup(), CLASSES, seed=8).load_state_dict(state)


def test_a_batch_that_fails_is_not_counted():
    mixer = Mixer(msda.Mixup(), CLASSES)
    with pytest.raises(ValueError, match=r"labels\[0\]"):
        mixer(FLOATS, LABELS + 6)
    assert mixer.step == 0


def test_global_generators_have_no_say():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        results.append(Mixer(msda.CutMix(), CLASSES)(FLOATS, LABELS))
    assert torch.equal(results[0][0], results[1][0])


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_small_batches(batch):
    images, rows = Mixer(msda.CutMix(), CLASSES)(FLOATS[:batch], LABELS[:batch])
    assert images.shape == FLOATS[:batch].shape and rows.shape == (batch, CLASSES)
    assert batch != 1 or torch.equal(images, FLOATS[:1])


def test_compact_and_soft_targets():
    policy = msda.Choice([msda.Mixup(n=3), msda.CutMix()])
    _, rows = Mixer(policy, CLASSES)(FLOATS, LABELS)
    _, labels, weights = Mixer(policy, compact=True)(FLOATS, LABELS)
    assert labels.shape == (BATCH, 3)
    dense = torch.zeros_like(rows).scatter_add_(1, labels, weights)
    torch.testing.assert_close(dense, rows, rtol=0, atol=1e-6)
    one_hot = torch.nn.functional.one_hot(LABELS, CLASSES).float()
    torch.testing.assert_close(Mixer(policy)(FLOATS, one_hot)[1], rows, rtol=0, atol=1e-6)


def test_nan_stays_where_it_is():
    """A pasted box neither spreads a NaN nor hides one."""
    images = torch.zeros(2, 1, 8, 8)
    images[0] = torch.nan
    plan = msda.draw(msda.CutMix(partner="flip"), 2, 8, 8, seed=0, step=0)
    mixed, _ = Mixer(msda.CutMix(partner="flip"), CLASSES)(images, LABELS[:2])
    own = torch.from_numpy(msda.mask(plan, 8, 8)) == 1
    assert torch.equal(mixed[0, 0].isnan(), own[0]) and torch.equal(mixed[1, 0].isnan(), ~own[1])


@pytest.mark.parametrize(
    "images, labels, error, message",
    [
        (FLOATS.double(), LABELS, TypeError, "images: expected uint8, float32, .* got float64"),
        (FLOATS[0, 0], LABELS, ValueError, r"images: expected shape \(B, C, L\) .* got \(12, 17\)"),
        (FLOATS.numpy(), LABELS, TypeError, "images: expected a tensor, got ndarray"),
        (FLOATS, LABELS.tolist(), TypeError, "labels: expected a tensor, got list"),
        (
            FLOATS,
            LABELS[:4],
            ValueError,
            r"labels: expected shape \(5,\) or \(5, classes\), .* \(4,\)",
        ),
        (FLOATS, LABELS + 1, ValueError, r"labels\[1\]: expected 0 <= label < 6, got 6"),
        (FLOATS, LABELS.float(), TypeError, "labels: expected class indices"),
        (FLOATS, LABELS.to("meta"), ValueError, "labels: expected them on cpu, .* got meta"),
        (FLOATS.clone().requires_grad_(), LABELS, ValueError, "images: expected data, got a tenso"),
    ],
)
def test_errors(images, labels, error, message):
    with pytest.raises(error, match=message):
        Mixer(msda.CutMix(), CLASSES)(images, labels)


def test_wrong_arguments():
    with pytest.raises(TypeError, match="policy: expected a policy such as"):
        Mixer(None, CLASSES)
    with pytest.raises(ValueError, match="rank: expected 0 <= rank"):
        Mixer(msda.CutMix(), CLASSES, rank=-1)
    with pytest.raises(ValueError, match="num_classes: expected a number of classes"):
        Mixer(msda.CutMix())(FLOATS, LABELS)
    with torch.no_grad():
        Mixer(msda.CutMix(), CLASSES)(FLOATS.clone().requires_grad_(), LABELS)


def test_a_worker_is_told_to_collate():
    mixer = Mixer(msda.CutMix(), CLASSES)
    loader = DataLoader(range(4), 2, num_workers=1,
                        collate_fn=lambda batch: mixer(FLOATS[:2], LABELS[:2]))  # fmt: skip
    with raises_in_worker(RuntimeError, match="seed: expected a call in the process that trains"):
        next(iter(loader))


# Images that lie plane by plane, through the array functions.


@pytest.mark.parametrize("case", CASES, ids=name_of)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_planes_are_mixed_to_the_same_bits(case, dtype):
    images = np.random.default_rng(1).integers(0, 256, (6, 9, 22, 3)).astype(dtype)
    apart = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    plan = draw_any(make(case), 6, 9, 22, seed=2, step=3)
    options = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], mirror=[1, 0, 1, 1, 0, 0])
    for more in ({}, options, options | {"dtype": "bfloat16"}):
        want = msda.blend(images, plan, layout="CHW", **more)
        got = msda.blend(np.moveaxis(apart, 1, -1), plan, layout="CHW", **more)
        np.testing.assert_array_equal(got, want)
        if more:
            # strides between samples do not matter
            gaps = np.zeros((6, 5, 9, 22), dtype)
            gaps[:, 1:4] = apart
            view = np.moveaxis(gaps[:, 1:4], 1, -1)
            np.testing.assert_array_equal(msda.blend(view, plan, layout="CHW", **more), want)


def test_interpolations_of_planes():
    images = np.random.default_rng(1).integers(0, 256, (4, 9, 22, 3), dtype=np.uint8)
    apart = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, -1, 1)), 1, -1)
    plan = msda.draw(msda.MultiMix(msda.FMix(), 3), 4, 9, 22, seed=2, step=3)
    want = msda.blend(images, plan, layout="CHW", dtype="float16")
    np.testing.assert_array_equal(msda.blend(apart, plan, layout="CHW", dtype="float16"), want)


def test_planes_in_place_and_wrong_layouts():
    images = np.random.default_rng(1).integers(0, 256, (5, 9, 22, 3), dtype=np.uint8)
    apart = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    view = np.moveaxis(apart, 1, -1)
    plan = msda.draw(msda.CutMix(partner="flip"), 5, 9, 22, seed=0, step=0)
    want = msda.blend(images, plan, layout="CHW")
    with pytest.raises(ValueError, match="layout: expected 'CHW' for images that lie in memory"):
        msda.blend(view, plan)
    assert msda.blend(view, plan, layout="CHW", out=apart) is apart
    np.testing.assert_array_equal(apart, want)
    roll = msda.draw(msda.CutMix(partner="roll"), 5, 9, 22, seed=0, step=0)
    with pytest.raises(ValueError, match="out: expected memory apart from the images"):
        msda.blend(view, roll, layout="CHW", out=apart)
    with pytest.raises(ValueError, match="out: .* memory that overlaps them"):
        few = msda.draw(msda.CutMix(partner="flip"), 4, 9, 22, seed=0, step=0)
        msda.blend(view[1:], few, layout="CHW", out=apart[:4])
    with pytest.raises(ValueError, match="images: expected each sample to be contiguous"):
        msda.blend(images[:, :, ::2], plan, layout="CHW")


@pytest.mark.parametrize("policy", [msda.FMix(), msda.MultiMix(msda.CutMix(), 2)])
def test_planes_on_a_gpu_are_a_launch_each(monkeypatch, policy):
    images = np.random.default_rng(1).integers(0, 256, (4, 9, 22, 3), dtype=np.uint8)
    apart = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, -1, 1)), 1, -1)
    plan = msda.draw(policy, 4, 9, 22, seed=2, step=3)
    options = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], layout="CHW", mirror=[1, 0, 0, 1])
    want = msda.blend(images, plan, **options)
    device = install(monkeypatch)
    got = msda.blend(HostArray(apart), plan, **options)
    np.testing.assert_array_equal(got.values, want)
    fields = ["msda_field_masks"] * isinstance(policy, msda.FMix)
    assert device.launched == [*fields, *["msda_blend_uint8_float32"] * 3]
