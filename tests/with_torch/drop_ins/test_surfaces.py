"""Each drop-in beside what it stands in for: every difference is in the table of its docstring."""

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

from dali_msda.torch import NumberedBatches
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.support.surfaces import as_table, differences, table_of

declare_operators()
timm_mixup = pytest.importorskip("timm.data.mixup")

from torchvision import tv_tensors  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from dali_msda.timm import FastCollateMixup, Mixup, mixup_target  # noqa: E402
from dali_msda.torchvision import CutMix, MixUp  # noqa: E402

CLASSES = 5
LABELS = torch.tensor([0, 4, 3, 2])
ROWS = torch.eye(CLASSES)[LABELS]
IMAGES = torch.rand(4, 3, 6, 8)
ATTRIBUTES = {"prob": "mix_prob"}  # of timm's, where they have another name than the argument
SETTINGS = {  # of timm: good ones and bad ones
    "both alphas 0": [dict(mixup_alpha=0.0), dict(mixup_alpha=-1)],
    "an alpha above 100": [dict(mixup_alpha=200.0), dict(mixup_alpha=0.0, cutmix_alpha=101)],
    "an alpha that is no number": [dict(mixup_alpha=None), dict(cutmix_alpha="1")],
    "minmax that falls": [dict(cutmix_minmax=(0.4, 0.2), switch_prob=1.0)],
    "minmax of another length": [dict(cutmix_minmax=(0.5,), cutmix_alpha=1.0, switch_prob=1.0)],
    "prob not in [0, 1]": [dict(prob=-1.0), dict(prob=2)],
    "prob that is no number": [dict(prob=None)],
    "switch_prob not in [0, 1]": [dict(switch_prob=-1.0), dict(switch_prob=2, cutmix_alpha=1.0)],
    "switch_prob that is no number": [dict(switch_prob=None)],
    "another mode": [dict(mode="half_"), dict(mode=None), dict(mode="pairs")],
    "mode='half'": [dict(mode="half")],
    "smoothing not in [0, 1]": [dict(label_smoothing=-0.1), dict(label_smoothing=2)],
    "smoothing that is no number": [dict(label_smoothing="0.1")],
    "no class": [dict(num_classes=0)],
    "fewer classes than labels": [dict(num_classes=2)],
    "num_classes that is no number": [dict(num_classes="5")],
    "multi_label for indices": [dict(multi_label=True)],
    "any setting that is good": [
        *(dict(mode=mode, cutmix_alpha=1.0) for mode in ("batch", "pair", "elem")),
        dict(cutmix_minmax=[0.2, 0.4], correct_lam=False, switch_prob=1, prob=0),
    ],
}


def timm_settings(call):
    """Probes of timm's settings, given when a drop-in is made and set before a call."""

    def given(settings):
        return lambda kind: call(kind(**{"num_classes": CLASSES} | settings))

    def changed(settings):
        def probe(kind):
            made = kind(num_classes=CLASSES)
            for name, value in settings.items():
                assert hasattr(made, ATTRIBUTES.get(name, name))
                setattr(made, ATTRIBUTES.get(name, name), value)
            return call(made)

        return probe

    return {
        question: [make(settings) for settings in several for make in (given, changed)]
        for question, several in SETTINGS.items()
    }


def calls(x, target=LABELS, mixing=((0.8, 0.0), (0.0, 1.0)), modes=("batch", "elem"), **how):
    """Calls of timm's Mixup in several modes, by Mixup and by CutMix."""

    def call(alphas, mode):
        return lambda kind: kind(*alphas, mode=mode, num_classes=CLASSES, **how)(
            x.copy() if isinstance(x, np.ndarray) else x.clone(), target[: len(x)]
        )

    return [call(alphas, mode) for alphas in mixing for mode in modes]


MIXUP, CUTMIX = ((0.8, 0.0),), ((0.0, 1.0),)
BATCHES = {
    **{
        f"x of {str(kind).removeprefix('torch.')}": calls(IMAGES.to(kind))
        for kind in (
            *(torch.uint8, torch.int64, torch.bool),
            *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        )
    },
    "x of complex64, one lambda": calls(IMAGES + 0j, modes=["batch"]),
    "x (B, F), Mixup": calls(IMAGES[:, 0, 0], mixing=MIXUP),
    "x (B, H, W), Mixup": calls(IMAGES[:, 0], mixing=MIXUP),
    "x (B, H, W), CutMix": calls(IMAGES[:, 0], mixing=CUTMIX),
    "x (B, C, D, H, W)": calls(torch.stack([IMAGES] * 2, 2)),
    "x of six axes, Mixup": calls(IMAGES[:, :, None, None], mixing=MIXUP),
    "x of six axes, CutMix": calls(torch.zeros(4, 1, 8, 8, 8, 8), mixing=CUTMIX),
    "x that is an array": calls(IMAGES.numpy()),
    "x that needs a gradient": calls(IMAGES.clone().requires_grad_() * 1),
    "x of no sample": calls(IMAGES[:0]),
    "an odd batch": calls(IMAGES[:3]),
    "target (B, 1)": calls(IMAGES, LABELS[:, None]),
    "target of rows": calls(IMAGES, ROWS),
    "target of floats": calls(IMAGES, LABELS.float()),
    "target of int8": calls(IMAGES, LABELS.to(torch.int8)),
    "target of bool": calls(IMAGES, LABELS.bool()),
    "target that is a list": calls(IMAGES, LABELS.tolist()),
    "target of another length": calls(IMAGES, torch.arange(2)),
    "rows with multi_label": calls(IMAGES, ROWS, multi_label=True),
    "integer rows with multi_label": calls(IMAGES, ROWS.long(), multi_label=True),
    "rows of other classes with multi_label": calls(IMAGES, ROWS[:, 1:], multi_label=True),
}


def samples(images, labels=LABELS):
    return [(image, label) for image, label in zip(images, labels.tolist(), strict=False)]


BYTES = (IMAGES * 255).byte()


def collated(batch, modes=("batch", "pair", "elem", "half"), **how):
    def call(mode, cutmix):
        return lambda kind: kind(0.8, cutmix, mode=mode, num_classes=CLASSES, **how)(list(batch))

    return [call(mode, cutmix) for mode in modes for cutmix in (0.0, 1.0)]


COLLATED = {
    "tensors": collated(samples(BYTES.clone())),
    "arrays": collated(samples(BYTES.numpy().copy())),
    "arrays of floats": collated(samples(BYTES.numpy().astype(np.float32))),
    "tensors of floats": collated(samples(BYTES.float())),
    "images (H, W)": collated(samples(BYTES[:, 0].clone())),
    "images of several sizes": collated([(BYTES[0], 1), (BYTES[1, :, :4], 2)]),
    "an odd batch": collated(samples(BYTES[:3].clone())),
    "no sample": collated([]),
    "samples of three": collated([(*sample, "name") for sample in samples(BYTES.clone())]),
    "images that are lists": collated(samples(BYTES.tolist())),
    "labels of floats": collated(samples(BYTES.clone(), LABELS + 0.5)),
    "labels that are rows": collated(samples(BYTES.clone(), ROWS)),
    "rows with multi_label": collated(
        list(zip(BYTES.clone(), ROWS, strict=True)), multi_label=True
    ),
}
TARGETS = {
    "lam of float64": [lambda f: f(LABELS, CLASSES, torch.full((4, 1), 0.3, dtype=torch.float64))],
    "lam of float16": [lambda f: f(LABELS, CLASSES, torch.full((4, 1), 0.3).half())],
    "lam not in [0, 1]": [lambda f: f(LABELS, CLASSES, 1.5)],
    "a label that is no class": [lambda f: f(LABELS, 2)],
    "rows": [lambda f: f(ROWS, CLASSES, 0.3, 0.1, True)],
    "rows of other classes": [lambda f: f(ROWS, 4, 0.3, 0.1, True)],
    "smoothing not in [0, 1]": [lambda f: f(LABELS, CLASSES, 0.3, 2)],
    "labels of floats": [lambda f: f(LABELS.float(), CLASSES, 0.3)],
}
TIMM = {
    Mixup: (
        timm_mixup.Mixup,
        BATCHES | timm_settings(lambda made: made(IMAGES.clone(), LABELS)),
    ),
    FastCollateMixup: (
        timm_mixup.FastCollateMixup,
        COLLATED | timm_settings(lambda made: made(samples(BYTES.clone()))),
    ),
    mixup_target: (timm_mixup.mixup_target, TARGETS),
}


def transformed(*inputs, **settings):
    return [lambda kind: kind(**{"num_classes": CLASSES} | settings)(*inputs)]


BOXES = tv_tensors.BoundingBoxes([[0, 1, 5, 4]], format="XYXY", canvas_size=(6, 8))
MASKS = tv_tensors.Mask(torch.zeros(4, 6, 8, dtype=torch.uint8))
SAMPLES = {
    **{
        f"images of {str(kind).removeprefix('torch.')}": transformed(IMAGES.to(kind), LABELS)
        for kind in (
            *(torch.uint8, torch.int64, torch.bool, torch.complex64),
            *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        )
    },
    "an Image": transformed(tv_tensors.Image(IMAGES), LABELS),
    "a Video": transformed(tv_tensors.Video(IMAGES[:, None]), LABELS),
    "a dictionary": transformed({"x": tv_tensors.Image(IMAGES), "labels": LABELS, "name": "n"}),
    "images (B, H, W)": transformed(IMAGES[:, 0], LABELS),
    "images (C, H, W) and a label": transformed(IMAGES[0], LABELS[:1]),
    "images that need a gradient": transformed(IMAGES.clone().requires_grad_() * 1, LABELS),
    "images that are arrays": transformed(IMAGES.numpy(), LABELS),
    "images of two sizes": transformed(
        {"x": tv_tensors.Image(IMAGES), "y": tv_tensors.Image(IMAGES[..., :4]), "labels": LABELS}
    ),
    "fewer labels": transformed(IMAGES, LABELS[:3]),
    "labels of floats": transformed(IMAGES, LABELS.float()),
    "labels of int32": transformed(IMAGES, LABELS.int()),
    "labels that are a list": transformed(IMAGES, LABELS.tolist()),
    "labels that are no class": transformed(IMAGES, LABELS + 1),
    "rows": transformed(IMAGES, ROWS, num_classes=None),
    "rows of float16": transformed(IMAGES, ROWS.half(), num_classes=None),
    "rows of other classes": transformed(IMAGES, ROWS[:, 1:]),
    "indices without num_classes": transformed(IMAGES, LABELS, num_classes=None),
    "masks": transformed(IMAGES, LABELS, MASKS),
    "boxes": transformed(IMAGES, LABELS, [BOXES] * 4),
    "no labels_getter": transformed(IMAGES, LABELS, labels_getter=None),
    "a labels_getter": transformed(
        [LABELS, tv_tensors.Image(IMAGES)], labels_getter=lambda sample: sample[0]
    ),
    "alpha of 0.001": transformed(IMAGES, LABELS, alpha=0.001),
    "alpha above 100": transformed(IMAGES, LABELS, alpha=101),
    "alpha of 0": transformed(IMAGES, LABELS, alpha=0.0),
    "alpha that is no number": transformed(IMAGES, LABELS, alpha="1"),
}
TORCHVISION = {MixUp: (v2.MixUp, SAMPLES), CutMix: (v2.CutMix, SAMPLES)}


def batches_of(*arguments):
    return [lambda kind: [list(batch) for batch in kind(*arguments)]]


TORCH = {
    NumberedBatches: (
        BatchSampler,
        {
            "samples": batches_of(SequentialSampler(range(7)), 3, False),
            "a list of samples": batches_of([4, 2, 0], 2, True),
            "an iterator": batches_of(iter([4, 2, 0]), 2, True),
            "no batch_size": batches_of([[4, 2], [0]]),
            "batch_size of 0": batches_of([4, 2, 0], 0, True),
            "batch_size of 1.5": batches_of([4, 2, 0], 1.5, True),
            "drop_last of 1": batches_of([4, 2, 0], 2, 1),
        },
    )
}


PEERS = TIMM | TORCHVISION | TORCH


@pytest.mark.parametrize("ours", PEERS, ids=lambda ours: ours.__name__)
def test_the_table_has_every_difference(ours, monkeypatch):
    # Compiling a model anywhere in the process lets torch's distributions take any arguments.
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    theirs, probes = PEERS[ours]
    if theirs in (timm_mixup.Mixup, timm_mixup.FastCollateMixup):
        made = ours()
        for name, value in vars(theirs()).items():  # settings that scripts read and change
            assert getattr(made, name) == value, name
    found = differences(theirs, ours, probes)
    assert table_of(ours.__doc__) == found, as_table(found)
