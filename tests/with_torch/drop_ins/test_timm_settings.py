"""timm's Mixup as scripts use it: settings that change, one channel, autograd's bookkeeping."""

import numpy as np
import pytest
import torch

from dali_msda.torch.torchvision_cpu import declare_operators

declare_operators()
timm_mixup = pytest.importorskip("timm.data.mixup")

from dali_msda.timm import Mixup  # noqa: E402

BATCH, CLASSES = 6, 5
IMAGES = torch.rand(BATCH, 3, 12, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 4, 3, 2, 1, 0])


def own_weights(mixup, batches=200):
    """Own weight of sample 1 in each batch; its partner has another class."""
    rows = [mixup(IMAGES.clone(), LABELS)[1] for _ in range(batches)]
    return np.array([float(row[1, LABELS[1]]) for row in rows])


def both(**settings):
    how = dict(num_classes=CLASSES, label_smoothing=0.0) | settings
    return Mixup(**how, seed=1), timm_mixup.Mixup(**how)


@pytest.mark.parametrize(
    "change, low, high",
    [
        (dict(mixup_alpha=80.0), 0.3, 0.7),  # lambda lies near 1/2
        (dict(mixup_alpha=0.003), None, None),
        (dict(mix_prob=0.0), 1.0, 1.0),
        (dict(mixup_enabled=False), 1.0, 1.0),
        (dict(mixup_alpha=0.0, cutmix_alpha=90.0), 0.2, 1.0),
        (dict(mixup_alpha=0.0, cutmix_alpha=1.0, cutmix_minmax=(0.5, 0.6)), 0.6, 0.85),
        (dict(cutmix_alpha=1.0, cutmix_minmax=(0.5, 0.6), switch_prob=1.0), 0.6, 0.85),
        (dict(cutmix_alpha=90.0, switch_prob=0.0, mixup_alpha=60.0), 0.3, 0.7),
        (dict(mixup_alpha=0.0, cutmix_alpha=90.0, correct_lam=False), 0.3, 0.7),
    ],
    ids=str,
)
def test_settings_that_change_hold_from_the_next_call_on(change, low, high):
    np.random.seed(0)
    for mixup in both(mixup_alpha=1.0):
        before = own_weights(mixup, 50)
        assert before.min() < 0.3 and before.max() > 0.7
        for name, value in change.items():
            setattr(mixup, name, value)
        after = own_weights(mixup)
        if low is None:  # lambda is next to 0 or 1
            assert (np.abs(after - 0.5) > 0.4).mean() > 0.9
        else:
            assert low <= after.min() and after.max() <= high


def test_the_mode_and_the_classes_may_change():
    for mixup in both(mixup_alpha=1.0):
        shared = mixup(IMAGES.clone(), LABELS)[1]
        mixup.mode, mixup.num_classes, mixup.label_smoothing = "elem", 9, 0.3
        rows = mixup(IMAGES.clone(), LABELS)[1]
        assert shared.shape == (BATCH, 5) and rows.shape == (BATCH, 9)
        assert len(np.unique(shared[1:5].amax(1).round(decimals=4))) == 1
        assert len(np.unique(rows[1:5].amax(1).round(decimals=4))) == 4
        assert rows.min() >= 0.3 / 9 - 1e-6
        mixup.multi_label = True
        several = torch.zeros(BATCH, 9)
        mixup.mixup_enabled = False
        torch.testing.assert_close(mixup(IMAGES.clone(), several)[1], several + 0.15)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(mode="half"), ValueError, "mode: expected 'batch', 'pair' or 'elem', got 'half'"),
        (dict(mode=["batch"]), ValueError, "mode: expected 'batch', 'pair' or 'elem', got"),
        (dict(mixup_alpha="1"), TypeError, r"mixup_alpha: expected a number in \[0.01, 100\], or"),
        (dict(mixup_alpha=None), TypeError, "mixup_alpha: expected a number"),
        (dict(cutmix_alpha=[1.0]), TypeError, "cutmix_alpha: expected a number"),
        (dict(cutmix_alpha=101.0), ValueError, "cutmix_alpha: expected a number"),
        (dict(mixup_alpha=float("nan")), ValueError, "mixup_alpha: expected a number"),
        (dict(mixup_alpha=0.0), ValueError, "mixup_alpha: expected mixup_alpha > 0, cutmix_alpha"),
        (dict(switch_prob="a"), TypeError, "switch_prob: expected a probability"),
        (dict(label_smoothing=1.5), ValueError, "label_smoothing: expected a share"),
        (dict(num_classes=5.0), TypeError, "num_classes: expected a whole number"),
        (dict(num_classes=0), ValueError, "num_classes: expected at least 1"),
        (dict(prob=None), TypeError, "prob: expected a probability"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_when_made_and_when_they_change(change, error, message):
    with pytest.raises(error, match=message):
        Mixup(**change)
    mixup, x = Mixup(num_classes=CLASSES), IMAGES.clone()
    for name, value in change.items():
        setattr(mixup, {"prob": "mix_prob"}.get(name, name), value)
    with pytest.raises(error, match=message):
        mixup(x, LABELS)
    assert torch.equal(x, IMAGES) and mixup.state_dict()["step"] == 0


@pytest.mark.parametrize("shape", [(6, 1, 12, 10), (6, 5, 1, 1), (6, 1, 1, 1), (6, 1, 1, 9)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_one_channel_and_one_pixel_are_mixed(shape, order, dtype):
    x = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 200).to(dtype)
    for alphas in ((1.0, 0.0), (0.0, 1.0)):
        given = x.clone().contiguous(memory_format=order)
        mixup = Mixup(*alphas, num_classes=CLASSES, seed=2)
        weight = mixup.plan(6, *shape[2:])["weight"][0].item()
        got, _ = mixup(given, LABELS)
        assert got is given
        if alphas[0]:
            want = x.double() * weight + x.double().flip(0) * (1 - weight)
            # Half a grey level, or one rounding of 200 to 11 bits.
            loose = {torch.uint8: 0.5001, torch.float16: 0.07, torch.float32: 1e-4}[dtype]
            torch.testing.assert_close(got.double(), want, rtol=0, atol=loose)
        else:
            assert ((got == x) | (got == x.flip(0))).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("strided", [False, True])
def test_autograd_notices_that_images_were_changed(channels, dtype, strided):
    """As timm's in-place operations: what was saved for the gradient is another thing now."""
    for mixup in both(mixup_alpha=0.0, cutmix_alpha=1.0, mode="elem"):
        w = torch.ones(channels, 1, 1, dtype=dtype, requires_grad=True)
        storage = torch.rand(6, channels, 8, 12, dtype=dtype)
        x = storage[..., ::2] if strided else storage
        loss, version = (x * w).sum(), x._version
        mixup(x, LABELS)
        assert x._version > version and storage._version == x._version
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_images_of_inference_mode_are_mixed():
    with torch.inference_mode():
        x = IMAGES.clone()
    Mixup(num_classes=CLASSES, seed=1)(x, LABELS)
    want, _ = Mixup(num_classes=CLASSES, seed=1)(IMAGES.clone(), LABELS)
    assert torch.equal(x, want)


def test_labels_of_floats_and_gradients_are_refused():
    mixup = Mixup(num_classes=CLASSES)
    with pytest.raises(TypeError, match="target: expected class indices of an integer type, got f"):
        mixup(IMAGES.clone(), LABELS + 0.7)
    rows = torch.rand(BATCH, CLASSES, requires_grad=True)
    several = Mixup(num_classes=CLASSES, multi_label=True)
    with pytest.raises(ValueError, match="labels: expected data, got a tensor that requires a gr"):
        several(IMAGES.clone(), rows)
    with torch.no_grad():
        several(IMAGES.clone(), rows)
