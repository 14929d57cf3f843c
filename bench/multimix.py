"""Five interpolations of each pair in one pass, against five separate mixes of the batch.

    python -m bench.multimix [-k TEXT] [--quick] >> bench/results/multimix.jsonl

Both draw their plans and write as many images. Apart, every image reads its sources anew and FMix
makes a field for it; together, a pair is read once and has one field. ``ratio`` is the time
together over the time apart, in CPU time of one thread; ``bytes_ratio`` is what it would be if
nothing but the bytes moved counted. It is not reached, because a processor that both reads and
writes moves more bytes a second than one that writes almost only: ``fill`` is the share of the time
that filling the output with a constant takes, the least that K outputs can cost. What is saved for
certain is the field of FMix. (Two further ways were tried: the pair's difference once as floats in
the first-level cache, and once in registers for all K outputs. Neither was faster throughout.)
"""

import argparse
import ctypes
import itertools
import statistics
import time

import numpy as np

import dali_msda as msda
from bench.timing import measure, report, spread

POLICIES = {
    "mixup": msda.Mixup(),
    "cutmix": msda.CutMix(),
    "fmix": msda.FMix(),
    "hmix": msda.HMix(),
    "gmix": msda.GMix(),
    "resizemix": msda.ResizeMix(),
}
OUTPUTS = [("float16", "CHW"), ("float32", "CHW"), ("float32", "HWC"), ("uint8", "HWC")]
BATCHES = (32, 256)  # pairs
K = 5
ONE_SOURCE = ("cutmix", "fmix", "resizemix")  # read per pixel
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def run(case: dict[str, object], repeats: int) -> None:
    """Measure one case and print its line."""
    batch, size, policy = case["batch"], case["size"], POLICIES[case["method"]]
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    options = {"dtype": case["dtype"], "layout": case["layout"]}
    if case["dtype"] != "uint8":
        options |= {"mean": MEAN, "std": STD}
    steps = itertools.count()

    def mix(policy: msda.Policy, out: np.ndarray | None) -> np.ndarray:
        plan = msda.draw(policy, batch, size, size, seed=0, step=next(steps))
        return msda.blend(images, plan, out=out, threads=1, **options)

    out = mix(msda.MultiMix(policy, K), None)
    parts = out.reshape(K, batch, *out.shape[2:])  # the same memory
    seconds = measure(
        {
            "together": lambda: mix(msda.MultiMix(policy, K), out),
            "apart": lambda: [mix(policy, part) for part in parts],
            "fill": lambda: ctypes.memset(out.ctypes.data, 1, out.nbytes),
        },
        repeats,
        time.process_time,
    )
    together, apart, fill = (statistics.median(taken) for taken in seconds.values())
    reads = K * (1 if case["method"] in ONE_SOURCE else 2)
    moved = [read * images.nbytes + out.nbytes for read in (2, reads)]
    figures = {
        "ms": round(together * 1e3, 3),
        "spread": round(spread(seconds["together"]), 3),
        "apart_ms": round(apart * 1e3, 3),
        "ratio": round(together / apart, 3),
        "bytes_ratio": round(moved[0] / moved[1], 3),
        "fill": round(fill / together, 3),
        "images_s": round(K * batch / together),
    }
    report(case, figures)


def main() -> None:
    """Measure all cases, or those whose names contain a text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", help="only cases whose name contains this text")
    parser.add_argument("--quick", action="store_true", help="32 pairs, float16 only")
    parser.add_argument("--repeats", type=int, default=15, help="turns that count (default 15)")
    args = parser.parse_args()
    cases = itertools.product(BATCHES, OUTPUTS, POLICIES)
    for batch, (dtype, layout), method in cases:
        if args.quick and (dtype, batch) != ("float16", 32):
            continue
        case = {"bench": "multimix", "method": method, "k": K, "dtype": dtype, "layout": layout}
        case |= {"batch": batch, "size": 224, "threads": 1}
        if args.k in " ".join(str(value) for value in case.values()):
            run(case, args.repeats)


if __name__ == "__main__":
    main()
