"""Mixing behind FFCV's ToDevice: cases that test_ffcv.py runs in a process of its own.

``standin`` needs no GPU: FFCV's loader runs as ever, but its memory on "the GPU" is the CPU's, and
the launches are emulated. ``gpu`` is the same on a GPU.
"""

import itertools
import types

import numpy as np
import pytest
import torch
from ffcv.fields.decoders import IntDecoder, NDArrayDecoder, SimpleRGBImageDecoder
from ffcv.pipeline import graph
from ffcv.transforms import Squeeze, ToDevice, ToTensor, ToTorchImage

import dali_msda as msda
from dali_msda.ffcv import Mixer
from dali_msda.ffcv import mixer as door
from dali_msda.ffcv.epoch import EpochThread
from tests.with_ffcv.ffcv_cases import (
    CLASSES,
    HEIGHT,
    LABELS,
    PIXELS,
    SOFT,
    WIDTH,
    batches_of,
    colours,
    expect_error,
)

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
POLICIES = [
    msda.CutMix(),
    msda.Mixup(n=3),
    msda.FMix(max_soft=0.3),
    msda.Choice([msda.GMix(), msda.ResizeMix()]),
    msda.Alternate([msda.Mixup(n=3), msda.CutMix()]),
    msda.MultiMix(msda.CutMix(), k=2),
]


def there(folder, mixer, device, *, images=None, ffcvs=False, **options):
    """A loader that mixes images, labels as rows and pairs, and soft labels on a GPU.

    With ``ffcvs`` the order is that of FFCV's examples.
    """
    moved = [ToTensor(), ToDevice(device)]
    turned, flat = ([ToTorchImage()], [Squeeze()]) if ffcvs else ([], [])
    labels = options.pop("targets", {})
    pipelines = {
        "image": [SimpleRGBImageDecoder(), *moved, *turned, *mixer.images(**(images or {}))],
        "label": [IntDecoder(), ToTensor(), *flat, ToDevice(device), *mixer.targets(**labels)],
        "soft": [NDArrayDecoder(), *moved, *mixer.targets(smoothing=0.1)],
    }
    return colours(folder, mixer, pipelines=pipelines, **options)


def expect_equal(folder, device):
    """Two epochs of each policy are those of the array functions on the CPU, to the bit."""
    kinds = itertools.cycle([("float32", "CHW"), ("float16", "HWC"), ("bfloat16", "CHW")])
    for policy, (dtype, layout) in zip(POLICIES, kinds, strict=False):
        compact = isinstance(policy, msda.Alternate)
        how = dict(mean=MEAN, std=STD, dtype=dtype, layout=layout)
        mixer = Mixer(policy, CLASSES, seed=7)
        ffcvs = isinstance(policy, msda.FMix | msda.MultiMix) or layout == "HWC"
        options = dict(images=how | dict(mirror=0.5), targets=dict(compact=compact), ffcvs=ffcvs)
        loader = there(folder, mixer, device, batches_ahead=2, batch_size=8, **options)
        for epoch in range(2):
            groups = batches_of(loader, epoch)
            for number, (labels, images, soft) in enumerate(loader):
                ids = groups[number]
                step = mixer.step(epoch, number, len(groups))
                plan = mixer.plan(ids, HEIGHT, WIDTH, step=step)
                flips = mixer.flips(ids, 0.5, epoch=epoch)
                pixels = torch.from_numpy(PIXELS[ids])
                if ffcvs and layout == "HWC":
                    assert images.movedim(-3, -1).is_contiguous()
                    images = images.movedim(-3, -1)
                assert torch.equal(images.cpu(), msda.blend(pixels, plan, mirror=flips, **how))
                expected = msda.targets(SOFT[ids], plan, smoothing=0.1)
                assert np.array_equal(soft.cpu().numpy(), expected)
                dense = msda.targets(LABELS[ids], plan, num_classes=CLASSES)
                if compact:
                    found, weights = (part.cpu() for part in labels)
                    assert found.shape == (len(ids), 3)
                    labels = torch.zeros(len(ids), CLASSES).scatter_add_(1, found, weights)
                    np.testing.assert_allclose(labels.numpy(), dense, atol=1e-6)
                else:
                    assert np.array_equal(labels.cpu().numpy(), dense)
            assert number + 1 == len(groups) == 5


def expect_doors(folder, device):
    """What cannot run on a GPU is refused when the loader is built."""
    mixer = Mixer(msda.SaliencyMix(), CLASSES)
    expect_error("without SaliencyMix behind ToDevice", there, folder, mixer, device)
    few = Mixer(msda.CutMix(), CLASSES - 1)
    soft = dict(soft=None)
    moved = [ToTensor(), ToDevice(device)]
    pipelines = soft | {
        "image": [SimpleRGBImageDecoder(), *moved, *few.images()],
        "label": [IntDecoder(), *moved, *few.targets()],
    }
    expect_error(f"got {CLASSES - 1} and label", colours, folder, few, pipelines=pipelines)
    all_ = Mixer(msda.CutMix(), CLASSES)
    cpu = [SimpleRGBImageDecoder(), ToTensor(), ToDevice(torch.device("cpu")), *all_.images()]
    expect_error("or tensors on a GPU", colours, folder, all_, pipelines={"image": cpu})


def gpu(folder):
    """On a GPU."""
    expect_equal(folder, torch.device("cuda", 0))
    expect_doors(folder, torch.device("cuda", 0))


def standin(folder):
    """Without one."""
    from tests.cuda.host_gpu import HostArray, install

    with pytest.MonkeyPatch.context() as patch:
        _standin(folder, patch, install(patch), HostArray)


def _standin(folder, patch, emulated, host_array):
    patch.setattr("dali_msda.backends.cuda_arrays.current_stream", lambda array: 7)
    allocate = graph.allocate_query

    def on_cpu(query, *sizes):
        return allocate(types.SimpleNamespace(**vars(query) | {"device": None}), *sizes)

    patch.setattr(graph, "allocate_query", on_cpu)
    hosted = {}

    def lent(values):
        """A tensor's memory as an array of a GPU."""
        bits = values.view(torch.uint16) if values.dtype == torch.bfloat16 else values
        return host_array(bits.numpy())

    def blend(images, plan, *, out=None, **how):
        if out is None or isinstance(images, np.ndarray) or "threads" not in how:
            return msda.blend(images, plan, out=out, **how)
        msda.blend(lent(images), plan, out=lent(out), **how)
        hosted[images.data_ptr()] = True
        return out

    def targets(labels, plan, *, out=None, **how):
        if isinstance(labels, np.ndarray):
            return msda.targets(labels, plan, out=out, **how)
        if out is not None:
            msda.targets(lent(labels.contiguous()), plan, out=lent(out), **how)
            return out
        found = msda.targets(lent(labels.contiguous()), plan, **how)
        return tuple(part.values for part in found)

    patch.setattr(door, "blend", blend)
    patch.setattr(door, "targets", targets)
    expect_equal(folder, torch.device("cuda", 0))
    assert len(hosted) >= 4  # slots, batches_ahead + 2, that all were used
    names = set(emulated.launched)
    assert {"msda_blend_uint8_float32", "msda_blend_uint8_bfloat16"} <= names
    assert {"msda_targets_dense_int64", "msda_targets_compact_int64"} <= names
    assert "msda_targets_dense_float32" in names
    expect_doors(folder, torch.device("cuda", 0))


def waits(folder):
    """Before a slot's memory is written again, the consumer's work on it is waited for."""
    mixer, calls = Mixer(msda.CutMix(), CLASSES), []

    class Event:
        def synchronize(self):
            calls.append("synchronize")

    loader = colours(folder, mixer)
    made = EpochThread.__mro__[1].run_pipeline

    def run_pipeline(self, b_ix, ids, slot, event):
        calls.append("run")
        return made(self, b_ix, ids, slot, None)

    ours = EpochThread.run_pipeline
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochThread.__mro__[1], "run_pipeline", run_pipeline)
        patch.setattr(
            EpochThread, "run_pipeline", lambda self, *three: ours(self, *three[:3], Event())
        )
        assert len(list(loader)) == 5
    assert calls == ["synchronize", "run"] * 5
