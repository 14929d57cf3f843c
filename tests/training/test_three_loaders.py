"""DALI, FFCV and PyTorch over the same images: equal batches, to the bit; and each trains."""

import csv
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from nvidia.dali import Pipeline, fn
from PIL import Image
from torch.utils.data import DataLoader

from dali_msda import loader_draws
from dali_msda.dali import mix
from dali_msda.pipelines.data import datasets, demo_data
from dali_msda.pipelines.loaders import torch as torch_loaders
from dali_msda.pipelines.write_beton import write_beton
from dali_msda.torch import Collate, Indexed, NumberedBatches
from tests.support.ffcv_processes import LIMIT, needs_ffcv, run
from tests.support.photographs import pieces
from tests.training.three_loaders import (
    BATCH,
    CASES,
    CLASSES,
    EPOCHS,
    LOADER_CASES,
    MEAN,
    SEED,
    SIDE,
    SIZE,
    STD,
    options,
)


def decoded_once(pixels):
    """Photographs through a JPEG: what all loaders then read without loss."""
    stream = io.BytesIO()
    Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))).save(stream, "JPEG")
    return Image.open(stream).convert("RGB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two folders of PNGs, and the same pixels as .beton files."""
    root = tmp_path_factory.mktemp("three")
    for name, size, each in (("oblong", SIZE, 1), ("square", (SIDE, SIDE), 2)):
        for number, pixels in enumerate(pieces(each, [size], 4)):
            place = root / name / f"{number // each:02d}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            decoded_once(pixels).save(place)
        write_beton(root / name, root / f"{name}.beton", workers=1)
    return root


def by_dali(source):
    """Batch after batch of each case. A batch of a pipeline has the number of its epoch here."""
    for policy, dtype in CASES:
        steps = range(EPOCHS + 3)  # some are prepared ahead
        flips = [loader_draws.flips(range(BATCH), 0.5, seed=SEED, step=step) for step in steps]
        pipeline = Pipeline(batch_size=BATCH, num_threads=2, device_id=None, seed=0)
        with pipeline:
            encoded, labels = fn.readers.file(files=list(source.files), labels=list(source.labels))
            pipeline.set_outputs(
                *mix(
                    fn.decoders.image(encoded),
                    labels,
                    policy,
                    num_classes=CLASSES,
                    mean=MEAN,
                    std=STD,
                    dtype=dtype,
                    mirror=fn.external_source([list(batch.astype("i4")) for batch in flips]),
                    smoothing=0.1,
                    seed=SEED,
                )
            )
        for _ in range(EPOCHS):
            yield [np.array(output.as_tensor()) for output in pipeline.run()]


class Pictures:
    """A folder as torch's users read it."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source.files)

    def __getitem__(self, index):
        return Image.open(self.source.files[index]), self.source.labels[index]


def by_torch(source):
    """The same, from the workers of a DataLoader."""
    for policy, dtype in CASES:
        how = dict(mean=MEAN, std=STD, dtype=dtype, mirror=0.5, smoothing=0.1, seed=SEED)
        loader = DataLoader(
            Indexed(Pictures(source)),
            batch_sampler=NumberedBatches([list(range(BATCH))]),
            num_workers=1,
            collate_fn=Collate(policy, CLASSES, **how),
        )
        for _ in range(EPOCHS):
            ((images, targets),) = loader
            yield images.numpy(), targets.numpy()


@needs_ffcv
def test_batches_are_equal_to_the_bit(folder):
    run("tests.training.three_loaders_ffcv", "mixed", folder)
    source = datasets.find(str(folder / "oblong"))
    assert len(source.files) == BATCH
    together = zip(by_dali(source), by_torch(source), strict=True)
    unequal = 0
    with np.load(folder / "mixed.npz") as ffcv:
        for count, ((images, targets), (same, same_targets)) in enumerate(together):
            case, epoch = divmod(count, EPOCHS)
            policy, dtype = CASES[case]
            theirs = ffcv[f"images{case}_{epoch}"], ffcv[f"targets{case}_{epoch}"]
            assert images.dtype == theirs[0].dtype == dtype
            assert np.array_equal(images, theirs[0]), policy
            assert np.array_equal(targets, theirs[1]), policy
            assert np.array_equal(images.reshape(same.shape), same), policy
            assert np.array_equal(targets.reshape(same_targets.shape), same_targets), policy
            unequal += not np.array_equal(images, ffcv[f"images{case}_{(epoch + 1) % EPOCHS}"])
    assert unequal == count + 1  # or else nothing was compared: every epoch is another one


@needs_ffcv
def test_training_loaders_of_ffcv_and_torch_are_equal_to_the_bit(folder):
    run("tests.training.three_loaders_ffcv", "loaders", folder)
    source = datasets.find(str(folder / "square"))
    with np.load(folder / "loaders.npz") as ffcv:
        left = set(ffcv.files)
        for number, case in enumerate(LOADER_CASES):
            for rank in range(2):
                with torch_loaders.TrainingLoader(source, **options(case, rank)) as loader:
                    batches = [batch for _ in range(2) for batch in loader]
                assert len(batches) == 6
                for place, parts in enumerate(batches):
                    for k, part in enumerate(parts):
                        name = f"{number}_{rank}_{place}_{k}"
                        left.remove(name)
                        assert part.numpy().dtype == ffcv[name].dtype, (case, name)
                        assert np.array_equal(part.numpy(), ffcv[name]), (case, name)
    assert not left


@pytest.mark.parametrize("loader", ["dali", pytest.param("ffcv", marks=needs_ffcv), "torch"])
def test_each_trains(loader, tmp_path):
    """An epoch on a few of the demo's photographs."""
    demo_data.make(tmp_path / "data", per_class=6)
    if loader == "ffcv":
        for split in demo_data.SPLITS:
            write_beton(tmp_path / "data" / split, tmp_path / "data" / f"{split}.beton", workers=1)
    settings = dict(data=tmp_path / "data", out=tmp_path / "out", loader=loader, epochs=1, size=32)
    settings |= dict(val_resize=36, warmup_epochs=0.5, threads=2, device="cpu", batch_size=16)
    command = [sys.executable, "-m", "dali_msda.pipelines.train", "demo"]
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out" / "metrics.csv") as table:
        (row,) = csv.DictReader(table)
    assert 2.0 < float(row["loss"]) < 4.0  # log(16) = 2.77
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 6 and state["config"]["loader"] == loader
