"""Loaders with mixing against the same loaders without.

    python -m bench.loaders >> bench/results/loaders.jsonl

Epochs over one set of JPEGs, cut from the demo's photographs, take turns. ``of_plain`` is the
median over pairs of epochs of images per second with mixing as a share of those without: 1 where
mixing costs nothing; ``cpu_of_plain`` is the same for CPU time per image, all processes counted.

FFCV's plain pipeline is its own: crop, ``RandomHorizontalFlip``, ``NormalizeImage``; ``own_mixup``
is that with its ``ImageMixup`` and ``LabelMixup``. All of FFCV's use the same crops.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import dali_msda as msda
from bench.timing import measure, report
from dali_msda.pipelines import datasets, demo_data, imagenet, torch_imagenet
from dali_msda.pipelines.epochs import IMAGENET_MEAN, IMAGENET_STD
from dali_msda.pipelines.write_beton import write_beton

CLASSES = len(demo_data.PHOTOGRAPHS)
POLICIES = {"cutmix": msda.CutMix(), "mixup": msda.Mixup(), "fmix": msda.FMix()}
TICKS = 100  # of /proc, a second


def clock() -> np.ndarray:
    """Wall time, and CPU time of this process with the processes that it has started."""
    children = Path("/proc/self/task").glob("*/children")
    pids = [pid for path in children for pid in path.read_text().split()]
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += int(fields[11]) + int(fields[12])
    return np.array([time.perf_counter(), time.process_time() + ticks / TICKS])


def epochs_of(loader) -> Callable[[], None]:
    """What goes through an epoch of a loader."""

    def run() -> None:
        for _ in loader:
            pass

    return run


def ffcv_loaders(path: str, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Epochs of FFCV's loader: plain, with its own mixup, and with each policy."""
    # isort: off
    from dali_msda.ffcv import Loader, Mixer, RandomResizedCrop
    from ffcv.fields.decoders import IntDecoder
    from ffcv.transforms import (
        ImageMixup,
        LabelMixup,
        MixupToOneHot,
        NormalizeImage,
        RandomHorizontalFlip,
        Squeeze,
        ToTensor,
        ToTorchImage,
    )

    # isort: on
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)

    def own(*image, label):
        last = [NormalizeImage(mean, std, np.float32), ToTensor(), ToTorchImage()]
        return [RandomHorizontalFlip(), *image, *last], [IntDecoder(), *label]

    def mixing(policy):
        mixer = Mixer(policy, CLASSES)
        images = mixer.images(mean=mean, std=std, mirror=0.5, layout="HWC")
        return [*images, ToTorchImage()], [IntDecoder(), *mixer.targets()]

    ends = {"plain": own(label=[ToTensor(), Squeeze()])}
    to_rows = [LabelMixup(1.0, True), ToTensor(), MixupToOneHot(CLASSES)]
    ends["own_mixup"] = own(ImageMixup(1.0, True), label=to_rows)
    ends |= {name: mixing(policy) for name, policy in POLICIES.items()}
    loaders = {}
    for name, (image, label) in ends.items():
        crop = RandomResizedCrop((args.size, args.size))
        pipelines = {"image": [crop, *image], "label": label}
        options = dict(batch_size=args.batch, num_workers=args.threads, pipelines=pipelines)
        loaders[name] = epochs_of(Loader(path, **options))
    return loaders


def other_loaders(kind, source, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Epochs of a loader of ``pipelines/``: plain, and with each policy."""
    options = dict(batch_size=args.batch, size=args.size, threads=args.threads)
    options |= dict(channels_last=True)
    return {
        name: epochs_of(kind.TrainingLoader(source, policy=policy, compact=False, **options))
        for name, policy in {"plain": None, **POLICIES}.items()
    }


def compare(loader: str, runs: dict[str, Callable[[], None]], args: argparse.Namespace) -> None:
    """Measure, and print one line a pipeline."""
    seconds = measure(runs, args.repeats, clock=clock)
    images = args.images // args.batch * args.batch
    for name, pairs in seconds.items():
        wall, cpu = np.median(pairs, axis=0) / images
        ratios = np.array(seconds["plain"]) / np.array(pairs)
        low, _, high = statistics.quantiles(ratios[:, 0], n=4)
        figures = {
            "img_s": round(1 / wall),
            "cpu_us": round(cpu * 1e6),
            "of_plain": round(float(np.median(ratios[:, 0])), 3),
            "of_plain_quartiles": [round(low, 3), round(high, 3)],
            "cpu_of_plain": round(float(np.median(1 / ratios[:, 1])), 3),
        }
        case = {"bench": "loaders", "loader": loader, "last": name, "batch": args.batch}
        report({**case, "size": args.size, "threads": args.threads}, figures)


def main() -> None:
    """Measure and print one line a pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="samples (default 128)")
    parser.add_argument("--size", type=int, default=224, help="pixels a side (default 224)")
    parser.add_argument("--images", type=int, default=1024, help="in an epoch (default 1024)")
    parser.add_argument("--threads", type=int, default=2, help="of each loader (default 2)")
    parser.add_argument("--repeats", type=int, default=9, help="epochs of each that count")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        demo_data.make(f"{folder}/data", per_class=args.images // CLASSES)
        args.images = args.images // CLASSES * CLASSES
        train = f"{folder}/data/train"
        source = datasets.find(train)
        write_beton(train, f"{folder}/train.beton", write_mode="jpg")
        compare("ffcv", ffcv_loaders(f"{folder}/train.beton", args), args)
        compare("dali", other_loaders(imagenet, source, args), args)
        compare("torch", other_loaders(torch_imagenet, source, args), args)


if __name__ == "__main__":
    main()
