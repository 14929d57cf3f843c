"""Blend bandwidth against a plain copy of as many bytes, the most any backend could reach.

    python -m bench.blend [-k TEXT] [--quick] >> bench/results/blend.jsonl

CutMix reads one source per output pixel, the others two; all write one. ``share`` is the blend's
bytes per second over those of a plain copy on as many threads in the same run, so 1.0 is the best
possible. ``of_mixup`` is its time over that of Mixup, which takes turns with it too. Output memory
is warm and reused: a fresh batch of 154 MB costs several times the kernel in page faults, which is
why ``out=`` exists. On one thread CPU time counts, on several wall time.
"""

import argparse
import itertools
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import dali_msda as msda
from bench.timing import measure, report, spread
from dali_msda import cpu

POLICIES = {
    "mixup": msda.Mixup(),
    "cutmix": msda.CutMix(),
    "hmix": msda.HMix(),
    "gmix": msda.GMix(),
}
READS = {"mixup": 2, "cutmix": 1, "hmix": 2, "gmix": 2}
OUTPUTS = [("float32", "CHW"), ("float32", "HWC"), ("float16", "CHW"), ("uint8", "HWC")]
BATCHES, SIZES = (256, 64), (224, 96)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def plain_copy(moved: int, threads: int, pool: ThreadPoolExecutor):
    """A copy that reads and writes ``moved`` bytes in all, on ``threads`` threads."""
    source, target = np.ones(moved // 2, np.uint8), np.zeros(moved // 2, np.uint8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    if threads == 1:
        return lambda: np.copyto(target, source)
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def run(case: dict[str, object], repeats: int, pool: ThreadPoolExecutor) -> None:
    """Measure one case and print its line."""
    batch, size, threads = case["batch"], case["size"], case["threads"]
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    plans = {
        name: msda.draw(POLICIES[name], batch, size, size, seed=0, step=0)
        for name in {"mixup", case["method"]}
    }
    mirror = generator.integers(0, 2, batch) if case["mirror"] else None
    options = {"dtype": case["dtype"], "layout": case["layout"], "mirror": mirror}
    if case["dtype"] != "uint8":
        options |= {"mean": MEAN, "std": STD}
    out = msda.blend(images, plans["mixup"], **options)
    moved = READS[case["method"]] * images.nbytes + out.nbytes

    def blending(plan: np.ndarray):
        return lambda: msda.blend(images, plan, out=out, threads=threads, **options)

    seconds = measure(
        {"copy": plain_copy(moved, threads, pool)}
        | {name: blending(plan) for name, plan in plans.items()},
        repeats,
        clock=time.process_time if threads == 1 else time.perf_counter,
    )
    blend, mixup, copy = (
        statistics.median(seconds[name]) for name in (case["method"], "mixup", "copy")
    )
    figures = {
        "ms": round(blend * 1e3, 3),
        "spread": round(spread(seconds[case["method"]]), 3),
        "moved_mb": round(moved / 1e6, 2),
        "gb_s": round(moved / blend / 1e9, 2),
        "copy_gb_s": round(moved / copy / 1e9, 2),
        "share": round(copy / blend, 3),
        "of_mixup": round(blend / mixup, 3),
        "images_s": round(batch / blend),
        "isa": cpu.isas()[-1],
    }
    report(case, figures)


def main() -> None:
    """Measure all cases, or those whose names contain a text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", help="only cases whose name contains this text")
    parser.add_argument("--quick", action="store_true", help="batch 256 at 224 px only")
    parser.add_argument("--repeats", type=int, default=15, help="turns that count (default 15)")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        for method, (dtype, layout), batch, size, mirror, threads in itertools.product(
            POLICIES, OUTPUTS, BATCHES, SIZES, (False, True), sorted({1, cores})
        ):
            if args.quick and (batch != 256 or size != 224 or mirror):
                continue
            case = {
                "bench": "blend",
                "method": method,
                "dtype": dtype,
                "layout": layout,
                "batch": batch,
                "size": size,
                "mirror": mirror,
                "threads": threads,
            }
            if args.k in " ".join(str(value) for value in case.values()):
                run(case, args.repeats, pool)


if __name__ == "__main__":
    main()
