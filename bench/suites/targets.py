"""Soft labels of a batch: dense rows, or the labels and weights that say the same."""

import numpy as np

import dali_msda as msda
from bench.cases import Job, Mismatch
from bench.memory import memory_of

COMMON = {"batch": 256, "classes": 1000, "smoothing": 0.1}
TABLES = {
    "quick": [COMMON],
    "default": [{**COMMON, "classes": (10, 1000)}, {"device": "cuda", **COMMON}],
    "all": [
        {"device": device, "batch": (64, 256), "classes": (10, 1000, 21841), "smoothing": 0.1}
        for device in ("cpu", "cuda")
    ],
}


def prepare(case: dict[str, object]) -> Job:
    """Dense rows into warm memory, and compact ones."""
    batch, classes = case["batch"], case["classes"]
    memory = memory_of(case["device"])
    given = np.arange(batch) % classes
    labels = memory.put(given)
    plan = msda.draw(msda.CutMix(), batch, 224, 224, seed=0, step=0)
    rows = memory.empty((batch, classes), "float32")
    if case["device"] == "cpu":
        _check(given, plan, classes)
    runs = {
        "compact": lambda: msda.targets(labels, plan, compact=True),
        "dense": lambda: msda.targets(
            labels, plan, num_classes=classes, smoothing=case["smoothing"], out=rows
        ),
    }
    return Job(runs, 24 * batch, batch, "samples", direct=frozenset(runs))


def _check(labels: np.ndarray, plan: np.ndarray, classes: int) -> None:
    """The compact form spells out the dense rows."""
    names, weights = msda.targets(labels, plan, compact=True)
    spelt = np.zeros((len(labels), classes), np.float32)
    np.add.at(spelt, (np.arange(len(labels))[:, None], names), weights)
    apart = np.abs(spelt - msda.targets(labels, plan, num_classes=classes)).max()
    if apart > 1e-6:
        raise Mismatch(f"dense and compact targets differ by {apart}")
