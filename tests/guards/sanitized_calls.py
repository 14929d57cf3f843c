"""Calls of all kinds over a library with ASan and UBSan: ``-m tests.guards.sanitized_calls CASE``.

The process ends at the first report of a sanitizer.
"""

import functools
import itertools
import sys

import numpy as np

import dali_msda as msda
from dali_msda import build, comixup, puzzle
from dali_msda.backends import cpu
from tests.guards import sanitizers
from tests.support.doors import STORED, output_shape
from tests.support.variants import CASES, draw_any, make

SIZES = [(1, 1), (1, 9), (7, 1), (5, 33), (19, 24)]
OUTPUTS = [("uint8", kind) for kind in STORED] + [("float32", kind) for kind in list(STORED)[1:]]
HOSTILE = 4000


def use(isa):
    """Have all calls take one instruction set."""
    for name in ("Blend", "Fields", "Saliency"):
        kind = getattr(cpu, name)
        kind = getattr(kind, "func", kind)
        assert [field for field, _ in kind._fields_][-1] == "isa"
        setattr(cpu, name, _WithIsa(kind, isa))


class _WithIsa:
    def __init__(self, kind, isa):
        self.func, self.isa = kind, isa

    def __call__(self, *values, **named):
        made = self.func(*values, **named)
        made.isa = self.isa
        return made


def batch(shape, dtype, rng):
    if dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 30, shape)).astype(np.float32)


def valid():
    """Every method and output type, with layouts, sizes, channels and threads in turn."""
    rng = np.random.default_rng(0)
    turns = itertools.count()
    for case, (source, dtype) in itertools.product(CASES, OUTPUTS):
        turn = next(turns)
        (height, width), channels = SIZES[turn % len(SIZES)], (3, 1, 4, 2)[turn // 5 % 4]
        use(turn % 2)
        plan = draw_any(make(case), 5, height, width, seed=turn, step=0)
        images = batch((5, height, width, channels), source, rng)
        options = {"dtype": dtype, "threads": turn % 3, "layout": ("HWC", "CHW")[turn // 2 % 2]}
        if turn % 3 == 0:
            options["mirror"] = rng.random(5) < 0.5
        if dtype != "uint8" and turn % 2:
            options |= {"mean": 100.0, "std": [60.0] * channels}
        out = np.empty(output_shape(images, options["layout"]), STORED[dtype])
        msda.blend(images, plan, out=out, **options)
        msda.mask(plan, height, width)
    others()


def others():
    """In place, planes, sequences, volumes, interpolations, saliency and labels."""
    rng = np.random.default_rng(1)
    for isa, dtype in itertools.product(sanitizers.ISAS, ("uint8", "float32")):
        use(isa)
        images = batch((6, 11, 35, 3), dtype, rng)
        for kind in (msda.Mixup, msda.CutMix, msda.FMix, msda.HMix, msda.GMix):
            plan = msda.draw(kind(scope="pair"), 6, 11, 35, seed=3, step=isa)
            msda.blend(images, plan, out=images, mirror=[0, 1] * 3, threads=2)
            planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
            msda.blend(planes, plan, layout="CHW")
        for shape in ((40,), (3, 5, 9)):
            for policy in (msda.Mixup(n=3), msda.FMix(), msda.FMix(max_soft=0.4)):
                plan = msda.draw(policy, 4, shape=shape, seed=1, step=0)
                msda.blend(batch((4, *shape, 2), dtype, rng), plan)
        for policy in (msda.CutMix(), msda.FMix(), msda.GMix(), msda.ResizeMix()):
            plan = msda.draw(msda.MultiMix(policy, 3), 6, 11, 35, seed=1, step=0)
            msda.blend(images, plan, threads=2)
        grey = np.ascontiguousarray(np.clip(images, 0, 255))
        msda.saliency(grey, maps=True, mirror=[0, 1] * 3)
        msda.saliency(np.ascontiguousarray(grey[..., :1]), threads=2)
        msda.targets(rng.integers(0, 7, 6), plan, num_classes=7, smoothing=0.1)
        msda.targets(rng.random((6, 7)).astype(np.float32), plan)
        msda.targets(rng.integers(0, 7, 6), plan, compact=True)
        puzzles(images, rng)
        comixups(images, rng)


def comixups(images, rng):
    """Co-Mixup of odd batches, of maps smaller than a window, HWC and planes."""
    for blocks, part, (height, width) in [(2, 3, (4, 6)), (4, 1, (16, 8)), (16, 64, (16, 32))]:
        given = np.resize(images, (7, height, width, 3))
        planes = np.ascontiguousarray(given.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
        maps = (rng.random((7, height, width)) ** 9).astype(np.float32)
        settings = comixup.CoMixupSettings(part=part, sweeps=3, starts=2, stride=3)
        for array, threads in ((given, 1), (planes, 2)):
            found = comixup.solve(maps, blocks=blocks, settings=settings, threads=threads)
            comixup.blend(array, found, threads=threads)
            comixup.blend(array, found, dtype="bfloat16")


def puzzles(images, rng):
    """Puzzle Mix of images whose sides its blocks divide, HWC and planes."""
    for blocks, places, levels in [(2, 2, 2), (5, 10, 4), (16, 16, 3)]:
        height, width = 2 * places, 3 * places
        given = np.resize(images, (6, height, width, 3))
        planes = np.ascontiguousarray(given.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
        maps = (rng.random((6, height, width)) ** 9).astype(np.float32)
        settings = puzzle.PuzzleSettings(places=places, cell=1, levels=levels, move_cost=0.05)
        plan = msda.draw(msda.MultiMix(msda.Mixup(prob=0.9), 3), 6, height, width, seed=1, step=0)
        for array, threads in ((given, 1), (planes, 2)):
            how = dict(blocks=blocks, settings=settings, threads=threads)
            found = puzzle.solve(array, maps, plan, **how)
            puzzle.blend(array, found, threads=threads)
            puzzle.blend(array, found, dtype="bfloat16")


def damage(plan, rng):
    """Change some bytes, or whole fields, of some records."""
    for _ in range(rng.integers(1, 4)):
        record = plan[rng.integers(len(plan))]
        name = plan.dtype.names[rng.integers(len(plan.dtype.names))]
        values = [0, 1, -1, 2, 7, 2**31 - 1, -(2**31), np.nan, np.inf, 0.5, 1e30, rng.random()]
        with np.errstate(all="ignore"):
            if rng.random() < 0.5:
                plan.view(np.uint8)[rng.integers(plan.nbytes)] = rng.integers(256)
            else:
                value = np.asarray(values[rng.integers(len(values))], np.float64)
                record[name] = (
                    np.nan_to_num(value).astype(plan.dtype[name].base)
                    if (plan.dtype[name].base.kind != "f")
                    else value
                )


def hostile():
    """Damaged records: each is refused, or used without a report."""
    rng = np.random.default_rng(2)
    refused = 0
    for turn in range(HOSTILE):
        use(turn % 2)
        case = CASES[turn % len(CASES)]
        plan = draw_any(make(case), 3, 6, 17, seed=turn, step=0)
        damage(plan, rng)
        calls = [
            functools.partial(msda.blend, np.zeros((3, 6, 17, 3), np.uint8), plan),
            functools.partial(msda.mask, plan, 6, 17),
            functools.partial(msda.targets, [0, 1, 2], plan, num_classes=3),
        ]
        try:
            calls[turn % 3]()
        except ValueError:
            refused += 1
    assert HOSTILE / 4 < refused < HOSTILE, refused


def planted():
    """An output that is one byte short: the guard must see it."""
    plan = msda.draw(msda.Mixup(), 1, 1, 64, seed=0, step=0)
    out = np.empty(64 * 3 - 1, np.uint8)
    outs = np.lib.stride_tricks.as_strided(out, (1, 1, 64, 3), (192, 192, 3, 1))
    use(1)
    cpu.blend(outs, np.ones((1, 1, 64, 3), np.uint8), plan, out_dtype="uint8", layout="HWC")


if __name__ == "__main__":
    found = sanitizers.address_library()
    build.library = lambda name: found
    cpu.library.cache_clear()
    assert cpu.library()._name == str(found)
    {"valid": valid, "hostile": hostile, "planted": planted}[sys.argv[1]]()
    print("no report")
