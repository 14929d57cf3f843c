"""The whole job of a batch, ours and that of the libraries in use today.

uint8 HWC in; normalised, mixed float32 CHW and soft labels ``(B, 1000)`` out. Peers are imported
from their own packages and do what their documentation says; a peer that is not installed is
reported with the reason. Before anything is timed, the output of both sides is checked: pixels
against labels, and against our kernels (checks.py). Ours draws a plan of its own for every sample,
even where a peer draws one for the batch.

By default, glibc hands every large block back to the system when it is freed, and the next batch
pays for its pages again, which is nearly half of a peer's time. ``tuned`` keeps the memory
(``MALLOC_MMAP_MAX_=0``, ``MALLOC_TRIM_THRESHOLD_`` large). That favours the peers, because ours
writes to memory that it was given. ``ours fresh`` is ours without that memory. The peers most in
use are measured both ways, and with ``--all`` every peer is.

Ours takes little more time than the writing of its output does (suites/blend.py). So the ratios
depend on how the speed of a machine's cores compares with that of its memory: timm's Mixup per
sample, tuned, took 17.6 times as long as ours on an Intel Xeon, and 10.3 times on an AMD EPYC,
whose cores are faster.
"""

import itertools

import numpy as np

import dali_msda as msda
from bench import gpu_timing
from bench.cases import Job, clock_for
from bench.memory import memory_of, normalisation, pixels
from bench.peers import checks, on_dali, on_torch
from bench.peers.on_dali import CLASSES
from bench.suites import blend

ISOLATED = True
CHECKED = 16  # samples
MAKERS = {
    "timm.Mixup": on_torch.timm_mixup,
    "timm.Mixup+fused": on_torch.fused_then_timm,
    "timm.FastCollateMixup": on_torch.timm_collate,
    "torchvision.v2": on_torch.torchvision_v2,
    "kornia.V2": on_torch.kornia_v2,
    "ffcv": on_torch.ffcv_mixup,
    "dali.operators": on_dali.by_hand,
    "keras_cv.FourierMix": on_dali.keras_fourier_mix,
    "released.FMix": on_torch.released_fmix,
    "released.Mixup": on_torch.released_mixup,
}
ROUNDED = ("timm.FastCollateMixup", "ffcv")  # to bytes, before they normalise
METHODS = ("mixup", "cutmix", "fmix", "hmix", "gmix")  # those that the checks can tell
POLICIES = {name: blend.POLICIES[name] for name in METHODS}

TIMM = ("timm.Mixup", "timm.FastCollateMixup")
SCOPES = ("batch", "pair", "sample")
ROWS = [  # the peers most in use, measured with both allocators
    {"peer": TIMM, "method": "mixup", "scope": SCOPES},
    {"peer": TIMM, "method": "cutmix", "scope": "sample"},
    {"peer": "torchvision.v2", "method": ("mixup", "cutmix"), "scope": "batch"},
]
ONCE = [  # measured with the default allocator
    {"peer": "kornia.V2", "method": "mixup", "scope": "sample"},
    {"peer": "ffcv", "method": "mixup", "scope": ("batch", "sample")},
    {"peer": "dali.operators", "method": "mixup", "scope": ("batch", "sample")},
    {"peer": "keras_cv.FourierMix", "method": "fmix", "scope": "sample"},
    {"peer": "released.FMix", "method": "fmix", "scope": ("batch", "sample")},
    {"peer": "released.Mixup", "method": ("hmix", "gmix"), "scope": "batch"},
]
MORE = [  # with `--all` only
    {"peer": TIMM, "method": "cutmix", "scope": ("batch", "pair")},
    {"peer": "kornia.V2", "method": "cutmix", "scope": "sample"},
]
LARGE = {"batch": 256, "size": 224, "dtype": "float32"}
BOTH = {"allocator": ("default", "tuned")}
CUDA = {"device": "cuda", "threads": 0, "allocator": "default"}
QUICK = [
    {"peer": "timm.Mixup", "method": "mixup", "scope": "sample"},
    {"peer": "torchvision.v2", "method": "mixup", "scope": "batch"},
]
ON_GPU = [  # peers that mix where the batch is
    {"peer": "timm.Mixup", "method": ("mixup", "cutmix"), "scope": SCOPES},
    {"peer": "torchvision.v2", "method": ("mixup", "cutmix"), "scope": "batch"},
    {"peer": "kornia.V2", "method": ("mixup", "cutmix"), "scope": "sample"},
]
TABLES = {
    "quick": [{**row, **LARGE, "threads": 1, **BOTH} for row in QUICK],
    "default": [{**row, **LARGE, "threads": 1, **BOTH} for row in ROWS]
    + [{**row, **LARGE, "threads": 1, "allocator": "default"} for row in ONCE]
    + [{**row, **LARGE, "threads": "all", **BOTH} for row in QUICK]
    + [
        {"peer": ("timm.Mixup", "timm.Mixup+fused"), "method": "mixup", "scope": "sample"}
        | {"batch": 256, "size": 224, "dtype": ("float16", "float32")}
        | CUDA,
        {"peer": ("torchvision.v2", "kornia.V2"), "method": "mixup"}
        | {"scope": "batch", **LARGE, **CUDA},
    ],
    "all": [
        {**row, "batch": (64, 256), "size": (32, 224), "dtype": "float32"}
        | {"threads": (1, "all"), **BOTH}
        for row in ROWS + ONCE + MORE
    ]
    + [{**row, **LARGE, **CUDA} for row in ON_GPU],
}


def prepare(case: dict[str, object]) -> Job:
    """Ours and the peer's, once both have been checked on a few samples."""
    if case["device"] == "cuda":
        gpu_timing.of_torch("the peers")
    make, method = MAKERS[case["peer"]], case["method"]
    sides = {"ours": ours, case["peer"]: make}
    if case["peer"] == "dali.operators":
        sides["ours"] = on_dali.ours
    few = checks.samples(CHECKED, case["size"], case["size"])
    classes = np.arange(CHECKED)
    if case["dtype"] == "float32":  # float16 is the same work, but too coarse to check
        for name, side in sides.items():
            made = [to_numpy(one) for one in side(few, classes, case)()]
            checks.check(few, method, *made, rounded=name in ROUNDED)
    batch, threads = case["batch"], case["threads"]
    images, labels = pixels(batch, case["size"], case["size"], 3), np.arange(batch) % CLASSES
    runs = {name: side(images, labels, case) for name, side in sides.items()}
    direct = frozenset(runs)
    if case["device"] == "cuda":  # the device's work alone, as a graph that repeats its plan
        runs["ours replayed"] = ours(images, labels, case)
    elif case["peer"] != "dali.operators":
        runs["ours fresh"] = ours(images, labels, case, fresh=True)
    width = np.dtype(case["dtype"]).itemsize
    reads = 1 if method in ("cutmix", "fmix") or case["device"] == "cuda" else 2
    moved = images.nbytes * (reads + width) + batch * CLASSES * 4
    clock = clock_for(threads)
    return Job(runs, moved, batch, "images", threads=threads, clock=clock, direct=direct)


def ours(images: np.ndarray, labels: np.ndarray, case: dict[str, object], fresh: bool = False):
    """`msda.mix` with a new plan for every batch, drawn per sample, into memory that is kept."""
    memory, steps = memory_of(case["device"]), itertools.count()
    batch, height, width, channels = images.shape
    there, classes, policy = memory.put(images), memory.put(labels), POLICIES[case["method"]]
    options = {"layout": "CHW", **normalisation(case["dtype"]), "threads": case["threads"]}
    if not fresh:
        options["out"] = memory.empty((batch, channels, height, width), case["dtype"])
    return lambda: msda.mix(
        there, classes, policy, seed=0, step=next(steps), num_classes=CLASSES, **options
    )


def to_numpy(array: object) -> np.ndarray:
    """What a side returned, on the CPU."""
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)
