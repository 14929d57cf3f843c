"""RecursiveMix: the batch before in a box, labels and losses that follow, and the state."""

import io

import numpy as np
import pytest
import torch
from torch import nn

import dali_msda as msda
from dali_msda.torch import RecursiveMix, roi_features
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.reference import recursive as reference

CLASSES, BATCH, SIZE = 5, 4, (12, 10)


def batches(count, batch=BATCH, size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        images = torch.randn(batch, 3, *size, generator=generator)
        logits = torch.randn(batch, CLASSES, generator=generator)
        yield images, (torch.arange(batch) + number) % CLASSES, logits


@pytest.mark.parametrize("scope", ["sample", "batch"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_definition(scope, layout):
    mix = RecursiveMix(CLASSES, alpha=0.7, omega=0.3, scope=scope, seed=5, rank=1)
    before = None
    for step, (images, labels, logits) in enumerate(batches(5)):
        mixed, targets = mix(images.contiguous(memory_format=layout), labels)
        assert mixed.is_contiguous(memory_format=layout)
        expected, rows = images.numpy().copy(), np.eye(CLASSES)[labels]
        own = np.ones(BATCH)
        for i in range(BATCH if before else 0):
            slot = 0 if scope == "batch" else i
            where = reference.box(slot, SIZE, 0.7, seed=5, step=step, rank=1)
            own[i] = reference.own_share(where, SIZE)
            if own[i] < 1:
                expected[i] = reference.paste(expected[i], before[0][i], where)
                rows[i] = own[i] * rows[i] + (1 - own[i]) * before[1][i]
                kept = [int(mix.plan[i][name]) for name in ("y0", "x0", "y1", "x1")]
                assert kept == [*where] and mix.plan[i]["partner"] == BATCH + i
            assert mix.plan[i]["sources"] == 1 + (own[i] < 1)
        np.testing.assert_array_equal(mixed, expected)
        np.testing.assert_allclose(targets, rows, atol=1e-6)
        region_logits = torch.randn(BATCH, CLASSES, requires_grad=True)
        loss = mix.loss(logits, region_logits, targets)
        region = reference.region_loss(
            region_logits.detach(), before[2] if before else logits, own, 0.3
        )
        whole = -(rows * logits.double().log_softmax(1).numpy()).sum(1).mean()
        assert loss.item() == pytest.approx(whole + region, rel=1e-5)
        loss.backward()  # also where nothing is pasted: the head is used in every step
        assert bool(region_logits.grad.any()) == bool((own < 1).any())
        before = mixed.numpy(), targets.numpy(), logits.numpy()
    assert mix.step == 5


def test_boxes_have_their_law():
    """Areas are uniform up to alpha, before they are cut off at the border."""
    mix, size = RecursiveMix(CLASSES, alpha=0.5), (1000, 1000)
    plan = mix._drawn(2000, 2000, size)
    inside = (plan["y0"] > 0) & (plan["x0"] > 0) & (plan["y1"] < 1000) & (plan["x1"] < 1000)
    areas = np.sort((1 - plan["lam"].astype(float)) / 0.5)
    assert np.abs(areas - (np.arange(2000) + 0.5) / 2000).max() < 0.05
    exact = (plan["y1"] - plan["y0"]) * (plan["x1"] - plan["x0"]) / 1e6
    np.testing.assert_allclose(exact[inside], 1 - plan["lam"][inside], atol=4e-3)
    np.testing.assert_allclose(plan["weight"], 1 - exact, atol=1e-6)


def test_a_batch_of_another_length_or_size():
    mix = RecursiveMix(CLASSES, alpha=1.0)
    sources = []
    for length in (4, 6, 3):
        images, labels, logits = next(batches(1, length))
        mixed, targets = mix(images, labels)
        sources.append(mix.plan["sources"] - 1)
        mix.remember(logits)
        np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
        assert torch.equal(mixed[sources[-1] == 0], images[sources[-1] == 0])
    assert not sources[0].any() and not sources[1][4:].any()
    assert sources[1][:4].any() and sources[2].any()
    images, labels, _ = next(batches(1, 3, (8, 8)))
    assert torch.equal(mix(images, labels)[0], images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_soft_labels(dtype):
    mix, full = RecursiveMix(CLASSES), RecursiveMix(CLASSES)
    for images, labels, logits in batches(3):
        mixed, targets = mix(images.to(dtype), nn.functional.one_hot(labels, CLASSES).float())
        same, rows = full(images.to(dtype).float(), labels)
        assert mixed.dtype == dtype and torch.equal(mixed.float(), same)
        assert torch.equal(targets, rows)
        mix.remember(logits.to(dtype)), full.remember(logits)


def test_it_goes_on_from_its_state():
    def run(mix, some):
        made = []
        for images, labels, logits in some:
            mixed, targets = mix(images, labels)
            loss = mix.loss(logits, logits.flip(0), targets)
            made += [mixed, targets, loss]
        return made

    data = list(batches(7))
    whole, parts = RecursiveMix(CLASSES, seed=2), RecursiveMix(CLASSES, seed=2)
    expected = run(whole, data)
    run(parts, data[:4])
    memory = io.BytesIO()
    torch.save(parts.state_dict(), memory)
    memory.seek(0)
    again = RecursiveMix(CLASSES, seed=2)
    again.load_state_dict(torch.load(memory, weights_only=True))
    for ours, theirs in zip(run(again, data[4:]), expected[12:], strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="expected seed 3, as in this run, got 2"):
        RecursiveMix(CLASSES, seed=3).load_state_dict(parts.state_dict())
    again.reset()
    assert torch.equal(run(again, data[:1])[0], data[0][0])


@pytest.mark.parametrize("transposed", [False, True])
def test_regions_are_those_of_roi_align(transposed):
    declare_operators()
    from torchvision.ops.roi_align import _roi_align

    random = np.random.default_rng(0)
    for cells, image in (((4, 4), (32, 32)), ((7, 5), (56, 60)), ((1, 1), (8, 8))):
        maps = random.standard_normal((24, 3, *cells))
        ends = [np.sort(random.integers(0, n + 1, (24, 2)), 1) for n in image]
        boxes = np.column_stack([ends[0][:, 0], ends[1][:, 0], ends[0][:, 1], ends[1][:, 1]])
        boxes[0] = boxes[1] = (0, 0, *image)
        boxes[1, 2:] = 0
        found = roi_features(torch.from_numpy(maps), boxes, image, transposed=transposed)
        order = [1, 0, 3, 2] if transposed else [0, 1, 2, 3]
        for i in range(24):
            expected = reference.roi_mean(maps[i], boxes[i, order], image)
            np.testing.assert_allclose(found[i], expected, atol=1e-12)
        if cells[0] == cells[1]:
            read = boxes if transposed else boxes[:, [1, 0, 3, 2]]  # they take x before y
            rois = torch.from_numpy(np.column_stack([np.arange(24), read]).astype(np.float64))
            scale = cells[0] / image[0]
            theirs = _roi_align.__wrapped__(torch.from_numpy(maps), rois, scale, 1, 1, -1, True)
            torch.testing.assert_close(found, theirs[:, :, 0, 0])


def test_regions_of_the_batch():
    for regions in ("box", "transposed"):
        mix = RecursiveMix(CLASSES, regions=regions, alpha=1.0)
        for images, labels, logits in batches(2):
            mix(images, labels)
            mix.remember(logits)
        maps = torch.rand(BATCH, 2, 3, 3, dtype=torch.float64, requires_grad=True)
        found = mix.regions(maps)
        for i, p in enumerate(mix.plan):
            where = [p["y0"], p["x0"], p["y1"], p["x1"]] if p["sources"] == 2 else [0, 0, *SIZE]
            where = [where[k] for k in ((1, 0, 3, 2) if regions == "transposed" else range(4))]
            expected = reference.roi_mean(maps[i].detach().numpy(), where, SIZE)
            np.testing.assert_allclose(found[i].detach(), expected, atol=1e-12)
        assert torch.autograd.gradcheck(mix.regions, (maps,))


def test_a_paste_is_an_ordinary_record(tmp_path):
    """A saved plan pastes again, into any images: here with the array functions."""
    mix = RecursiveMix(CLASSES, alpha=1.0)
    (first, labels, logits), (second, others, _) = batches(2)
    before, rows = mix(first, labels)
    mix.remember(logits)
    mixed, targets = mix(second, others)
    msda.save(tmp_path / "plan.npy", mix.plan)
    plan = msda.load(tmp_path / "plan.npy")
    both = torch.cat([second, before]).permute(0, 2, 3, 1)
    assert torch.equal(msda.blend(both, plan, layout="CHW"), mixed)
    labels = torch.cat([nn.functional.one_hot(others, CLASSES).float(), rows])
    assert torch.equal(msda.targets(labels, plan), targets)


def test_what_does_not_fit_is_said():
    images, labels, _ = next(batches(1))
    for wrong, text in (
        (dict(alpha=2.0), "alpha: expected a share in"),
        (dict(omega=-1), "omega: expected a number >= 0"),
        (dict(scope="pair"), "scope: expected one of sample, batch, got 'pair'"),
        (dict(regions="roi"), "regions: expected one of box, transposed, got 'roi'"),
    ):
        with pytest.raises(ValueError, match=text):
            RecursiveMix(CLASSES, **wrong)
    mix = RecursiveMix(CLASSES)
    with pytest.raises(RuntimeError, match="mix: expected a batch to be mixed before"):
        mix.regions(images)
    with pytest.raises(TypeError, match="images: expected floats, normalised"):
        mix(images.byte(), labels)
    mix(images, labels)
    with pytest.raises(RuntimeError, match="remember: expected the logits of the batch before"):
        mix(images, labels)
    with pytest.raises(ValueError, match="boxes: expected one of 4 numbers per sample"):
        roi_features(images, np.zeros((2, 4)), (8, 8))
