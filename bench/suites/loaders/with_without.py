"""Loaders with mixing and without: JPEGs become mixed, normalised batches and soft labels.

A loader with mixing and the same loader without take turns, over crops of the demo's photographs.
``dali`` and ``torch`` are those of the training program. ``ffcv`` is FFCV's own ``Loader``: without
mixing it mirrors and normalises with FFCV's operations; both have the same crops of the same .beton
of JPEGs. side_by_side.py has the loaders of others.

For DALI, CPU time counts. A turn ends when the loader has prepared ahead all that it prepares, so
that no work of one loader is counted for the other. FFCV and torch's processes are given all cores,
and the time of whole epochs on the clock counts: ``times`` is the loader's throughput with mixing
over that of the other, turn by turn.

What was found with DALI: a blend costs a quarter to a third of what ``crop_mirror_normalize``
costs, so Mixup and CutMix make the loader a tenth faster. A mask of FMix costs about what that
gains. With FMix, throughput was 0.99 to 1.005 of that without mixing on an Intel Xeon. On an AMD
EPYC, which decodes faster, it was 0.95 to 1.01, and 0.98 on average of six runs: a mask takes
0.12 ms of the 1 ms of an image.

On a GPU all are the training program's loaders (on_gpu.py), whose batches end there. A turn is
an epoch on the clock. It begins and ends with nothing under way, neither on the device nor on the
CPU, except for the batches that DALI has prepared ahead. ``without`` is the same loader without a
policy. With torch, ``mixing`` mixes in the workers, which hand on floats; ``mixer`` mixes on the
GPU, to which bytes are copied; and ``mixes nothing`` does the same with a policy that never mixes.
An epoch repeats the photographs, for ``BATCHES`` batches or two for each core, so that they come
from memory.
"""

import functools

import dali_msda as msda
from bench import gpu_timing
from bench.cases import Job, cores
from bench.suites.blend import POLICIES
from bench.suites.loaders import on_gpu, ours
from bench.suites.loaders.photographs import beton, of_the_demo
from bench.suites.loaders.turns import epoch, settle, whole_epoch

ISOLATED = True
METHODS = ("mixup", "cutmix", "fmix")
LOADERS = ("dali", "ffcv", "torch")
COMMON = {"batch": 64, "size": 224, "dtype": "float32"}
CUDA = {"device": "cuda", "loader": LOADERS, "batch": 256, "size": 224}
TABLES = {
    "quick": [{**CUDA, "policy": "cutmix", "dtype": "float16"}],
    "default": [
        {"loader": ("dali", "torch"), "policy": METHODS, **COMMON},
        {"loader": "ffcv", "policy": "mixup", **COMMON},  # FFCV compiles for a minute each
        {**CUDA, "policy": METHODS, "dtype": "float16"},
        {**CUDA, "policy": "cutmix", "dtype": "float32"},
    ],
    "all": [
        {"loader": "ffcv", "policy": METHODS, **COMMON},
        {"loader": "dali", "policy": METHODS, **COMMON, "dtype": "float16"},
        {**CUDA, "policy": METHODS, "batch": (64, 256), "dtype": ("float16", "float32")},
    ],
}
DALI_BATCHES = 8  # of a turn, enough to see a difference of one per cent
BATCHES = 16  # of an epoch on a GPU, at least


def prepare(case: dict[str, object]) -> Job:
    """Batches with mixing and without: some of DALI's, or epochs."""
    policy = POLICIES[case["policy"]]
    if case["device"] == "cuda":
        return epochs_on_gpu(case, policy)
    source = of_the_demo()
    if case["loader"] == "dali":
        both = {"mixing": loader(source, case, policy), "without": loader(source, case, None)}
        runs = {name: lambda each=each: batches(each) for name, each in both.items()}
        return Job(runs, None, DALI_BATCHES * case["batch"], "images", threads=0, loops=False)
    made = (ffcv_loaders if case["loader"] == "ffcv" else torch_loaders)(source, case, policy)
    runs = {name: lambda each=each: epoch(each) for name, each in made.items()}
    count = len(made["mixing"]) * case["batch"]
    return Job(runs, None, count, "images", threads=0, clock="wall", loops=False)


def source_on_gpu(case: dict[str, object]) -> object:
    """What a loader reads whose batches end on a GPU; the epoch has whole batches only."""
    source = of_the_demo(max(BATCHES, 2 * cores()) * case["batch"])
    if case["loader"] != "ffcv":
        return source
    from dali_msda.pipelines.data import datasets

    return datasets.find(str(beton(source)))


def epochs_on_gpu(case: dict[str, object], policy: msda.Policy) -> Job:
    """Epochs of the training program's loader with mixing and without."""
    spot = gpu_timing.of_torch("the loaders' batches")
    source = source_on_gpu(case)
    opened = on_gpu.opened(source, spot, case)
    made = {"mixing": opened(policy), "without": opened(None)}
    if case["loader"] == "torch":
        with_bytes = on_gpu.opened_bytes(source, spot, case)
        made["mixer"] = with_bytes(policy)
        made["mixes nothing"] = with_bytes(on_gpu.UNMIXED)
    runs = {name: functools.partial(whole_epoch, each, spot.wait) for name, each in made.items()}
    count = len(made["mixing"]) * case["batch"]
    how = {"threads": 0, "clock": "wall", "loops": False, "whole": True}
    return Job(runs, None, count, "images", **how)


def loader(source: object, case: dict[str, object], policy: msda.Policy | None):
    """Endless batches of the training program's DALI loader."""
    from dali_msda.pipelines.loaders.dali import TrainingLoader

    made = TrainingLoader(source, policy=policy, **ours.settings(case))
    while True:
        yield from made


def batches(endless) -> None:
    """Takes batches and waits until nothing works any more."""
    for _ in range(DALI_BATCHES):
        next(endless)
    settle(0.02)


def torch_loaders(source, case: dict[str, object], policy: msda.Policy) -> dict[str, object]:
    """The training program's loaders of torch, on as many processes as there are cores."""
    each = {"mixing": policy, "without": None}
    return {name: ours.training_loader("torch", source, case, one) for name, one in each.items()}


def ffcv_loaders(source, case: dict[str, object], policy: msda.Policy) -> dict[str, object]:
    """FFCV's loader, with our mixing and without any."""
    path, classes = beton(source), len(source.classes)
    each = {"mixing": policy, "without": None}
    return {name: ours.ffcv_loader(path, classes, case, one) for name, one in each.items()}
