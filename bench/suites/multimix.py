"""Five interpolations of each pair in one pass, against five separate mixes of the batch.

Both draw their plans and write as many images. Apart, every image reads its sources anew and FMix
makes a field for it. Together, a pair is read once and has one field. ``bytes_times`` is how many
times as long as ``together`` ``apart`` would take if only the bytes that are moved counted. It is
not reached, because a processor that both reads and writes moves more bytes a second than one that
almost only writes. ``fill`` fills the output with a constant, which is the least that K outputs can
cost. What is saved for certain is the field of FMix. (Two other ways were tried: to keep the pair's
difference as floats in the first-level cache, and to keep it in registers for all K outputs.
Neither was faster throughout.)
"""

import ctypes
import itertools

import numpy as np

import dali_msda as msda
from bench.cases import Job
from bench.memory import normalisation, pixels
from bench.suites.blend import POLICIES

ONE_SOURCE = ("cutmix", "fmix", "resizemix")  # read per pixel

METHODS = ("mixup", "cutmix", "fmix", "hmix", "gmix", "resizemix")
COMMON = {"k": 5, "size": 224, "threads": 1}
HALF = {"dtype": "float16", "layout": "CHW"}
TABLES = {
    "quick": [{"method": ("mixup", "fmix"), **HALF, "batch": 32, **COMMON}],
    "default": [{"method": METHODS, **HALF, "batch": 32, **COMMON}],
    "all": [
        {"method": METHODS, "dtype": dtype, "layout": layout, "batch": (32, 256), **COMMON}
        for dtype, layout in (
            ("float16", "CHW"), ("float32", "CHW"), ("float32", "HWC"), ("uint8", "HWC")
        )
    ],
}  # fmt: skip


def prepare(case: dict[str, object]) -> Job:
    """K interpolations together, apart, and the fill of as much memory."""
    batch, size, k, policy = case["batch"], case["size"], case["k"], POLICIES[case["method"]]
    images, steps = pixels(batch, size, size, 3), itertools.count()
    options = {"layout": case["layout"], **normalisation(case["dtype"])}

    def mix(policy: msda.Policy, out: np.ndarray | None) -> np.ndarray:
        plan = msda.draw(policy, batch, size, size, seed=0, step=next(steps))
        return msda.blend(images, plan, out=out, threads=case["threads"], **options)

    out = mix(msda.MultiMix(policy, k), None)
    parts = out.reshape(k, batch, *out.shape[2:])  # the same memory
    runs = {
        "together": lambda: mix(msda.MultiMix(policy, k), out),
        "apart": lambda: [mix(policy, part) for part in parts],
        "fill": lambda: ctypes.memset(out.ctypes.data, 1, out.nbytes),
    }
    reads = k * (1 if case["method"] in ONE_SOURCE else 2)
    together, apart = (read * images.nbytes + out.nbytes for read in (2, reads))
    figures = {"bytes_times": round(apart / together, 3)}
    return Job(runs, together, k * batch, "images", figures=lambda medians: figures)
