"""Whole loaders beside each other: JPEGs to mixed, normalised batches and soft labels, by Mixup.

The same JPEGs of ImageNet's sizes (photographs.py), the same law of crops, size, batch, and as many
threads or workers as there are cores. Those of others are built as their documentation says
(peers.py); those of the training program and FFCV's loader with our mixing are ours. Loaders of
folders take turns, and so do the two of FFCV, over a .beton of the same images: half of them as
JPEGs and half as pixels, as FFCV's authors write ImageNet, and all of them as JPEGs.

A turn is an epoch on the clock, from when nothing is under way until nothing is: what a loader
prepares ahead for the next epoch counts. ``times`` is the time of another over the first's.
``cpu_ms`` of an epoch, over its images, is the CPU time of an image, that of all workers included.

What was found on two cores: others spend half of an image's time on scaling and on pages of new
memory. Our loader of torch scales by torch's kernel and writes into memory that was shared before.
DALI decodes the part that it needs, but its scaling takes as long as its decoding.
"""

import contextlib
import functools
from collections.abc import Iterable

import dali_msda as msda
from bench.cases import Job, Missing
from bench.suites.loaders import ours, peers, photographs
from bench.suites.loaders.turns import settle

ISOLATED = True
COUNT = 512  # JPEGs
ROUNDS = 4  # over them in an epoch of FFCV, which takes new memory for each epoch
WRITTEN = {"beton, half JPEGs": "proportion", "beton, JPEGs": "jpg"}  # how a .beton is written
COMMON = {"policy": "mixup", "batch": 64, "size": 224, "dtype": "float32", "threads": 0}
TABLES = {
    "quick": [],
    "default": [
        {"files": ("folder", *WRITTEN), **COMMON, "images": COUNT},
    ],
    "all": [],
}
PEERS = {
    "torchvision.v2": peers.torchvision_v2,
    "timm.FastCollateMixup": peers.timm_collate,
    "timm.Mixup": peers.timm_mixup,
    "dali.operators": peers.dali_by_hand,
}


def prepare(case: dict[str, object]) -> Job:
    """Epochs of ours, and of those of others that are installed."""
    source = photographs.of_imagenet_size(case["images"])
    of_folder = case["files"] == "folder"
    made = _of_folder(source, case) if of_folder else _of_beton(source, case)
    rounds = 1 if of_folder else ROUNDS
    expected = rounds * case["images"] // case["batch"]
    runs = {name: lambda each=each: _epoch(each, expected) for name, each in made.items()}
    count = expected * case["batch"]
    return Job(runs, None, count, "images", threads=0, clock="wall", loops=False)


def _of_folder(source: object, case: dict[str, object]) -> dict[str, Iterable]:
    own = {
        f"ours, {name}": functools.partial(ours.training_loader, name, policy=msda.Mixup())
        for name in ("dali", "torch")
    }
    made = {}
    for name, opened in {**own, **PEERS}.items():
        with contextlib.suppress(Missing):
            made[name] = opened(source=source, case=case)
    if len(made) < 2:
        raise Missing("loaders: neither DALI, torchvision nor timm is installed")
    return made


def _of_beton(source: object, case: dict[str, object]) -> dict[str, Iterable]:
    how = photographs.beton(source, WRITTEN[case["files"]]), len(source.classes), case
    indices = list(range(case["images"])) * ROUNDS
    own = ours.ffcv_loader(*how, msda.Mixup(), indices)
    return {"ours, ffcv": own, "ffcv": peers.ffcv_own(*how, indices)}


def _epoch(batches: Iterable, expected: int) -> None:
    """Goes through an epoch of so many batches until nothing works any more."""
    found = sum(1 for _ in batches)
    if found != expected:
        raise ValueError(f"epoch: expected {expected} batches, got {found}")
    settle(0.002)
