"""Measures a trained classifier on validation images: clean ones, and ones that were made harder.

    python -m dali_msda.pipelines.evaluate runs/a/checkpoint.pt --data imagenet --out report

CHECKPOINT is one of the trainer, which tells the model and the size of its images; or it is a file
of other weights, with `--model`. DIR has `val/`, and `train/` for the names of the classes. Where
`--val` has folders of some of the classes only, as ImageNet-A has, the model answers among these.
The report is JSON, a table of the classes and a reliability diagram.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.data.datasets import DatasetError, ImageFolder, Source
from dali_msda.pipelines.evaluation import attacks, boxes, images, measures, report
from dali_msda.pipelines.evaluation.measuring import Measuring
from dali_msda.pipelines.evaluation.pictures import answers_sheet
from dali_msda.pipelines.evaluation.weights import Classifier, load_model, read_checkpoint
from dali_msda.pipelines.loaders.choice import KINDS
from dali_msda.pipelines.training.processes import Process, joined_processes

SHOWN = 6  # images on the sheet


class Subject(NamedTuple):
    """What is measured on what.

    Attributes:
        classifier: Makes logits of pixels, in the order of ``names``.
        names: Of the classes among which it answers.
        labels: For each label of the images, its place among these names, int64.
        source: The images.
        resize: Length of the shorter side of an image before the central crop, in pixels.
        size: Height and width of the crop.
        about: What the report says of the checkpoint.
    """

    classifier: Classifier
    names: list[str]
    labels: torch.Tensor
    source: Source
    resize: int
    size: int
    about: dict


def evaluate(args: argparse.Namespace) -> tuple[dict, Image.Image]:
    """Measure a classifier; return the report, and a sheet of some images with their answers.

    Args:
        args: What :func:`parser` parses.

    Raises:
        OSError, ValueError, ImportError: If something is missing or does not fit.
        FloatingPointError: If a logit is not finite.
        DatasetError: If an image cannot be decoded.
    """
    with joined_processes(args.device) as process:
        if process.size > 1:
            raise ValueError(f"processes: expected one, got {process.size}. Leave out torchrun.")
        subject = _subject(args)
        places = _places(args, subject)
        subject.classifier.to(process.device)
        measuring = Measuring(
            subject.classifier,
            steps=args.fgsm,
            places=places,
            localise=args.localise,
            seed=args.seed,
        )
        _measure(args, subject, measuring, process)
    clean = measuring.answers("clean")
    found = {
        **subject.about,
        **measuring.results(args.bins),
        "calibration": measures.calibration(clean, args.bins),
        "by_class": measures.by_class(clean, subject.names),
    }
    return found, answers_sheet([*measuring.seen.values()], subject.names)


def _subject(args: argparse.Namespace) -> Subject:
    """Read the checkpoint, find the images and see which classes they are of."""
    checkpoint = read_checkpoint(args.checkpoint, args.weights)
    model_name = args.model or checkpoint.settings.get("model")
    if not model_name:
        raise ValueError(
            f"model: expected a name with {args.checkpoint!r}, which the trainer did not write, "
            "got none. Give --model NAME."
        )
    size, resize = checkpoint.sizes()
    size, resize = args.size or size, args.resize or resize
    folder = args.classes_of or os.path.join(args.data, "train")
    known = images.class_names(folder) if args.classes_of or _is_folders(folder) else None
    path = args.val or os.path.join(args.data, f"val{KINDS[args.loader].suffix}")
    source = datasets.find(path, name="val", file_list=args.val_list or None, classes=known)
    guess = len(known or getattr(source, "classes", ())) or 1000
    model, classes = load_model(checkpoint, model_name, guess)
    names, columns = images.columns_of(source, known, classes)
    asked = range(classes) if args.all_answers else columns
    about = dict(checkpoint=args.checkpoint, weights=checkpoint.weights, model=model_name)
    about |= dict(classes=classes, answers_among=len(asked), images=path, size=size, resize=resize)
    return Subject(
        Classifier(model, asked),
        [names[column] for column in asked],
        torch.tensor(columns if args.all_answers else range(len(columns))),
        source,
        resize,
        size,
        about | {"seed": args.seed},
    )


def _is_folders(path: str) -> bool:
    """Whether a folder has folders in it, and not shards."""
    return os.path.isdir(path) and any(entry.is_dir() for entry in os.scandir(path))


def _places(args: argparse.Namespace, subject: Subject) -> list[np.ndarray] | None:
    """The boxes in the crop of each image."""
    source = subject.source
    if not args.boxes:
        if args.localise:
            raise ValueError("localise: expected --boxes with it, got none")
        return None
    if not isinstance(source, ImageFolder):
        raise ValueError("boxes: expected images in folders with them, got shards or a .beton")
    found = zip(boxes.read_boxes(args.boxes, source), source.files, strict=True)
    to = (subject.resize, subject.size)
    return [boxes.in_crop(own, *boxes.upright_size(file), *to) for own, file in found]


def _measure(
    args: argparse.Namespace, subject: Subject, measuring: Measuring, process: Process
) -> None:
    """Show all images to the classifier, and with boxes other images beside them."""
    device, kind = process.device, KINDS[args.loader]
    options = dict(
        size=subject.size,
        resize=subject.resize,
        batch_size=args.batch_size,
        threads=args.threads or len(os.sched_getaffinity(0)),
        device_id=process.local_rank if kind.takes_gpu and device.type == "cuda" else None,
    )
    count, labels_of = len(subject.labels), subject.labels.to(device)
    with contextlib.ExitStack() as stack:
        loader = images.open_loader(subject.source, args.loader, count, **options)
        stack.enter_context(loader)
        backgrounds = None
        if measuring.places is not None:
            order = attacks.other_images(loader.samples, np.random.default_rng(args.seed))
            how = dict(order=order, **options)
            second = images.open_loader(subject.source, args.loader, count, **how)
            backgrounds = iter(stack.enter_context(second))
        measuring.show(np.unique(np.linspace(0, loader.samples - 1, SHOWN).astype(int)))
        bar = tqdm(total=loader.samples, unit="img", disable=None, leave=False)
        with bar:
            for pixels, labels in loader:
                others = None if backgrounds is None else next(backgrounds)[0].to(device)
                labels = labels_of[labels.to(device)]
                measuring.add(pixels.to(device, non_blocking=True), labels, others)
                bar.update(len(labels))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m dali_msda.pipelines.evaluate",
        description="Measure a trained classifier on validation images.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="of the trainer; or other weights, with --model")
    add("--data", metavar="DIR", required=True, help="folder with val/, and train/ for the classes")
    add("--val", metavar="PATH", default="", help="images, if not DIR/val; as of the trainer")
    add("--val-list", metavar="FILE", default="", help="read only its files, lines 'path label'")
    add("--classes-of", metavar="DIR", default="", help="class folders of training, if not train/")
    text = "answer with any class where the images are of some only"
    add("--all-answers", action="store_true", help=text)
    add("--model", metavar="NAME", default="", help="of torchvision or timm (the checkpoint's)")
    text = "which of the checkpoint's (the moving average, if there is one)"
    add("--weights", choices=("average", "last"), default="", help=text)
    add("--size", type=_positive, metavar="N", help="pixels of the crop (the checkpoint's)")
    add("--resize", type=_positive, metavar="N", help="shorter side before it (the checkpoint's)")
    text = "FGSM with these steps, in 255ths of the range of pixels, as 4 8"
    add("--fgsm", type=_step, nargs="+", default=[], metavar="STEP", help=text)
    text = "folder of XML files, or a CSV path,x0,y0,x1,y1: measures other backgrounds"
    add("--boxes", metavar="PATH", default="", help=text)
    text = "find the boxes by class activation maps, too"
    add("--localise", action="store_true", help=text)
    add("--bins", type=_positive, default=15, metavar="N", help="of the ECE (15; 10 in papers)")
    add("--loader", choices=tuple(KINDS), default="dali", help="what reads and decodes (dali)")
    add("--batch-size", type=_positive, default=128, metavar="N", help="images at once (128)")
    add("--threads", type=_positive, metavar="N", help="of the loader (all CPUs)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the model (auto)")
    add("--seed", type=int, default=0, metavar="N", help="of noise and other backgrounds (0)")
    add("--out", metavar="DIR", default="runs/evaluate", help="for the report (runs/evaluate)")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return value


def _step(text: str) -> float:
    value = float(text)
    if not 0 < value <= 255:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 255], got {text}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(arguments)
    try:
        folder = report.expect_writable(args.out)
        found, picture = evaluate(args)
        files = report.write(found, picture, folder)
    except (OSError, ValueError, ImportError, FloatingPointError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    print(report.text_of(found))
    print(f"written: {', '.join(map(str, files))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
