"""Mixing in a DALI pipeline against the ``crop_mirror_normalize`` that it replaces.

    python -m bench.pipeline >> bench/results/pipeline.jsonl

Pipelines over one batch of random bytes, on one thread and without prefetching, take turns; CPU
time of the whole process counts. ``cost_ms`` is a pipeline's time less that of the source alone;
``of_normalize`` compares it with the cost of plain normalising: below 1, mixing is cheaper than not
mixing.
"""

import argparse
import statistics
import time

import numpy as np
from nvidia.dali import fn, pipeline_def, types

import dali_msda as msda
from bench.timing import REPEATS, measure, report, spread
from dali_msda.dali import mix

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
POLICIES = {
    "mixup": msda.Mixup(),
    "cutmix": msda.CutMix(),
    "choice": msda.Choice([msda.CutMix(), msda.Mixup()]),
}


def make(batch: int, size: int, last):
    """A pipeline whose images and labels go through ``last``."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    labels = generator.integers(0, 1000, (batch, 1)).astype(np.int32)

    @pipeline_def(
        batch_size=batch,
        num_threads=1,
        device_id=None,
        seed=0,
        prefetch_queue_depth=1,
        exec_pipelined=False,
        exec_async=False,
    )
    def pipeline():
        source = {"batch": True, "no_copy": True}
        pictures = fn.external_source(lambda: images, layout="HWC", **source)
        return last(pictures, fn.external_source(lambda: labels, **source))

    built = pipeline()
    built.build()
    return built


def source_alone(images, labels):
    """Nothing but the source."""
    return images, labels


def normalize(images, labels):
    """What a pipeline without mixing ends in."""
    mirror = fn.random.coin_flip()
    options = {"dtype": types.FLOAT, "output_layout": "CHW", "mean": MEAN, "std": STD}
    return fn.crop_mirror_normalize(images, mirror=mirror, **options), labels


def mixing(policy):
    """The mixing that takes its place."""

    def last(images, labels):
        mirror = fn.random.coin_flip()
        return mix(images, labels, policy, num_classes=1000, mean=MEAN, std=STD, mirror=mirror)

    return last


def main() -> None:
    """Measure and print one line a pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256, help="samples (default 256)")
    parser.add_argument("--size", type=int, default=224, help="pixels a side (default 224)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns that count")
    args = parser.parse_args()
    lasts = {"source": source_alone, "normalize": normalize}
    lasts |= {name: mixing(policy) for name, policy in POLICIES.items()}
    pipelines = {name: make(args.batch, args.size, last) for name, last in lasts.items()}
    seconds = measure(
        {name: pipeline.run for name, pipeline in pipelines.items()},
        args.repeats,
        clock=time.process_time,
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain = medians["normalize"] - medians["source"]
    for name in lasts:
        cost = medians[name] - medians["source"]
        figures = {
            "cpu_ms": round(medians[name] * 1e3, 2),
            "spread": round(spread(seconds[name]), 3),
            "cost_ms": round(cost * 1e3, 2),
            "of_normalize": round(cost / plain, 3),
        }
        report({"bench": "pipeline", "last": name, "batch": args.batch, "size": args.size}, figures)


if __name__ == "__main__":
    main()
