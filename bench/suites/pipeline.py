"""Mixing in a DALI pipeline against the ``crop_mirror_normalize`` that it replaces.

Pipelines over one batch of random bytes take turns, on one thread and without prefetching, and the
CPU time of the whole process counts. ``of_normalize`` is the cost of mixing over that of plain
normalising, each less that of the source alone: below 1, mixing is cheaper than not mixing.
"""

import numpy as np

import dali_msda as msda
from bench.cases import Job
from bench.memory import MEAN, STD, pixels
from bench.peers.on_dali import CLASSES, built, dali

ISOLATED = True
POLICIES = {
    "mixup": msda.Mixup(),
    "cutmix": msda.CutMix(),
    "fmix": msda.FMix(),
    "choice": msda.Choice([msda.CutMix(), msda.Mixup()]),
}
LARGE = {"batch": 256, "size": 224, "threads": 1}
TABLES = {
    "quick": [{"policy": "mixup", **LARGE}],
    "default": [{"policy": ("mixup", "cutmix", "choice"), **LARGE}],
    "all": [{"policy": tuple(POLICIES), **LARGE, "threads": (1, "all")}],
}


def prepare(case: dict[str, object]) -> Job:
    """The pipeline that mixes, the one that normalises, and their source alone."""
    fn, types, _ = dali()
    from dali_msda.dali import mix

    policy, batch, threads = POLICIES[case["policy"]], case["batch"], case["threads"]
    images, labels = pixels(batch, case["size"], case["size"], 3), np.arange(batch) % CLASSES
    how = {"mean": list(MEAN), "std": list(STD)}

    def mixing(pictures, classes):
        mirror = fn.random.coin_flip()
        return mix(pictures, classes, policy, num_classes=CLASSES, mirror=mirror, **how)

    def normalize(pictures, classes):
        mirror = fn.random.coin_flip()
        options = {"dtype": types.FLOAT, "output_layout": "CHW", "mirror": mirror, **how}
        return fn.crop_mirror_normalize(pictures, **options), classes

    lasts = {"mixing": mixing, "normalize": normalize, "source": lambda *both: both}
    runs = {name: built(images, labels, threads, last).run for name, last in lasts.items()}

    def figures(medians: dict[str, float]) -> dict[str, float]:
        mixes, plain = (medians[name] - medians["source"] for name in ("mixing", "normalize"))
        return {"of_normalize": round(mixes / plain, 3)}

    reads = {"mixup": 2}.get(case["policy"], 1)
    moved = images.nbytes * (reads + 4) + batch * CLASSES * 4
    return Job(runs, moved, batch, "images", threads=threads, figures=figures)
