"""The saliency filter, milliseconds an image on one core, beside OpenCV's.

    python -m bench.saliency >> bench/results/saliency.jsonl

SaliencyMix runs it over every image of a batch, as a step before the blend.
"""

import argparse
import statistics

import numpy as np

from bench.timing import measure, report, spread
from dali_msda import cpu

SIZES, BATCH = (32, 128, 224, 256), 32


def by_opencv(images):
    """OpenCV's filter over a batch, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    found = cv2.saliency.StaticSaliencyFineGrained_create()
    return lambda: [found.computeSaliency(image) for image in images]


def run(size: int, dtype: str, repeats: int) -> None:
    """Measure one case and print its line."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    given, peaks = images.astype(dtype), np.empty((BATCH, 2), np.int32)
    candidates = {"ours": lambda: cpu.saliency(peaks, given, threads=1)}
    theirs = by_opencv(images)
    if theirs is not None and dtype == "uint8":
        candidates["opencv"] = theirs
    seconds = measure(candidates, repeats)
    ours, *other = (statistics.median(seconds[name]) for name in candidates)
    figures = {"ms_an_image": round(ours / BATCH * 1e3, 4), "images_s": round(BATCH / ours)}
    if other:
        figures["times_opencv"] = round(other[0] / ours, 1)
    figures |= {"spread": round(spread(seconds["ours"]), 3), "isa": cpu.isas()[-1]}
    report({"bench": "saliency", "size": size, "dtype": dtype, "threads": 1}, figures)


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="turns that count (default 15)")
    args = parser.parse_args()
    for size in SIZES:
        for dtype in ("uint8", "float32"):
            run(size, dtype, args.repeats)


if __name__ == "__main__":
    main()
