"""The whole way on a small scale: makes JPEGs, checks them, and trains on them with mixing.

    python -m dali_msda.pipelines.demo [--out demo]

Ends with an error unless the loss falls and the accuracy on clean validation images is well above
chance. A second run keeps the data and trains anew.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dali_msda import Choice, CutMix, Mixup
from dali_msda.commands import cli
from dali_msda.pipelines.check import check
from dali_msda.pipelines.data import demo_data

PRESET = "demo"
POLICY = Choice([CutMix(alpha=1.0), Mixup(alpha=1.0)])
LOSS_FALLS_TO = 0.75  # bound of the last loss as a share of the first, which is near log(16) = 2.77
TIMES_CHANCE = 3.0  # least accuracy on clean validation images, in multiples of chance

# The loader is measured in rounds, each far longer than the batches that are prepared ahead.
BATCH, SIZE, ROUNDS, BATCHES, PREFETCH = 32, 224, 7, 10, 2
SHEET_SIDE, SHEET_SIZE = 4, 224


class Failed(Exception):
    """The demo ran, but does not show what it should."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dali_msda.pipelines.demo",
        description="Make a small data set, train on it with mixing, and show the results.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="folder for all of it (demo)"
    )
    out = parser.parse_args(argv).out
    start = time.perf_counter()
    try:
        run(out)
    except (OSError, ValueError, RuntimeError, Failed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run it again to start anew", file=sys.stderr)
        return 130
    print(f"\nAll done in {time.perf_counter() - start:.0f} s.")
    return 0


def run(out: Path) -> None:
    """Make the data, check it, train on it, measure the loader and draw pictures.

    Raises:
        Failed: If a step does not show what it should.
    """
    # OpenMP's idle threads would otherwise spin on the cores that decode: on a busy machine that
    # makes training ten times slower. It is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    data = out / "data"
    _headline("Data: crops of the photographs inside the scikit-image and scikit-learn wheels")
    made = demo_data.make(data)
    print(f"{data}: {'made' if made else 'kept from an earlier run'}")
    for split in demo_data.SPLITS:
        _check(data / split)

    _headline("Training: a ResNet-18 on 64 x 64 pixels, CutMix and Mixup mixed in the loader")
    rows = _train(data, out / "run")
    _judge(rows, classes=len(demo_data.PHOTOGRAPHS))

    _headline(f"Loader alone: JPEGs to normalised {SIZE} x {SIZE} float32 batches, on the CPU")
    _measure(data / "train")

    _headline("Pictures")
    _draw_batch(data / "train", out / "sheet.png")
    _draw_puzzle(data / "val", out / "run", out / "puzzle.png")
    arguments = ["preview", str(data), "--policy", "cutmix", "--lam", "0.6"]
    if cli.main([*arguments, "-o", str(out / "preview.png")]):
        raise Failed("the preview could not be drawn; its message stands above")


def _headline(text: str) -> None:
    print(f"\n{text}", flush=True)


def _check(folder: Path) -> None:
    report = check(folder)
    if not report.fine:
        raise Failed(
            f"{folder}: expected images that decode, got {len(report.bad)} that do not. Delete "
            "the folder, and it will be made again."
        )
    print(f"{folder}: {len(report.good)} JPEGs of {len(report.classes)} classes, all decode")


def _train(data: Path, folder: Path) -> list[dict[str, float]]:
    """Train with the trainer's own command; return the rows of its table, one per epoch."""
    from dali_msda.pipelines import train
    from dali_msda.pipelines.training.run_folder import RunFolder

    table = folder / RunFolder.TABLE
    for old in (table, folder / RunFolder.CHECKPOINT):
        old.unlink(missing_ok=True)
    code = train.main([PRESET, "--data", str(data), "--out", str(folder)])
    if code > 128:
        raise KeyboardInterrupt
    if code:
        raise Failed("training failed; its message stands above")
    with open(table, newline="") as file:
        return [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _judge(rows: list[dict[str, float]], classes: int) -> None:
    """Print what was learnt.

    Raises:
        Failed: If it is too little.
    """
    first, last = rows[0]["loss"], rows[-1]["loss"]
    accuracy, chance = rows[-1]["top1"], 100 / classes
    print(f"training loss {first:.2f} -> {last:.2f} (mixed labels: it cannot reach 0)")
    print(f"validation accuracy {accuracy:.1f} %, {accuracy / chance:.1f} times chance")
    if not last <= LOSS_FALLS_TO * first:
        raise Failed(
            f"loss: expected at most {LOSS_FALLS_TO * first:.2f} at the end, got {last:.2f}"
        )
    if not accuracy >= TIMES_CHANCE * chance:
        raise Failed(
            f"accuracy: expected {TIMES_CHANCE * chance:.1f} % or more, got {accuracy:.1f} %"
        )


def _measure(folder: Path) -> None:
    """Print img/s of the training loader with and without mixing, measured in turn."""
    from dali_msda.pipelines.data.datasets import find
    from dali_msda.pipelines.loaders.dali import TrainingLoader

    threads = len(os.sched_getaffinity(0))
    options = dict(batch_size=BATCH, size=SIZE, threads=threads, prefetch=PREFETCH)
    source = find(str(folder))
    with (
        TrainingLoader(source, policy=None, **options) as plain,
        TrainingLoader(source, policy=POLICY, **options) as mixing,
    ):
        streams = [_endless(plain), _endless(mixing)]
        rounds = [[_speed(stream) for stream in streams] for _ in range(ROUNDS + 1)]
    speeds = np.median(rounds[1:], axis=0)
    for text, (rate, cpu) in zip(
        ("without mixing     ", "with CutMix, Mixup "), speeds, strict=True
    ):
        print(f"{text} {rate:5.0f} img/s  {cpu:.2f} ms of CPU time per image")
    print(
        f"medians of {ROUNDS} rounds in turn on {threads} threads; CPU time holds on a busy machine"
    )


def _endless(loader) -> Iterator[tuple]:
    while True:
        yield from loader


def _speed(stream: Iterator[tuple]) -> tuple[float, float]:
    """Measure images per second, and CPU milliseconds per image.

    The first batches do not count: they were prepared while the other loader was measured, and
    meanwhile the other one still prepares its own.
    """
    for _ in range(PREFETCH + 1):
        next(stream)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(BATCHES):
        next(stream)
    images = BATCHES * BATCH
    return images / (time.perf_counter() - start), 1e3 * (time.process_time() - cpu) / images


def _draw_batch(folder: Path, path: Path) -> None:
    """Save a picture of one batch, as the network gets it."""
    from dali_msda.commands.preview import SOURCES, Cell, save, sheet
    from dali_msda.pipelines.data.datasets import find
    from dali_msda.pipelines.loaders.dali import TrainingLoader
    from dali_msda.pipelines.loaders.epochs import IMAGENET_MEAN, IMAGENET_STD

    source = find(str(folder))
    batch = SHEET_SIDE**2
    with TrainingLoader(source, policy=POLICY, batch_size=batch, size=SHEET_SIZE) as loader:
        images, labels, weights = (tensor.numpy() for tensor in next(iter(loader)))
        pixels = images.transpose(0, 2, 3, 1) * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)
        pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    cells = []
    for image, pair, shares in zip(pixels, labels, weights, strict=True):
        named = [f"{w:.2f} {source.classes[i]}" for i, w in zip(pair, shares, strict=True) if w > 0]
        cells.append(Cell(image, "   ".join(named), tuple(zip(shares, SOURCES, strict=False))))
    rows = [cells[start : start + SHEET_SIDE] for start in range(0, batch, SHEET_SIDE)]
    save(sheet(rows, title="A batch of the training loader: CutMix and Mixup"), path)
    print(f"{path}: {batch} samples of a training batch, with their labels")


def _draw_puzzle(folder: Path, run: Path, path: Path) -> None:
    """Save a picture of pairs that Puzzle Mix mixes by what the trained network looks at."""
    from dali_msda.pipelines import demo_puzzle
    from dali_msda.pipelines.training.run_folder import RunFolder

    demo_puzzle.draw_pairs(folder, run / RunFolder.CHECKPOINT, path)
    print(f"{path}: {demo_puzzle.PAIRS} pairs mixed by Puzzle Mix, and how")


if __name__ == "__main__":
    sys.exit(main())
