"""Recorded plans and pixels: a seed means the same on every machine and in every version.

A change of tests/vectors/*.txt breaks the reproducibility of every training run made before it. If
it is meant: ``python -m tests.plan.test_vectors`` from the root of the project writes them anew.
"""

import math
import zlib
from pathlib import Path

import numpy as np
import pytest

import dali_msda as msda
from tests.reference.plain_kernels import FUNCTIONS, maths
from tests.support.variants import draw_any

FOLDER = Path(__file__).parents[1] / "vectors"
KEY = {"seed": 2**40 + 5, "step": 1000, "rank": 3}
POLICIES = [
    msda.Mixup(alpha=0.2),
    msda.Mixup(n=4, alpha=0.5, partner="derangement"),
    msda.Mixup(scope="pair", alpha=0.01),
    msda.Mixup(scope="batch", partner="roll", alpha=100.0),
    msda.CutMix(partner="flip", prob=0.5),
    msda.CutMix(box="inside", alpha=0.3),
    msda.CutMix(box="wrap", scope="pair"),
    msda.CutMix(minmax=(0.2, 0.8)),
    msda.Choice([msda.Mixup(), msda.CutMix(), msda.CutMix(box="wrap")], weights=[1, 2, 3]),
    msda.FMix(),
    msda.FMix(law="legacy", rounding="coin", alpha=0.2),
    msda.FMix(max_soft=0.3, rounding="stochastic", scope="pair"),
    msda.FMix(reformulate=True, modes=5, decay=1.7),
    msda.HMix(),
    msda.HMix(gamma=0.2, box="wrap"),
    msda.HMix(mode="nominal", box="inside", r=0.75),
    msda.GMix(),
    msda.GMix(mode="paper"),
    msda.GMix(mode="exact", alpha=0.5),
    msda.ResizeMix(),
    msda.Cutout(),
    msda.SaliencyMix(),
    msda.SaliencyMix(box="wrap", scope="batch"),
]
OUTPUTS = [
    {"dtype": "uint8"},
    {"dtype": "float32", "mean": [124, 116, 104], "std": [58, 57, 57], "layout": "CHW"},
    {"dtype": "float16", "mean": 128, "std": 64, "mirror": [0, 1, 1, 0, 1]},
    {"dtype": "bfloat16", "mean": 128, "std": 64},
]


def plan_lines():
    """One line per record: floats in hexadecimal, to the bit."""
    for policy in POLICIES:
        yield repr(policy)
        for p in draw_any(policy, 5, 33, 47, **KEY):
            sources = [p["own"], p["partner"], *p["extra"]]
            weights = [p["weight"], p["partner_weight"], *p["extra_weight"], p["lam"]]
            box = [p[name] for name in ("y0", "x0", "y1", "x1")]
            whole = [p["method"], p["sources"], p["leaf"], *sources, *box]
            if p["method"] > 2:
                whole += [p["count"], p["soft"], *p["field_seed"], *p["point"]]
                weights += [p["inside"], p["outside"], *p["falloff"], p["decay"]]
            yield " ".join([*map(str, whole), *(float(w).hex() for w in weights)])


def pixel_lines():
    """Checksums of what is mixed from a pattern of bytes, and of the same as floats."""
    count = np.arange(5 * 33 * 47 * 3, dtype=np.uint64)
    images = (count * 2654435761 >> 11).astype(np.uint8).reshape(5, 33, 47, 3)
    for policy in POLICIES:
        plan = draw_any(policy, 5, 33, 47, **KEY)
        sums = [zlib.crc32(msda.blend(images, plan, **options).tobytes()) for options in OUTPUTS]
        sums.append(zlib.crc32(msda.blend(images.astype(np.float32) / 255, plan).tobytes()))
        yield " ".join(f"{value:08x}" for value in sums)


VOLUMES = {
    (61,): [msda.FMix(), msda.FMix(law="legacy"), msda.Mixup(n=3)],
    (6, 7, 9): [msda.FMix(), msda.FMix(law="legacy", decay=2.0), msda.FMix(max_soft=0.3)],
}


def volume_lines():
    """Checksums of the records, masks and pixels of sequences and volumes."""
    for shape, policies in VOLUMES.items():
        count = np.arange(5 * math.prod(shape) * 3, dtype=np.uint64)
        images = (count * 2654435761 >> 11).astype(np.uint8).reshape(5, *shape, 3)
        for policy in policies:
            plan = msda.draw(policy, 5, shape=shape, **KEY)
            made = [plan, msda.mask(plan, shape=shape)]
            made += [msda.blend(images, plan, **options) for options in OUTPUTS]
            yield " ".join(f"{zlib.crc32(array.tobytes()):08x}" for array in made)


def maths_lines():
    """exp, log, sin and cos of some floats, to the bit."""
    values = np.geomspace(1e-3, 80, 40).astype(np.float32)
    for function, sign in zip(FUNCTIONS, (-1, 1, 1, -1), strict=True):
        yield " ".join(float(value).hex() for value in maths(function, sign * values))


RECORDED = {
    "plans": plan_lines,
    "pixels": pixel_lines,
    "volumes": volume_lines,
    "maths": maths_lines,
}


@pytest.mark.parametrize("name", RECORDED)
def test_nothing_has_changed(name):
    assert list(RECORDED[name]()) == (FOLDER / f"{name}.txt").read_text().splitlines()


if __name__ == "__main__":
    for name, lines in RECORDED.items():
        (FOLDER / f"{name}.txt").write_text("\n".join(lines()) + "\n")
