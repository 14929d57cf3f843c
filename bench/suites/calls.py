"""What a call costs beside the bytes: drawing, checking, uploading a plan, launching.

``draw`` draws a plan on the CPU. ``launch`` blends images of 8 x 8 pixels, so that hardly anything
is left but the call. On a GPU its ``cpu_ms`` is the time to enqueue it, and ``ms`` the device's
time for the copy of the plan and the kernel. ``mix`` is a whole batch: plan, pixels and labels.
"""

import itertools

import numpy as np

import dali_msda as msda
from bench.cases import Job
from bench.memory import memory_of, normalisation, pixels
from bench.suites.blend import POLICIES

METHODS = ("mixup", "cutmix", "fmix")
TABLES = {
    "quick": [{"device": "cuda", "what": ("launch", "mix"), "method": "mixup", "threads": 0}],
    "default": [
        {"what": ("draw", "launch"), "method": "mixup", "threads": 1},
        {"device": "cuda", "what": ("launch", "mix"), "method": METHODS, "threads": 0},
    ],
    "all": [{"what": ("draw", "launch", "mix"), "method": METHODS, "threads": 1}],
}
BATCH, CLASSES, DTYPE = 256, 1000, "float16"


def prepare(case: dict[str, object]) -> Job:
    """The call, and on a GPU a graph of it."""
    policy, what, steps = POLICIES[case["method"]], case["what"], itertools.count()
    size = 8 if what == "launch" else 224

    def draw() -> np.ndarray:
        return msda.draw(policy, BATCH, size, size, seed=0, step=next(steps))

    if what == "draw":
        return Job({"draw": draw}, None, BATCH, "samples")
    memory = memory_of(case["device"])
    images, labels = memory.put(pixels(BATCH, size, size, 3)), memory.put(np.arange(BATCH))
    out, rows = (
        memory.empty((BATCH, 3, size, size), DTYPE),
        memory.empty((BATCH, CLASSES), "float32"),
    )
    how = {"out": out, "layout": "CHW", "threads": case["threads"], **normalisation(DTYPE)}

    def apply(plan: np.ndarray) -> None:
        msda.blend(images, plan, **how)
        if what == "mix":
            msda.targets(labels, plan, num_classes=CLASSES, out=rows)

    kept = draw()
    runs = {"planned": lambda: apply(kept), "called": lambda: apply(draw())}
    moved = BATCH * size * size * 3 * 3 + (BATCH * CLASSES * 4 if what == "mix" else 0)
    return Job(runs, moved, BATCH, "images", threads=1, direct=frozenset({"called"}))
