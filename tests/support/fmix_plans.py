"""Plans of FMix made by hand, for images, sequences and volumes, and their masks as arrays."""

import numpy as np

import dali_msda as msda
from dali_msda.backends import cpu
from dali_msda.policy import METHODS
from tests.reference import plain_kernels

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


SHARED = {  # policies whose records may have one mask
    "batch": msda.FMix(scope="batch"),
    "pair": msda.FMix(scope="pair"),
    "pair, flip": msda.FMix(scope="pair", partner="flip"),
    "pair, some": msda.FMix(scope="pair", prob=0.6),
    "batch, softened": msda.FMix(scope="batch", max_soft=0.4),
    "pair, softened": msda.FMix(scope="pair", max_soft=0.4),
    "batch, legacy": msda.FMix(scope="batch", law="legacy"),
    "choice": msda.Choice([msda.FMix(scope="batch"), msda.Mixup(n=3), msda.FMix(scope="pair")]),
    "interpolations": msda.MultiMix(msda.FMix(scope="batch"), 3),
    "interpolations of pairs": msda.MultiMix(msda.FMix(scope="pair", max_soft=0.3), 3),
    "shared interpolations": msda.MultiMix(msda.FMix(scope="batch"), 3, share="batch"),
}


def owners_of(plan):
    """Of each record the first that has the same mask, or itself."""
    what = ["count", "soft", "decay", "modes", "flags", "field_seed"]
    flat, found = plan.reshape(-1), {}
    keys = [b"".join(record[name].tobytes() for name in what) for record in flat]
    fmix = flat["method"] == METHODS["fmix"].code
    return np.array([found.setdefault(key, i) if fmix[i] else i for i, key in enumerate(keys)])


def fields_of(plan, *, phases=None, **how):
    """A row of memory for each record, with the masks of FMix: bits, or floats if one is ramped."""
    pixels = np.prod([int(plan[axis].flat[0]) for axis in ("depth", "height", "width")])
    words = pixels if plan["soft"].any() else (pixels + 31) // 32
    rows = np.full((plan.size, words), 0xCDCDCDCD, np.uint32)
    if phases is None:
        cpu.fields(rows, plan, **how)
    else:
        plain_kernels.fields(rows, plan, *phases)
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
