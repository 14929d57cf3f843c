"""What test_ffcv.py runs in a process of its own, or by ``-m tests.with_ffcv.ffcv_cases CASE DIR``.

FFCV turns a mistake into a hang, and a process can be given a time limit. ``write`` makes the data
sets; the others read them.
"""

import itertools
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ffcv import Loader as PlainLoader
from ffcv.fields import IntField, NDArrayField, RGBImageField
from ffcv.fields.decoders import (
    CenterCropRGBImageDecoder,
    IntDecoder,
    NDArrayDecoder,
    SimpleRGBImageDecoder,
)
from ffcv.loader import OrderOption
from ffcv.pipeline.operation import Operation
from ffcv.pipeline.pipeline_spec import PipelineSpec
from ffcv.reader import Reader
from ffcv.transforms import Cutout, NormalizeImage, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter
from numba import config as numba_config
from numba.core.event import install_recorder

import dali_msda as msda
from dali_msda.ffcv import Loader, Mixer, RandomResizedCrop
from tests.support.surfaces import as_table, differences, table_of

SAMPLES, HEIGHT, WIDTH, CLASSES = 37, 26, 19, 7
CROP = (33, 47)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
INDICES = np.arange(SAMPLES)
# Labels repeat, so that partners often have the own class.
LABELS = INDICES * 5 % CLASSES
# The red of a class; green and blue tell samples of a class apart.
REDS = np.arange(CLASSES) * 36.0 + 7
COLOURS = np.stack([REDS[LABELS], INDICES * 6, 250 - INDICES * 3], axis=1).astype(np.uint8)
PIXELS = np.broadcast_to(COLOURS[:, None, None], (SAMPLES, HEIGHT, WIDTH, 3)).copy()
SOFT = np.random.default_rng(3).dirichlet(np.ones(CLASSES), SAMPLES).astype(np.float32)


class Samples:
    """Columns of samples, as FFCV's writer wants them."""

    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, index):
        return tuple(column[index] for column in self.columns)


def write(folder):
    """Plain colours with their labels and soft labels; photographs as JPEGs of many sizes."""
    from tests.support.photographs import pieces

    fields = {
        "label": IntField(),  # before the image: FFCV goes through fields in this order
        "image": RGBImageField(write_mode="raw"),
        "soft": NDArrayField(np.dtype("float32"), (CLASSES,)),
    }
    writer = DatasetWriter(f"{folder}/colours.beton", fields, num_workers=1)
    writer.from_indexed_dataset(Samples(LABELS, PIXELS, SOFT))
    sizes = [(64, 80), (50, 47), (97, 61)]
    photographs = [
        np.repeat(p, 3, 2)[..., :3] if p.shape[2] == 1 else p for p in pieces(3, sizes, 1)
    ]
    fields = {"image": RGBImageField(write_mode="jpg"), "label": IntField()}
    writer = DatasetWriter(f"{folder}/photographs.beton", fields, num_workers=1)
    writer.from_indexed_dataset(Samples(photographs, np.arange(len(photographs)) % CLASSES))


def colours(folder, mixer, *, images=None, targets=None, loader=Loader, **options):
    """A loader of the plain colours."""
    pipelines = {
        "image": [SimpleRGBImageDecoder(), *mixer.images(**(images or {}))],
        "label": [IntDecoder(), *mixer.targets(**(targets or {}))],
        "soft": None,
    }
    pipelines |= options.pop("pipelines", {})
    settings = dict(batch_size=8, num_workers=2, seed=11, drop_last=False) | options
    return loader(f"{folder}/colours.beton", pipelines=pipelines, **settings)


def batches_of(loader, epoch):
    """Dataset indices of each batch of an epoch, whichever epoch is the next."""
    following, loader.next_epoch = loader.next_epoch, epoch
    order = np.asarray(loader.next_traversal_order())
    loader.next_epoch = following
    return [order[k : k + loader.batch_size] for k in range(0, len(order), loader.batch_size)]


def kept(loader):
    """Images and targets of one epoch, copied: FFCV reuses its memory.

    FFCV returns them in the order of the data set's fields.
    """
    return [
        tuple(part.clone() for part in sorted(batch, key=lambda part: -part.ndim))
        for batch in loader
    ]


def expect_plan(loader, policy, seed, *, pixels=PIXELS, labels=LABELS, epochs=(0, 1), **images):
    """Two epochs of a loader, bit by bit: the plan of (seed, epoch, indices), blended.

    Also that images agree with labels, from what came out alone: the mean red of a mixture of plain
    colours is the mean of the reds of its label.
    """
    for epoch in epochs:
        found = kept(loader)
        groups = batches_of(loader, epoch)
        assert len(found) == len(groups)
        for number, (ids, (mixed, soft)) in enumerate(zip(groups, found, strict=True)):
            turns = isinstance(policy, msda.Alternate | msda.LaMix)
            step = epoch * len(groups) + number if turns else epoch
            peaks = msda.saliency(pixels[ids]) if policy.needs_peaks else None
            height, width = pixels.shape[1:3]
            plan = msda.draw(
                policy, len(ids), height, width, seed=seed, step=step, ids=ids, peaks=peaks
            )
            blended = msda.blend(pixels[ids], plan, layout="CHW", **images)
            assert np.array_equal(mixed.numpy(), blended), (epoch, number)
            dense = msda.targets(labels[ids], plan, num_classes=CLASSES)
            assert np.array_equal(soft.numpy(), dense), (epoch, number)
            np.testing.assert_allclose(soft.sum(-1), 1, atol=1e-6)


def expect_agreement(loader, low=0.0):
    """Images carry the labels that came with them; returns the share of samples that were mixed."""
    mixed_share = []
    for _ in range(2):
        for images, targets in kept(loader):
            red = images[..., 0, :, :].double().mean((-1, -2)).numpy()
            np.testing.assert_allclose(red, targets.double().numpy() @ REDS, atol=2e-3)
            mixed_share.append((targets.amax(-1) < 1).double().mean().item())
    assert np.mean(mixed_share) >= low


def orders(folder, name):
    """Every number of workers, batch size and order: plan, images and labels are one."""
    policy = msda.CutMix()
    for workers, batch_size in itertools.product((1, 2), (1, 8)):
        loader = colours(
            folder,
            Mixer(policy, CLASSES, seed=5),
            images=dict(dtype="float32"),
            order=OrderOption[name],
            num_workers=workers,
            batch_size=batch_size,
        )
        expect_plan(loader, policy, 5, dtype="float32")
        expect_agreement(loader, 0.0 if batch_size == 1 else 0.3)


def policies(folder):
    """Every kind of policy goes through FFCV's protocol."""
    everything = [
        msda.Mixup(n=3),
        msda.FMix(max_soft=0.3),
        msda.HMix(),
        msda.ResizeMix(),
        msda.SaliencyMix(),
        msda.Choice([msda.CutMix(scope="batch"), msda.Mixup(alpha=0.2)]),
        msda.Alternate([msda.CutMix(), msda.Mixup(prob=0.5)], counts=[2, 1]),
        msda.LaMix(),
        msda.MultiMix(msda.CutMix(), k=3),
    ]
    for policy in everything:
        loader = colours(
            folder,
            Mixer(policy, CLASSES),
            images=dict(mean=MEAN, std=STD),
            order=OrderOption.RANDOM,
        )
        expect_plan(loader, policy, 0, mean=MEAN, std=STD)
    loader = colours(folder, Mixer(everything[-1], CLASSES), images=dict(dtype="float32"))
    expect_agreement(loader, 0.3)


def photographs(folder):
    """From JPEG to batch: the pixels that FFCV decodes by itself, mixed by the array functions."""
    path, options = f"{folder}/photographs.beton", dict(num_workers=2, batch_size=6)

    def decoder():
        return CenterCropRGBImageDecoder(CROP, ratio=0.9)

    plain = PlainLoader(
        path, pipelines={"image": [decoder(), ToTensor()]}, drop_last=False, **options
    )
    decoded, labels = (torch.cat(part).numpy() for part in zip(*kept(plain), strict=True))
    assert decoded.shape[1:] == (*CROP, 3) and decoded.std() > 30
    for policy, kind in [(msda.SaliencyMix(), "float16"), (msda.FMix(), "bfloat16")]:
        mixer = Mixer(policy, CLASSES, seed=2**63)
        pipelines = {
            "image": [decoder(), *mixer.images(mean=MEAN, std=STD, dtype=kind, mirror=0.5)],
            "label": [IntDecoder(), *mixer.targets()],
        }
        loader = Loader(
            path, pipelines=pipelines, order=OrderOption.RANDOM, seed=1, os_cache=False, **options
        )
        assert len(loader) == len(decoded) // 6
        for epoch in (0, 1):
            for ids, (mixed, soft) in zip(batches_of(loader, epoch), kept(loader), strict=False):
                mirrored = mixer.flips(ids, 0.5, epoch=epoch)
                peaks = msda.saliency(decoded[ids], mirror=mirrored) if policy.needs_peaks else None
                plan = msda.draw(policy, 6, *CROP, seed=2**63, step=epoch, ids=ids, peaks=peaks)
                pixels = torch.from_numpy(decoded[ids])
                images = msda.blend(
                    pixels, plan, mean=MEAN, std=STD, dtype=kind, layout="CHW", mirror=mirrored
                )
                assert mixed.dtype == images.dtype == getattr(torch, kind)
                assert torch.equal(mixed, images)
                dense = msda.targets(labels[ids, 0], plan, num_classes=CLASSES)
                assert np.array_equal(soft.numpy(), dense)


class Fills(Operation):
    """Compiled with an array, which could change later."""

    def __init__(self, colour):
        super().__init__()
        self.colour = np.array(colour)

    def generate_code(self):
        colour = self.colour

        def fill(images, memory):
            images[:] = colour
            return images

        return fill

    def declare_state_and_memory(self, previous_state):
        return replace(previous_state, jit_mode=True), None


def damaged(folder):
    """A JPEG that lost its second half ends the epoch, for any number of threads."""
    path, mixer = f"{folder}/damaged.beton", Mixer(msda.CutMix(), CLASSES)
    data = bytearray(Path(f"{folder}/photographs.beton").read_bytes())
    reader = Reader(f"{folder}/photographs.beton")
    _, start, length = reader.alloc_table[1].tolist()
    data[start + length // 2 : start + length] = bytes(length - length // 2)
    Path(path).write_bytes(data)
    for workers in (1, 2):
        pipelines = {
            "image": [RandomResizedCrop(CROP, seed=1), *mixer.images()],
            "label": [IntDecoder(), *mixer.targets()],
        }
        for name, whole in ((path, False), (f"{folder}/photographs.beton", True)):
            batches = iter(Loader(name, 6, num_workers=workers, pipelines=pipelines))
            try:
                list(batches)
            except ValueError as error:
                assert not whole and str(error).startswith("image: expected whole JPEGs"), error
            else:
                assert whole, workers


def compiling(folder):
    """What is equal is compiled for the first loader only, and no loader gets another's code."""

    def images(kind, ratio, *more):
        mixer = Mixer(msda.CutMix(prob=0.0), CLASSES)
        line = [CenterCropRGBImageDecoder(CROP, ratio=ratio), *more]
        pipelines = {"image": [*line, ToTensor()], "label": None}
        if kind is Loader:
            pipelines["image"] = [*line, *mixer.images(dtype="uint8", layout="HWC")]
            pipelines["label"] = [IntDecoder(), *mixer.targets()]
        loader = kind(f"{folder}/photographs.beton", 6, num_workers=2, pipelines=pipelines)
        return torch.cat([batch[0].clone() for batch in loader])

    first = {ratio: images(Loader, ratio) for ratio in (0.9, 0.5)}
    assert not torch.equal(first[0.9], first[0.5])
    for ratio, found in first.items():
        with install_recorder("numba:compile") as compiled:
            assert torch.equal(images(Loader, ratio), found)
        assert not compiled.buffer
    assert torch.equal(images(PlainLoader, 0.5), first[0.5])
    for colour in ((1, 2, 3), (9, 2, 3)):
        found = images(Loader, 0.5, Fills(colour))
        assert (found == torch.tensor(colour)).all(-1).all()


def formats(folder):
    """Layouts, types, mirroring, smoothing, compact and soft labels."""
    policy = msda.Alternate([msda.Mixup(n=3, prob=0.7), msda.Mixup()])
    mixer = Mixer(policy, CLASSES, seed=9)
    pipelines = {
        "image": [
            SimpleRGBImageDecoder(),
            *mixer.images(dtype="uint8", layout="HWC", mirror=0.5),
            ToTorchImage(),
        ],
        "label": [IntDecoder(), *mixer.targets(compact=True)],
        "soft": [NDArrayDecoder(), *mixer.targets(smoothing=0.1)],
    }
    loader = colours(folder, mixer, pipelines=pipelines)
    for number, ((found, weights), images, soft) in enumerate(loader):
        ids = batches_of(loader, 0)[number]
        plan = msda.draw(policy, len(ids), HEIGHT, WIDTH, seed=9, step=number, ids=ids)
        flips = mixer.flips(ids, 0.5, epoch=0)
        blended = msda.blend(PIXELS[ids], plan, mirror=flips)
        assert images.dtype == torch.uint8 and images.shape == (len(ids), 3, HEIGHT, WIDTH)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), blended)
        dense = msda.targets(SOFT[ids], plan, smoothing=0.1)
        assert np.array_equal(soft.numpy(), dense)
        assert found.shape == weights.shape == (len(ids), 3) and found.dtype == torch.int64
        summed = torch.zeros(len(ids), CLASSES).scatter_add_(1, found, weights)
        np.testing.assert_allclose(
            summed.numpy(), msda.targets(LABELS[ids], plan, num_classes=CLASSES), atol=1e-6
        )
        if number % 2:  # two sources, where the policy mixes three at most
            assert not weights[:, 2].any() and np.array_equal(found[:, 2], LABELS[ids])


def flips(folder):
    """Mirroring is drawn by sample and epoch, as often as was asked for, whatever else is drawn."""
    mixer = Mixer(msda.CutMix(), CLASSES, seed=1)
    many = np.arange(20000)
    for probability in (0.25, 0.5):
        drawn = mixer.flips(many, probability, epoch=3)
        assert abs(drawn.mean() - probability) < 5 * np.sqrt(probability / len(many))
        assert np.array_equal(mixer.flips(many[::-7], probability, epoch=3), drawn[::-7])
        assert abs((mixer.flips(many, probability, epoch=4) == drawn).mean() - 0.5) < 0.15
    assert mixer.flips(many, 1.0, epoch=0).all() and not mixer.flips(many, 0.0, epoch=0).any()


def resume(folder):
    """An epoch is a function of its number and the seeds; another epoch is another one."""

    def loader(seed=5, **options):
        images = dict(mirror=0.5, dtype="float32")
        return colours(folder, Mixer(msda.Mixup(), CLASSES, seed=seed), images=images, **options)

    def same(a, b):
        return [all(map(torch.equal, x, y)) for x, y in zip(a, b, strict=True)]

    first = loader()
    epochs = [kept(first) for _ in range(4)]
    again = loader(num_workers=1, batches_ahead=1)
    again.next_epoch = 3
    assert all(same(kept(again), epochs[3]))
    # In sequential order the samples of a batch are the same: only the plan can differ.
    for a, b in itertools.combinations(epochs, 2):
        assert not any(same(a, b))
    assert not any(same(kept(loader(seed=6)), epochs[0]))
    lams = torch.stack([torch.cat([soft.amax(1) for _, soft in epoch]) for epoch in epochs])
    assert len(np.unique(lams.numpy())) > 0.6 * lams.numel()  # FFCV's own mixup repeats them


class Fails(Operation):
    """Raises in the third batch."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def generate_code(self):
        def fail(batch, memory):
            self.calls += 1
            if self.calls == 3:
                raise ArithmeticError("the third batch")
            return batch

        return fail

    def declare_state_and_memory(self, previous_state):
        return previous_state, None


def expect_threads(count):
    """Wait for what has been told to end: the readers of FFCV's own cache are not waited for."""
    for _ in range(500):
        if threading.active_count() == count:
            return
        time.sleep(0.02)
    raise AssertionError(f"expected {count} threads, got {threading.enumerate()}")


def ends(folder):
    """No end of an epoch hangs or leaves a thread behind, and torch keeps its threads."""
    torch.set_num_threads(3)
    mixer = Mixer(msda.CutMix(), CLASSES)
    operation = [SimpleRGBImageDecoder(), *mixer.images(), Fails()]
    loader = colours(folder, mixer, pipelines={"image": operation}, batches_ahead=1)
    seen = 0
    try:
        for _ in loader:
            seen += 1
    except ArithmeticError as error:
        assert "third" in str(error) and seen == 2
    else:
        raise AssertionError("the error was lost")

    for os_cache in (True, False):
        loader = colours(folder, mixer, batch_size=2, batches_ahead=2, os_cache=os_cache)
        before = threading.active_count()
        for count in range(6):
            for number, _ in enumerate(loader):
                if number == count:
                    break
        expect_threads(before)
        assert loader.next_epoch == 6
        batches = iter(loader)
        assert len(list(batches)) == 19
        for _ in range(2):
            assert next(batches, None) is None
        batches = iter(loader)
        next(batches)
        batches.close()
        batches.close()
        assert next(batches, None) is None
        expect_threads(before)
        assert torch.get_num_threads() == 3

    loader = colours(folder, mixer)  # two epochs at once do not mix up their numbers
    together = [(a[0].clone(), b[0].clone()) for a, b in zip(loader, loader, strict=True)]
    for epoch, found in enumerate(zip(*together, strict=True)):
        for ids, targets in zip(batches_of(loader, epoch), found, strict=True):
            plan = mixer.plan(ids, HEIGHT, WIDTH, step=epoch)
            dense = msda.targets(LABELS[ids], plan, num_classes=CLASSES)
            assert np.array_equal(targets.numpy(), dense)


def expect_error(words, kind, *arguments, **options):
    try:
        made = kind(*arguments, **options)
    except (TypeError, ValueError) as error:
        assert words in str(error), (words, str(error))
    else:
        raise AssertionError(f"{made!r} was made; expected: {words}")


def doors(folder):
    """All that can be wrong is told when the loader is built."""
    mixer, other = (Mixer(msda.CutMix(), CLASSES) for _ in range(2))
    image, label = SimpleRGBImageDecoder, IntDecoder
    table = NormalizeImage(np.array(MEAN), np.array(STD), np.float32)
    wrong = [
        ("mixer.targets()", dict(label=[label(), ToTensor()])),
        ("mixer.targets()", dict(label=[label(), *other.targets()])),
        ("mixer.images()", dict(image=[image(), ToTensor()])),
        ("mixer.images()", dict(image=[image(), *mixer.images(), *mixer.images()])),
        ("in place of NormalizeImage", dict(image=[image(), table, *mixer.images()])),
        ("torch.uint8", dict(image=[image(), ToTensor(), *mixer.images()])),
        ("FFCV compiles", dict(image=[image(), *mixer.images(), Cutout(4)])),
        ("got NormalizeImage", dict(image=[image(), *mixer.images(), table])),
        ("before ToTensor", dict(label=[label(), ToTensor(), *mixer.targets()])),
        ("integer (1,)", dict(soft=[NDArrayDecoder(), *mixer.targets(compact=True)])),
        ("nothing after", dict(label=[label(), *mixer.targets(compact=True), ToTensor()])),
        (
            "pipelines['image'][1]: expected an operation, got list",
            dict(image=[image(), mixer.images()]),
        ),
        ("pipelines['label'][0]: expected an operation, got IntDecoder", dict(label=[label])),
        ("fields of the dataset, label, image, soft, got 'lable'", dict(lable=[label()])),
    ]
    for words, pipelines in wrong:
        expect_error(words, colours, folder, mixer, pipelines=pipelines)
    few = Mixer(msda.CutMix(), CLASSES - 1)
    expect_error(f"got {CLASSES - 1} and label {CLASSES - 1}", colours, folder, few)
    colours(folder, few, indices=np.flatnonzero(LABELS < CLASSES - 1))
    soft = [NDArrayDecoder(), *few.targets()]
    expect_error(
        "before mixer.targets()", colours, folder, few, pipelines=dict(soft=soft, label=None)
    )
    expect_error("dali_msda.ffcv.Loader", colours, folder, mixer, loader=PlainLoader)
    colours(folder, mixer)
    expect_error("dali_msda.ffcv.Loader", colours, folder, mixer, loader=PlainLoader)
    many = numba_config.NUMBA_NUM_THREADS + 1
    expect_error(
        f"num_workers: expected at most {many - 1}", colours, folder, mixer, num_workers=many
    )
    expect_error("num_workers: expected", colours, folder, mixer, num_workers="all")
    assert colours(folder, mixer, num_workers=-1).num_workers == many - 1  # FFCV's default

    expect_error("policy: expected", Mixer, "cutmix", CLASSES)
    expect_error("gradients of the model, got PuzzleMix", Mixer, msda.PuzzleMix(), CLASSES)
    expect_error("num_classes", Mixer, msda.CutMix(), 0)
    expect_error("num_classes", Mixer, msda.CutMix(), 2.0)
    expect_error("seed", Mixer, msda.CutMix(), CLASSES, seed=-1)
    expect_error("dtype: expected", mixer.images, dtype="int8")
    expect_error("dtype: expected", mixer.images, dtype="uint8", mean=1.0)
    expect_error("layout: expected", mixer.images, layout="NCHW")
    expect_error("mean: expected", mixer.images, mean=(1.0, 2.0))
    expect_error("std: expected", mixer.images, std=0.0)
    expect_error("mirror: expected", mixer.images, mirror=1.5)
    expect_error("mirror: expected", mixer.images, mirror=True)
    expect_error("smoothing: expected", mixer.targets, smoothing=2.0)
    expect_error("compact: expected", mixer.targets, smoothing=0.1, compact=True)
    expect_no_other_difference(folder)


def expect_no_other_difference(folder):
    """Every difference from FFCV's Loader is in the table of ours."""

    def calls(*several):
        return [lambda kind, how=how: plain(kind, folder, **how) for how in several]

    probes = {
        "any setting that is good": calls(
            dict(order=OrderOption.RANDOM, drop_last=False),
            dict(order=OrderOption.QUASI_RANDOM, os_cache=False, batches_ahead=2, recompile=True),
            dict(indices=[4, 2, 0, 1, 5, 3, 7, 6], num_workers=0, custom_fields={}),
        ),
        "more threads than CPUs": calls(dict(num_workers=10**6)),
        "num_workers that is no number": calls(dict(num_workers="all")),
        "another order": calls(dict(order="random")),
        "pipelines that are a list": calls(dict(pipelines=[IntDecoder()])),
        "an operation that is a class": calls(dict(pipelines={"label": [IntDecoder, ToTensor]})),
        "a field that is not there": calls(dict(pipelines={"lable": [IntDecoder(), ToTensor()]})),
        "no batch_size": [lambda kind: kind(f"{folder}/colours.beton")],
    }
    found = differences(PlainLoader, Loader, probes)
    assert table_of(Loader.__doc__) == found, as_table(found)


def plain(kind, folder, **options):
    """A loader of the labels alone, for one of the two classes."""
    pipelines = {"image": None, "soft": None, "label": [IntDecoder(), ToTensor()]}
    settings = dict(batch_size=8, num_workers=1, seed=3, pipelines=pipelines) | options
    return [labels.clone() for (labels,) in kind(f"{folder}/colours.beton", **settings)]


def filters(folder):
    """``filter`` names samples by their index in the data set, and sees them before the mixing."""

    def high(sample):
        return int(sample) >= 3

    mixer = Mixer(msda.CutMix(), CLASSES, seed=4)
    spec = PipelineSpec("label", IntDecoder(), mixer.targets())
    for pipelines in ({}, {"label": spec}):
        chosen = colours(folder, mixer, pipelines=pipelines).filter("label", high)
        assert np.array_equal(chosen.indices, np.flatnonzero(LABELS >= 3))
        expect_plan(chosen, mixer.policy, 4)

    def loader(**options):
        pipelines = {"image": None, "soft": None, "label": (IntDecoder(), ToTensor())}
        return Loader(f"{folder}/colours.beton", 8, pipelines=pipelines, seed=2, **options)

    for indices in (INDICES, INDICES[5::2]):
        whole = loader(indices=indices, order=OrderOption.RANDOM)
        chosen = whole.filter("label", high)
        assert type(chosen) is Loader and chosen.seed == 2
        wanted = indices[LABELS[indices] >= 3]
        assert np.array_equal(chosen.indices, wanted)
        found = np.concatenate([labels[:, 0].numpy().copy() for (labels,) in chosen])
        assert len(found) == len(wanted) // 8 * 8 and (found >= 3).all()
    expect_error("field_name: expected one of label, image, soft, got 'lable'", loader().filter,
                 "lable", high)  # fmt: skip


class Asserts(Operation):
    """Refuses its place in a way of its own."""

    def generate_code(self):
        raise AssertionError("not on a Monday")

    def declare_state_and_memory(self, previous_state):
        return previous_state, None


def asserts(folder):
    """What an operation of the user's asserts is not taken for a wrong order of operations."""
    mixer = Mixer(msda.CutMix(), CLASSES)
    operations = [SimpleRGBImageDecoder(), Asserts(), *mixer.images()]
    try:
        colours(folder, mixer, pipelines={"image": operations})
    except AssertionError as error:
        assert "not on a Monday" in str(error)
    else:
        raise AssertionError("the error was lost")


def masses(folder):
    """Defects of FFCV's own mixup: lost mass of equal labels, and grey levels cut off."""
    mixer = Mixer(msda.Mixup(), CLASSES)
    one_class = np.flatnonzero(LABELS == 3)
    for dtype in ("uint8", "float32"):
        loader = colours(folder, mixer, images=dict(dtype=dtype), indices=one_class, batch_size=3)
        for _, targets in kept(loader):
            assert torch.equal(targets, torch.eye(CLASSES)[[3] * len(targets)])
    errors = []
    loader = colours(folder, mixer, images=dict(dtype="uint8"), order=OrderOption.RANDOM)
    for epoch in range(6):
        for ids, (images, _) in zip(batches_of(loader, epoch), kept(loader), strict=True):
            plan = msda.draw(msda.Mixup(), len(ids), HEIGHT, WIDTH, seed=0, step=epoch, ids=ids)
            own, partner = (PIXELS[ids[plan[name]]].astype(float) for name in ("own", "partner"))
            lam = plan["weight"].astype(float)[:, None, None, None]
            exact = lam * own + (1 - lam) * partner
            errors.append(images.permute(0, 2, 3, 1).numpy()[:, 0, 0] - exact[:, 0, 0])
    errors = np.concatenate(errors)
    assert np.abs(errors).max() <= 0.5 + 1e-4 and abs(errors.mean()) < 0.06


def distributed(folder, rank):
    """One of two ranks: its own samples, its own plan, one seed."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=int(rank), world_size=2
    )
    policy = msda.CutMix()
    for order in (OrderOption.RANDOM, OrderOption.SEQUENTIAL):
        loader = colours(
            folder,
            Mixer(policy, CLASSES, seed=5),
            images=dict(dtype="float32"),
            order=order,
            distributed=True,
        )
        assert len(np.concatenate(batches_of(loader, 0))) == (SAMPLES + 1) // 2
        expect_plan(loader, policy, 5, dtype="float32")
        loader.next_epoch = 0
        ids = [None, None]
        torch.distributed.all_gather_object(ids, np.concatenate(batches_of(loader, 0)).tolist())
        assert {*ids[0], *ids[1]} == {*range(SAMPLES)}
    torch.distributed.destroy_process_group()


def midway(folder):
    """An epoch goes on from any of its batches, in every order."""
    policy = msda.Alternate([msda.CutMix(), msda.Mixup(n=3)])
    for order, os_cache in itertools.product(OrderOption, (True, False)):
        if order is OrderOption.QUASI_RANDOM and os_cache:
            continue  # it is for files that do not fit into memory

        def loader(order=order, os_cache=os_cache):
            images = dict(mirror=0.5, dtype="float32")
            options = dict(order=order, os_cache=os_cache, images=images)
            return colours(folder, Mixer(policy, CLASSES, seed=5), **options)

        first = loader()
        epochs = [kept(first) for _ in range(3)]
        for epoch, batch in ((0, 1), (1, 4), (2, 0)):
            again = loader()
            again.next_epoch, again.next_batch = epoch, batch
            assert again.next_batch == batch
            rest = kept(again) + kept(again)
            assert (again.next_epoch, again.next_batch) == (epoch + 2, 0)
            expected = epochs[epoch][batch:] + (epochs[epoch + 1] if epoch < 2 else [])
            for ours, theirs in zip(rest, expected, strict=epoch < 2):
                assert all(map(torch.equal, ours, theirs)), (order, epoch, batch)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # what Numba says while Python comes down is no matter here
