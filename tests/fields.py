"""Plans of FMix made by hand, for images, sequences and volumes, and their masks as arrays."""

import numpy as np

import dali_msda as msda
from dali_msda import cpu
from dali_msda.methods import METHODS

LAWS = {
    "paper": {},
    "paper, flat": {"decay": 0.5},
    "paper, steep": {"decay": 5.0},
    "some modes": {"modes": 3, "decay": 1.5},
    "legacy": {"legacy": True},
    "legacy, flat": {"legacy": True, "decay": 1.5},
}


def records(n, shape, *, lam=0.5, decay=3.0, modes=0, legacy=False, soft=0, seed=0):
    """Records of (depth, height, width) volumes, each with a field of its own."""
    plan = np.zeros(n, msda.PLAN_DTYPE)
    plan["version"], plan["method"], plan["sources"] = 1, METHODS["fmix"].code, 2
    plan["depth"], plan["height"], plan["width"] = shape
    plan["count"], plan["soft"] = np.rint(np.asarray(lam) * np.prod(shape)), soft
    plan["decay"], plan["modes"], plan["flags"] = decay, modes, legacy
    plan["outside"] = plan["weight"] = 1
    seeds = np.random.default_rng(seed).integers(0, 2**32, (n, 2), dtype=np.uint32)
    plan["field_seed"] = seeds
    return plan


def fields_of(plan, **how):
    """A row of memory for each record, with the masks of FMix: bits, or floats if one is ramped."""
    pixels = np.prod([int(plan[axis].flat[0]) for axis in ("depth", "height", "width")])
    words = pixels if plan["soft"].any() else (pixels + 31) // 32
    rows = np.full((plan.size, words), 0xCDCDCDCD, np.uint32)
    cpu.fields(rows, plan, **how)
    return rows


def masks(plan, **how):
    """Own pixels, ``(B, D, H, W)`` uint8; whatever lies past the last pixel must be 0."""
    shape = tuple(int(plan[axis][0]) for axis in ("depth", "height", "width"))
    bits = np.unpackbits(fields_of(plan, **how).view(np.uint8), axis=1, bitorder="little")
    pixels = int(np.prod(shape))
    assert not bits[:, pixels:].any()
    return bits[:, :pixels].reshape(len(plan), *shape)


def ramped(plan, **how):
    """Own weights, ``(B, D, H, W)`` float32, of records that are all softened."""
    assert plan["soft"].all()
    shape = tuple(int(plan[axis][0]) for axis in ("depth", "height", "width"))
    return fields_of(plan, **how).view(np.float32).reshape(len(plan), *shape)
