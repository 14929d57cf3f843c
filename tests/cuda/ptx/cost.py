"""How many instructions a launch takes, counted by running its PTX.

The unit is an instruction of a warp, which counts once however many of its threads take it; threads
that have parted take theirs one after the other. PTX is not machine code: an instruction counts as
about as many as ptxas makes of it for sm_90 (:func:`weight`).
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tests.cuda import emulation

# Those of 64 bits, on a machine that adds and compares 32.
PAIRS = ("setp", "add", "sub", "and", "or", "xor", "shl", "shr", "selp", "min", "max")
DIVISIONS = {"u32": 17, "s32": 21, "f32": 9, "u64": 60, "f64": 20}


@dataclass
class Cost:
    """What launches took together."""

    warps: float = 0.0  # instructions
    threads: float = 0.0  # instructions of single threads
    accesses: Counter = field(default_factory=Counter)  # of threads to global memory: ("ld", bytes)


def cost(code, run):
    """The :class:`Cost` of the launches of this code in ``run()``, by entry point."""
    recorder = Recorder(code)
    before, emulation.library = emulation.library, lambda: recorder
    try:
        run()
    finally:
        emulation.library = before
    return {name: _cost(recorder.code, name) for name in recorder.launched}


class Recorder:
    """Entry points that are counted from their first launch on."""

    def __init__(self, code):
        self.code, self.launched = code, set()

    def __getattr__(self, name):
        entry = name.removeprefix("run_")
        if entry not in self.launched:
            self.launched.add(entry)
            _counts(self.code, entry, on=True)
        return getattr(self.code, name)


def _counts(code, entry, *, on):
    """How many threads and how many warps took each run of instructions since the last call."""
    counts = np.zeros((2, len(code.entry(entry).blocks)), np.uint64)
    getattr(code.library(entry), f"count_{entry}")(
        *(np.ctypeslib.as_ctypes(row) for row in counts), int(on)
    )
    return counts


def _cost(code, entry):
    found = Cost()
    blocks = code.entry(entry).blocks
    for block, threads, warps in zip(blocks, *_counts(code, entry, on=False), strict=True):
        if not threads:
            continue
        each = sum(weight(step.opcode) for step in block)
        found.threads += int(threads) * each
        found.warps += int(warps) * each
        for step in block:
            if access := width(step.opcode):
                found.accesses[access] += int(threads)
    return found


def width(opcode):
    """``("ld", 16)`` for a load of 16 bytes from global memory, as for one from anywhere."""
    kind, *rest = opcode.split(".")
    if kind not in ("ld", "st") or {"param", "shared"} & set(rest):
        return None
    vector = next((int(part[1]) for part in rest if part in ("v2", "v4", "v8")), 1)
    return kind, vector * int(rest[-1][1:]) // 8


def weight(opcode):
    """About how many machine instructions ptxas makes of one of PTX for sm_90."""
    kind, *rest = opcode.split(".")
    own = rest[-1] if rest else ""
    if kind == "mov":
        return 0.3  # most name a register anew
    if kind == "cvta" or (kind == "cvt" and {"32", "64"} >= {part[1:] for part in rest}):
        return 0.5 if not own.startswith("f") and not rest[0].startswith("f") else 1
    if opcode == "neg.f32":
        return 0  # a part of what reads it
    if kind in ("div", "rem"):
        return DIVISIONS.get(own, 20)
    if kind in ("sqrt", "rcp"):
        return 8
    if own[1:] == "64" and own[0] in "sub":
        return (
            4 if opcode.startswith("mul.lo") else 3 if kind == "bfi" else 2 if kind in PAIRS else 1
        )
    return 0.5 if own == "pred" or "param" in rest else 1
