"""Loaders end to end: JPEGs are read, decoded, cropped, mirrored, mixed, normalised and labelled.

The loader of the training program with mixing and the same loader without it take turns over the
same crops of the same photographs (pipelines/demo_data.py). CPU time counts: a turn ends when the
loader has prepared ahead all that it prepares, so that no work of one is counted for the other.
"""

import time
from pathlib import Path

from bench.cases import Job, Missing

ISOLATED = True
PHOTOGRAPHS = Path(__file__).parent.parent / "build" / "bench" / "jpegs"
POLICIES = ("mixup", "cutmix", "fmix")
COMMON = {"loader": "dali", "batch": 64, "batches": 2, "size": 224, "dtype": "float32"}
TABLES = {
    "quick": [],
    "default": [{"policy": POLICIES, **COMMON}],
    "all": [{"policy": POLICIES, **COMMON, "dtype": ("float32", "float16")}],
}


def prepare(case: dict[str, object]) -> Job:
    """A few batches with mixing and without."""
    source = photographs()
    loaders = {
        "mixing": loader(source, case, case["policy"]),
        "without": loader(source, case, None),
    }
    runs = {name: lambda each=each: batches(each, case) for name, each in loaders.items()}
    count = case["batch"] * case["batches"]
    return Job(runs, None, count, "images", threads=0, loops=False)


def photographs() -> object:
    """The demo's photographs as a source of the loaders, made once."""
    try:
        from dali_msda.pipelines import datasets, demo_data
    except ImportError as error:
        raise Missing(f"pipelines: {error}") from error
    demo_data.make(PHOTOGRAPHS)
    return datasets.find(str(PHOTOGRAPHS / "train"))


def loader(source: object, case: dict[str, object], policy: str | None):
    """Endless batches of the training program's loader."""
    from dali_msda.pipelines.config import policy_from_dict
    from dali_msda.pipelines.imagenet import TrainingLoader

    made = TrainingLoader(
        source,
        policy=policy and policy_from_dict(policy),
        batch_size=case["batch"],
        size=case["size"],
        dtype=case["dtype"],
    )
    while True:
        yield from made


def batches(endless, case: dict[str, object]) -> None:
    """Takes batches and waits until nothing works any more."""
    for _ in range(case["batches"]):
        next(endless)
    settle()


def settle() -> None:
    """Wait until no thread of this process works."""
    before = -1.0
    while (now := time.process_time()) - before > 1e-3:
        before = now
        time.sleep(0.02)
