"""Loaders end to end: JPEGs are read, decoded, cropped, mirrored, mixed, normalised and labelled.

    python -m bench.loaders

A loader with mixing and the same loader without take turns, over crops of the demo's photographs.
``dali`` and ``torch`` are those of the training program. ``ffcv`` is FFCV's own ``Loader``: without
mixing it mirrors and normalises with FFCV's operations, and ``own`` mixes with FFCV's ImageMixup
and LabelMixup per sample; all have the same crops of the same .beton of JPEGs.

Of DALI, CPU time counts: a turn ends when the loader has prepared ahead all that it prepares, so
that no work of one is counted for the other. FFCV and torch's processes are given all cores, and
the time of whole epochs on the clock counts: ``times`` is the loader's throughput with mixing over
that of the other, turn by turn.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dali_msda as msda
from bench.blend import POLICIES
from bench.cases import Job, Missing, cores

ISOLATED = True
PHOTOGRAPHS = Path(__file__).parent.parent / "build" / "bench" / "jpegs"
METHODS = ("mixup", "cutmix", "fmix")
COMMON = {"batch": 64, "size": 224, "dtype": "float32"}
TABLES = {
    "quick": [],
    "default": [{"loader": ("dali", "ffcv", "torch"), "policy": METHODS, **COMMON}],
    "all": [{"loader": "dali", "policy": METHODS, **COMMON, "dtype": "float16"}],
}
DALI_BATCHES = 2  # of a turn


def prepare(case: dict[str, object]) -> Job:
    """Batches with mixing and without: some of DALI's, or epochs."""
    source, policy = photographs(), POLICIES[case["policy"]]
    if case["loader"] == "dali":
        both = {"mixing": loader(source, case, policy), "without": loader(source, case, None)}
        runs = {name: lambda each=each: batches(each) for name, each in both.items()}
        return Job(runs, None, DALI_BATCHES * case["batch"], "images", threads=0, loops=False)
    made = (ffcv_loaders if case["loader"] == "ffcv" else torch_loaders)(source, case, policy)
    runs = {name: lambda each=each: epoch(each) for name, each in made.items()}
    count = len(made["mixing"]) * case["batch"]
    return Job(runs, None, count, "images", threads=0, clock="wall", loops=False)


def photographs() -> object:
    """The demo's photographs as a source of the loaders, made once."""
    try:
        from dali_msda.pipelines import datasets, demo_data
    except ImportError as error:
        raise Missing(f"pipelines: {error}") from error
    demo_data.make(PHOTOGRAPHS)
    return datasets.find(str(PHOTOGRAPHS / "train"))


def loader(source: object, case: dict[str, object], policy: msda.Policy | None):
    """Endless batches of the training program's DALI loader."""
    from dali_msda.pipelines.imagenet import TrainingLoader

    made = TrainingLoader(source, policy=policy, **_options(case))
    while True:
        yield from made


def batches(endless) -> None:
    """Takes batches and waits until nothing works any more."""
    for _ in range(DALI_BATCHES):
        next(endless)
    before = -1.0
    while (now := time.process_time()) - before > 1e-3:
        before = now
        time.sleep(0.02)


def epoch(batches_of_one) -> None:
    """Goes through an epoch."""
    for _ in batches_of_one:
        pass


def torch_loaders(source, case: dict[str, object], policy: msda.Policy) -> dict[str, object]:
    """The training program's loaders of torch, on as many processes as there are cores."""
    from dali_msda.pipelines.torch_imagenet import TrainingLoader

    how = _options(case) | {"threads": cores()}
    each = {"mixing": policy, "without": None}
    return {name: TrainingLoader(source, policy=one, **how) for name, one in each.items()}


def ffcv_loaders(source, case: dict[str, object], policy: msda.Policy) -> dict[str, Callable]:
    """FFCV's loader: with our mixing, without any, and with its own."""
    try:  # ours first: it keeps FFCV from setting torch to one thread
        from dali_msda.ffcv import Loader, Mixer, RandomResizedCrop
    except ImportError as error:
        raise Missing(f"ffcv: {error}") from error
    from ffcv import transforms as own
    from ffcv.fields.decoders import IntDecoder

    from dali_msda.pipelines.epochs import IMAGENET_MEAN, IMAGENET_STD
    from dali_msda.pipelines.write_beton import write_beton

    beton = PHOTOGRAPHS.with_suffix(".beton")
    if not beton.exists():
        write_beton(source.root, beton, write_mode="jpg")
    classes = len(source.classes)
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    normalise = own.NormalizeImage(mean, std, np.dtype(case["dtype"]).type)
    theirs = [own.RandomHorizontalFlip(), normalise, own.ToTensor(), own.ToTorchImage()]
    mixup = [own.RandomHorizontalFlip(), own.ImageMixup(1.0, True), *theirs[1:]]
    rows = [own.LabelMixup(1.0, True), own.ToTensor(), own.MixupToOneHot(classes)]
    mixer = Mixer(policy, classes)
    ours = mixer.images(mean=mean, std=std, mirror=0.5, layout="HWC", dtype=case["dtype"])
    ends = {
        "mixing": ([*ours, own.ToTorchImage()], mixer.targets()),
        "without": (theirs, [own.ToTensor(), own.Squeeze()]),
    }
    if case["policy"] == "mixup":
        ends["own"] = (mixup, rows)
    size, made = (case["size"], case["size"]), {}
    for name, (image, label) in ends.items():
        pipelines = {"image": [RandomResizedCrop(size), *image], "label": [IntDecoder(), *label]}
        made[name] = Loader(
            str(beton),
            batch_size=case["batch"],
            num_workers=cores(),
            pipelines=pipelines,
            drop_last=True,
        )
    return made


def _options(case: dict[str, object]) -> dict[str, object]:
    return {"batch_size": case["batch"], "size": case["size"], "dtype": case["dtype"]}


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["-k", "loaders", *sys.argv[1:]]))
