"""timm's default way of mixing: its loader with a prefetcher, and a collate function that mixes."""

import numpy as np
import pytest
import torch
from PIL import Image

import dali_msda as msda
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.with_torch.drop_ins.test_drop_ins import as_timm_draws

declare_operators()
timm_data = pytest.importorskip("timm.data")

from dali_msda.timm import FastCollateMixup, Mixup, mixup_target  # noqa: E402

SIZE, CLASSES, BATCH = 12, 8, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (18, SIZE, SIZE, 3), np.uint8)
PLANAR = PIXELS.transpose(0, 3, 1, 2)


class Pictures(torch.utils.data.Dataset):
    """As timm's datasets: the loader gives them their transform."""

    def __init__(self, plain=False):
        self.transform, self.order, self.plain = None, [], plain

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        self.order.append(index)
        pixels = np.full_like(PIXELS[0], 30 * (index % CLASSES)) if self.plain else PIXELS[index]
        return self.transform(Image.fromarray(pixels)), index % CLASSES


def loader_of(dataset, collate, **how):
    """timm's, with no other augmentation; raw pixels come out, in floats."""
    how = dict(mean=(0, 0, 0), std=(1 / 255,) * 3, num_workers=0) | how
    return timm_data.create_loader(
        dataset, (3, SIZE, SIZE), BATCH, is_training=True, no_aug=True, collate_fn=collate,
        device=torch.device("cpu"), **how)  # fmt: skip


@pytest.mark.parametrize("mode", ["batch", "pair", "elem", "half"])
def test_batches_of_timms_loader_follow_their_plans(mode):
    settings = dict(mixup_alpha=0.8, cutmix_alpha=1.0, mode=mode, num_classes=CLASSES, seed=4)
    planner, dataset = FastCollateMixup(**settings), Pictures()
    loader, plans = loader_of(dataset, FastCollateMixup(**settings)), []
    for _ in range(2):
        dataset.order.clear()
        for number, (images, rows) in enumerate(loader):
            plans.append(planner.plan(BATCH, SIZE, SIZE))
            planner._key.step += 1
            indices = np.array(dataset.order[number * BATCH : (number + 1) * BATCH])
            want = msda.blend(PIXELS[indices], plans[-1], layout="CHW").astype(np.float32)
            np.testing.assert_array_equal(images, want)
            how = dict(num_classes=CLASSES, smoothing=0.1)
            np.testing.assert_array_equal(rows, msda.targets(indices % CLASSES, plans[-1], **how))
    assert len(plans) == 6 and len({plan.tobytes() for plan in plans}) == 6
    assert {len(plan) for plan in plans} == {BATCH // 2 if mode == "half" else BATCH}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_that_live_on_draw_anew_and_stop_when_told():
    collate = FastCollateMixup(mode="elem", num_classes=CLASSES, label_smoothing=0.0, seed=1)
    torch.manual_seed(3)
    loader = loader_of(Pictures(plain=True), collate, num_workers=2, persistent_workers=True)
    assert loader.mixup_enabled
    epochs = [list(loader), list(loader)]
    colours = 30 * torch.arange(CLASSES).float()
    for images, rows in epochs[0] + epochs[1]:
        torch.testing.assert_close(images[:, 0, 0, 0], rows @ colours, rtol=0, atol=0.5)
    drawn = [float(row.max()) for epoch in epochs for _, rows in epoch for row in rows]
    assert len({round(lam, 4) for lam in drawn if lam < 1}) > 10
    loader.mixup_enabled = False
    for images, rows in loader:
        assert ((rows == 0) | (rows == 1)).all()
        assert torch.equal(images[:, 0, 0, 0], rows @ colours)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem", "half"])
@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_timm_with_our_draws(monkeypatch, mode, alphas):
    settings = dict(mode=mode, num_classes=CLASSES, label_smoothing=0.1)
    ours = FastCollateMixup(*alphas, **settings, seed=2)
    theirs = timm_data.FastCollateMixup(*alphas, **settings)
    batch = list(zip(PLANAR[:BATCH], [0, 4, 3, 2, 1, 0], strict=True))
    for _ in range(6):
        plan = ours.plan(BATCH, SIZE, SIZE)
        theirs.mode = "elem" if mode == "half" else mode  # as the draws are made
        as_timm_draws(plan, theirs, monkeypatch)
        theirs.mode = mode
        copied = [(image.copy(), label) for image, label in batch]
        (got, rows), (want, rows_theirs) = ours(batch), theirs(copied)
        # They round lambda to float32 before they mix, so that a half may go the other way.
        apart = (got.int() - want.int()).abs()
        assert got.dtype == want.dtype and apart.max() <= 1 and apart.float().mean() < 1e-3
        torch.testing.assert_close(rows, rows_theirs, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(6, 9), (2, 6, 9), (2, 3, 6, 9)])
@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0)])
def test_grey_images_volumes_and_doubles(shape, dtype, alphas):
    x = torch.rand(4, *shape, dtype=dtype)
    labels = torch.arange(4)
    for mode in ("batch", "elem"):
        mixup = Mixup(*alphas, mode=mode, num_classes=4, label_smoothing=0.0, seed=6)
        plan = mixup.plan(4, 6, 9)
        own = torch.from_numpy(msda.mask(plan, 6, 9)).double()
        own = own.view(4, *[1] * (len(shape) - 2), 6, 9)
        want = own * x.double() + (1 - own) * x.double().flip(0)
        for given in (x.clone(), x.clone().movedim(1, -1).contiguous().movedim(-1, 1)):
            mixup._key.step = 0
            got, rows = mixup(given, labels)
            assert got is given and got.dtype == dtype
            loose = 1e-15 if dtype == torch.float64 else 1e-7
            torch.testing.assert_close(got.double(), want, rtol=0, atol=loose)
            weights = torch.from_numpy(plan["weight"])
            torch.testing.assert_close(rows.diagonal(), weights)


def test_targets_as_timms():
    target, lams = torch.tensor([0, 4, 4, 2]), torch.tensor([[0.3], [0.9], [1.0], [0.0]])
    rows = torch.eye(5)[target]
    for lam in (0.25, lams):
        for args in ((target, 5, lam, 0.1), (target, 5, lam), (rows, 5, lam, 0.2, True)):
            want = timm_data.mixup.mixup_target(*args)
            torch.testing.assert_close(mixup_target(*args), want, rtol=1e-6, atol=2e-7)
