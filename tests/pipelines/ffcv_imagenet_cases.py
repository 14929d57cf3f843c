"""What test_ffcv_imagenet.py runs, each in a process of its own: ``... CASE FOLDER``.

The folder holds ``colours.beton`` and ``textures.beton``, and the image folders they come from.
"""

import itertools
import os
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import torch
from ffcv import Loader as PlainLoader
from ffcv.fields import IntField, NDArrayField, RGBImageField
from ffcv.fields.decoders import IntDecoder
from ffcv.transforms import ToTensor
from ffcv.writer import DatasetWriter

import dali_msda as msda
from dali_msda import loader_draws
from dali_msda.ffcv import Loader, Mixer, RandomResizedCrop
from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders import dali
from dali_msda.pipelines.loaders import torch as torch_loaders
from dali_msda.pipelines.loaders.ffcv import EvaluationLoader, TrainingLoader
from tests.pipelines import loader_cases
from tests.pipelines.loader_cases import EVERYTHING, POLICY, assert_same_batches, epoch, forever
from tests.support.coloured_folders import identities
from tests.with_ffcv.ffcv_cases import expect_error, expect_threads

TEXTURES = (9, 8, 6)
SMALL = loader_cases.SMALL | {"threads": 2}


def colours(folder):
    return datasets.find(f"{folder}/colours.beton")


def textures(folder):
    return datasets.find(f"{folder}/textures.beton")


def training(folder):
    """No sample is repeated within an epoch, over all ranks; the order is one of the seed."""
    source, orders = colours(folder), []
    for ranks in (1, 2, 3):
        options = [dict(shard_id=rank, num_shards=ranks) for rank in range(ranks)]
        loaders = [TrainingLoader(source, **SMALL, **more) for more in options]
        for number in range(3):
            seen = []
            for loader in loaders:
                assert (loader.epoch, loader.position, loader.samples) == (number, 0, 34)
                assert len(loader) == 34 // ranks // 4 and loader.num_classes == 3
                for count, (images, labels) in enumerate(loader, 1):
                    assert loader.position == count
                    names = identities(images)
                    assert [label for label, _ in names] == labels.tolist()
                    seen += names
            assert len(seen) == len(set(seen)) == ranks * len(loaders[0]) * 4
            assert set(seen) <= set(EVERYTHING)
            orders.append(tuple(seen))
    assert len(set(orders)) == len(orders)
    with TrainingLoader(source, **SMALL) as same, TrainingLoader(source, seed=1, **SMALL) as other:
        first, second = ([n for images, _ in e for n in identities(images)] for e in (same, other))
    assert tuple(first) == orders[0] != tuple(second)


def evaluation(folder):
    """Each sample is seen once over all ranks, in each epoch."""
    source = colours(folder)
    for ranks, batch_size in itertools.product((1, 3, 5), (4, 50)):
        seen = []
        for rank in range(ranks):
            more = dict(shard_id=rank, num_shards=ranks, batch_size=batch_size, resize=28)
            with EvaluationLoader(source, **SMALL | more) as loader:
                for _ in range(2 if ranks == 3 else 1):
                    mine, batches = [], list(map(tuple, epoch(loader)))
                    assert len(batches) == len(loader)
                    for images, labels in batches:
                        assert images.shape[1:] == (3, 24, 24) and labels.dtype == torch.int64
                        named = zip(identities(images), labels.tolist(), strict=True)
                        mine += [(*name, label) for name, label in named]
                seen += mine
        assert sorted(seen) == [(label, number, label) for label, number in EVERYTHING]


def resume(folder):
    """A restored loader goes on in mid-epoch, to the bit, with crops, flips and mixing."""
    source = textures(folder)
    cases = [
        (1, dict(policy=None)),
        (2, dict(policy=POLICY, sizes={1: 20, 3: 24})),
        (5, dict(policy=msda.MultiMix(msda.CutMix(), k=2), copies=2, compact=False)),
    ]
    for prefetch, more in cases:

        def make(prefetch=prefetch, more=more):
            options = dict(prefetch=prefetch, shard_id=1, num_shards=2, seed=5, batch_size=3)
            return TrainingLoader(source, **SMALL | options | more)

        with make() as loader:
            states, batches, turns = [loader.state_dict()], [], [loader.turn]
            for batch in itertools.islice(forever(loader), 11):  # three batches are an epoch
                batches.append(tuple(part.clone() for part in batch))
                states.append(loader.state_dict())
                turns.append(loader.turn)
        for consumed in (0, 1, 2, 3, 4, 5):
            with make() as loader:
                loader.load_state_dict(states[consumed])
                assert loader.epoch == states[consumed]["epoch"]
                assert loader.position == states[consumed]["position"]
                assert loader.turn == turns[consumed]
                following = itertools.islice(forever(loader), 11 - consumed)
                assert_same_batches(epoch(following), batches[consumed:])


def loops(folder):
    """A loop that was left goes on; threads and batches prepared ahead change nothing."""
    source, threads = textures(folder), threading.active_count()

    def batches(**more):
        with TrainingLoader(source, policy=POLICY, **SMALL | more) as loader:
            return epoch(loader) + epoch(loader)

    whole = batches()
    with TrainingLoader(source, policy=POLICY, **SMALL) as loader:
        parts = epoch(itertools.islice(loader, 3))
        parts += epoch(loader) + epoch(loader)
    assert_same_batches(parts, whole)
    for more in (dict(threads=1), dict(prefetch=1), dict(prefetch=4)):
        assert_same_batches(batches(**more), whole)
    loader = TrainingLoader(source, **SMALL)
    batch = next(iter(loader))
    loader.close()
    expect_threads(threads)
    assert torch.isfinite(batch[0]).all()  # its memory is still there
    try:
        next(iter(loader))
    except RuntimeError as error:
        assert "loader: expected an open one" in str(error)
    else:
        raise AssertionError("a closed loader made a batch")


def mixes(folder):
    """A mixed batch is the plan of the seed, epoch and indices, blended from the unmixed one."""
    source = textures(folder)
    policies = [POLICY, msda.FMix(), msda.SaliencyMix(), msda.ResizeMix(), msda.LaMix()]
    for policy, rank in zip(policies, (0, 1, 0, 1, 0), strict=True):
        options = SMALL | dict(seed=3, shard_id=rank, num_shards=2, batch_size=5)
        with (
            TrainingLoader(source, **options) as plain,
            TrainingLoader(source, policy=policy, **options) as mixed,
            TrainingLoader(source, policy=policy, compact=False, **options) as dense,
        ):
            for number, step in itertools.product(range(2), range(2)):
                if step == 0:
                    each = zip(epoch(plain), epoch(mixed), epoch(dense), strict=True)
                (crops, labels), (images, found, weights), (same, rows) = next(each)
                pixels = crops.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
                assert torch.equal(pixels.permute(0, 3, 1, 2).float(), crops)
                order = loader_draws.order(len(source.labels), seed=3, step=number)[rank::2]
                ids = order[5 * step :][:5]
                assert labels.tolist() == source.labels[ids].tolist()
                takes_turns = isinstance(policy, msda.Alternate | msda.LaMix)
                at = number * 2 + step if takes_turns else number
                peaks = msda.saliency(pixels) if policy.needs_peaks else None
                plan = msda.draw(policy, 5, 24, 24, seed=3, step=at, ids=ids, peaks=peaks)
                expected = msda.blend(pixels, plan, dtype="float32", layout="CHW", mean=0, std=1)
                assert torch.equal(images, expected) and torch.equal(same, expected)
                assert torch.equal(rows, msda.targets(labels, plan, num_classes=3))
                summed = torch.zeros(5, 3).scatter_add_(1, found, weights)
                torch.testing.assert_close(summed, rows, rtol=0, atol=1e-6)


def copies(folder):
    """Each copy has crops, flips and a plan of its own; they follow one another."""
    source = textures(folder)
    options = SMALL | dict(policy=msda.Mixup(), compact=False)
    with TrainingLoader(source, **options) as loader:
        alone = epoch(loader)
    drawn = []
    with TrainingLoader(source, copies=3, **options) as loader:
        for (images, rows), (several, all_rows) in zip(alone, epoch(loader), strict=True):
            several = several.reshape(4, 3, 3, 24, 24)
            assert torch.equal(several[:, 0], images) and torch.equal(all_rows[::3], rows)
            for a, b in itertools.combinations(range(3), 2):
                assert not any(torch.equal(x[a], x[b]) for x in several)
            drawn.append(all_rows.reshape(4, 3, -1))
        rows = torch.cat(drawn)  # of one class in some batches
        for a, b in itertools.combinations(range(3), 2):
            assert (rows[:, a] != rows[:, b]).any(1).double().mean() > 0.3
    with TrainingLoader(source, **SMALL, copies=2) as loader:
        for images, labels in loader:
            assert len(images) == len(labels) == 8
            assert torch.equal(labels[::2], labels[1::2])


def formats(folder):
    """Memory orders, types, mean and std hold the same pictures."""
    source = colours(folder)

    def first(kind, **more):
        with kind(source, **SMALL | more) as loader:
            return epoch(loader)[0][0]

    plain = first(EvaluationLoader, resize=28)
    for kind, options in (
        (EvaluationLoader, dict(resize=28)),
        (TrainingLoader, {}),
        (TrainingLoader, dict(policy=POLICY)),
    ):
        plain, last = first(kind, **options), first(kind, channels_last=True, **options)
        assert plain.is_contiguous()
        assert last.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(plain, last)
        half = first(kind, dtype="float16", **options)
        assert half.dtype == torch.float16
        torch.testing.assert_close(half.float(), plain, rtol=2**-10, atol=0)
        scaled = first(kind, mean=(50, 60, 70), std=(2, 3, 4), **options)
        mean, std = torch.tensor([[50.0, 60, 70], [2, 3, 4]])[:, None, :, None, None]
        torch.testing.assert_close(scaled, (plain - mean) / std, rtol=1e-5, atol=1e-5)


def decoder(folder):
    """The seeded crop is the part that was drawn, scaled as FFCV does it, of any kind of image."""
    sources = {name: datasets.find(f"{folder}/{name}.beton") for name in ("textures", "jpegs")}
    for name, source in sources.items():
        size = (31, 17)
        mixer = Mixer(msda.Mixup(prob=0.0), 3)
        pipelines = {
            "image": [
                RandomResizedCrop(size, seed=9, area=(0.2, 0.9)),
                *mixer.images(dtype="uint8", layout="HWC"),
            ],
            "label": [IntDecoder(), *mixer.targets()],
        }
        options = dict(num_workers=2, drop_last=False)
        loader = Loader(source.path, batch_size=6, pipelines=pipelines, **options)
        plain = PlainLoader(source.path, 1, pipelines={"label": None}, **options)
        originals = [image[0].numpy().copy() for (image,) in plain]
        for number in range(2):
            found = np.concatenate([images.numpy().copy() for images, _ in loader])
            parts = loader_draws.crops(
                range(len(found)), *source.sizes.T, area=(0.2, 0.9), seed=9, step=number
            )
            for image, original, (y0, x0, y1, x1) in zip(found, originals, parts, strict=True):
                part = np.ascontiguousarray(original[y0:y1, x0:x1])
                scaled = cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA)
                difference = np.abs(image.astype(int) - scaled)
                assert difference.max() <= 2 and difference.mean() < 0.2, name


def doors(folder):
    """What is wrong is said when a loader is built, or a file is found."""
    source, folder = colours(folder), Path(folder)

    def expect(words, *arguments, kind=TrainingLoader, **more):
        expect_error(words, kind, *(arguments or [source]), **SMALL | more)

    expect("batch_size: expected at most 34 per process", batch_size=35)
    expect("num_shards: expected at most the number of images, got 35", num_shards=35)
    expect("num_classes: expected at least 3", num_classes=2)
    if not torch.cuda.is_available():
        expect("device_id: expected None, since there is no GPU", device_id=0)
    expect("threads: expected at most", threads=100000)
    expect("source: expected a .beton file", datasets.find(str(folder / "colours")))
    for kind in (dali.TrainingLoader, torch_loaders.TrainingLoader):
        expect("source: expected a folder or shards, got", kind=kind)
    expect("resize: expected at least size", kind=EvaluationLoader, resize=23)
    with TrainingLoader(source, num_classes=9, **SMALL) as loader:
        assert loader.num_classes == 9

    state = TrainingLoader(source, **SMALL).state_dict()
    for change in (dict(batch_size=5), dict(seed=1), dict(num_shards=2), dict(policy=POLICY)):
        with TrainingLoader(source, **SMALL | change) as loader:
            expect_error(f"expected {next(iter(change))}", loader.load_state_dict, state)
    with TrainingLoader(textures(folder), **SMALL) as loader:
        expect_error("loader state: expected samples", loader.load_state_dict, state)

    whole, bad = Path(source.path).read_bytes(), folder / "bad.beton"
    for content in (b"", b"no beton" * 999, whole[:50], whole[: len(whole) // 2], whole[:-24]):
        bad.write_bytes(content)
        expect_error("train: expected a", datasets.find, str(bad), name="train")
    expect_error("train_list", datasets.find, source.path, name="train", file_list="x")
    bad.unlink()
    fields = {"image": RGBImageField(), "label": NDArrayField(np.dtype("f4"), (2,))}
    pair = [(np.zeros((4, 4, 3), np.uint8), np.zeros(2, np.float32))]
    DatasetWriter(str(bad), fields, num_workers=1).from_indexed_dataset(pair)
    expect_error("expected fields image", datasets.find, str(bad))
    fields = {"label": IntField(), "image": RGBImageField(), "other": IntField()}
    rows = [(k % 3, np.full((5, 6, 3), 80 + k, np.uint8), 7) for k in range(8)]
    DatasetWriter(str(bad), fields, num_workers=1).from_indexed_dataset(rows)
    with EvaluationLoader(datasets.find(str(bad)), resize=28, **SMALL) as loader:
        values = [
            (int(i[0, 0, 0]), int(label))
            for images, labels in loader
            for i, label in zip(images, labels, strict=True)
        ]
    assert values == [(80 + k, k % 3) for k in range(8)]
    for options in (dict(area=(0, 1)), dict(area=(0.5, 0.2)), dict(ratio=(1,)), dict(area=(1, 2))):
        expect_error(f"{next(iter(options))}: expected", RandomResizedCrop, (8, 8), **options)
    expect_error("output_size: expected", RandomResizedCrop, 8)
    expect_error("seed", RandomResizedCrop, (8, 8), seed=-1)
    pipelines = {"image": [RandomResizedCrop((8, 8)), ToTensor()], "label": None}
    expect_error("dali_msda.ffcv.Loader", PlainLoader, source.path, 4, pipelines=pipelines)


def gpu(folder):
    """On a GPU an epoch is that of the CPU, to the bit."""
    source = textures(folder)
    for policy in (POLICY, msda.SaliencyMix(), None):
        for more in (dict(), dict(channels_last=True, copies=2)):
            options = SMALL | dict(policy=policy, **more)
            with TrainingLoader(source, **options) as loader:
                here = epoch(loader)
            with TrainingLoader(source, device_id=0, **options) as loader:
                there = epoch(loader)
            assert all(part.device.type == "cuda" for batch in there for part in batch)
            assert_same_batches([[part.cpu() for part in batch] for batch in there], here)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # what Numba says while Python comes down is no matter here
