"""How time grows with the batch, the pixels, the classes and the interpolations.

A case measures points along one axis, by turns, and fits time = c * x ** exponent through them by
least squares of the logarithms. An exponent of 1 says that time grows in proportion, and less that
something is paid once.
"""

import itertools
import math

import numpy as np

import dali_msda as msda
from bench.cases import Job, clock_for
from bench.memory import MEAN, STD, Host, pixels
from bench.suites.blend import POLICIES

METHODS = ("mixup", "cutmix", "fmix")
POINTS = {  # of each axis, beside the others as in BASE
    "batch": (8, 16, 32, 64, 128, 256),
    "size": (32, 64, 128, 256, 512),
    "classes": (10, 100, 1000, 10000),
    "k": (1, 2, 4, 8),
}
BASE = {"batch": 32, "size": 224, "classes": 1000, "k": 1}
TABLES = {
    "quick": [],
    "default": [
        {"axis": ("batch", "size"), "method": ("mixup", "fmix"), "threads": 1},
        {"axis": ("classes", "k"), "method": "cutmix", "threads": 1},
    ],
    "all": [{"axis": tuple(POINTS), "method": METHODS, "threads": (1, "all")}],
}


def prepare(case: dict[str, object]) -> Job:
    """Whole mixes to float16 CHW, one at each point of the axis; along ``classes`` only labels."""
    axis, policy, threads = case["axis"], POLICIES[case["method"]], case["threads"]
    runs = {
        str(point): point_at({**BASE, axis: point}, axis, policy, threads) for point in POINTS[axis]
    }
    xs = [point**2 if axis == "size" else point for point in POINTS[axis]]

    def figures(medians: dict[str, float]) -> dict[str, float]:
        return {"exponent": exponent(xs, list(medians.values()))}

    return Job(runs, threads=threads, clock=clock_for(threads), figures=figures)


def point_at(sizes: dict[str, int], axis: str, policy: msda.Policy, threads: int):
    """What mixes a batch of these sizes."""
    batch, size, k = (sizes[name] for name in ("batch", "size", "k"))
    images, labels, steps = pixels(batch, size, size, 3), np.arange(batch) % 10, itertools.count()
    several = policy if k == 1 else msda.MultiMix(policy, k)
    if axis == "classes":
        plan = msda.draw(policy, batch, size, size, seed=0, step=0)
        rows = Host().empty((batch, sizes["classes"]), "float32")
        return lambda: msda.targets(labels, plan, num_classes=sizes["classes"], out=rows)
    shape = (batch, *(() if k == 1 else (k,)), 3, size, size)
    how = {"out": Host().empty(shape, "float16"), "dtype": "float16", "layout": "CHW"}
    how |= {"mean": MEAN, "std": STD, "num_classes": sizes["classes"], "threads": threads}
    return lambda: msda.mix(images, labels, several, seed=0, step=next(steps), **how)


def exponent(xs: list[float], seconds: list[float]) -> float:
    """Slope of the line through the logarithms."""
    logs = [[math.log(value) for value in values] for values in (xs, seconds)]
    return round(float(np.polyfit(*logs, 1)[0]), 3)
