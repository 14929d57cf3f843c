"""The images that a classifier is measured on, and which of its classes they are of."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.data.errors import quoted
from dali_msda.pipelines.loaders.choice import KINDS
from dali_msda.pipelines.loaders.epochs import EvaluationEpochs

UNIT = dict(mean=(0.0,) * 3, std=(255.0,) * 3)  # normalises bytes to pixels in [0, 1]


def class_names(folder: str) -> tuple[str, ...]:
    """Names of the class folders in a folder, in the order of their labels.

    Raises:
        ValueError: If there are none.
        OSError: If it cannot be read.
    """
    # A scan of all images, as datasets.find makes, would take minutes on ImageNet's training data.
    entries = [entry for entry in os.scandir(folder) if entry.is_dir()]
    names = [entry.name for entry in entries if not entry.name.startswith(".")]
    if not names:
        raise ValueError(f"classes_of: expected class folders, got none in {folder!r}")
    return tuple(sorted(names, key=os.fsencode))


def columns_of(
    source: datasets.Source, known: Sequence[str] | None, classes: int
) -> tuple[list[str], list[int]]:
    """Names of a model's classes, and of which of them the labels of the images are the numbers.

    Args:
        source: The images.
        known: Names of the model's classes, if a folder tells them.
        classes: How many the model has.

    Raises:
        ValueError: If the model's classes are others.
    """
    own = source.classes if isinstance(source, datasets.ImageFolder) else None
    names = list(known or own or map(str, range(classes)))
    if len(names) != classes:
        where = "--classes-of's" if known else "the images'"
        raise ValueError(
            f"classes: expected {classes} class folders, as many as the model has classes, got "
            f"{where} {len(names)}. Give --classes-of DIR, a folder with one folder for each class "
            "that the model was trained on."
        )
    unknown = [name for name in own or () if name not in set(names)]
    if unknown:
        raise ValueError(
            f"val: expected folders of the model's classes, got {quoted(unknown)}, which are none. "
            "Give --classes-of the folder that names them."
        )
    places = {name: number for number, name in enumerate(names)}
    return names, [places[name] for name in own] if own else list(range(classes))


def open_loader(
    source: datasets.Source,
    kind: str,
    count: int,
    *,
    order: np.ndarray | None = None,
    **options: Any,
) -> EvaluationEpochs:
    """Open a loader of pixels in [0, 1], in the order of the source or in another one.

    Args:
        source: The images.
        kind: "dali", "ffcv" or "torch".
        count: Number of classes that labels may have.
        order: Numbers of the images; of a folder only.
        **options: As for :class:`EvaluationEpochs`.

    Raises:
        ImportError, OSError, ValueError: If the framework is missing, or something does not fit.
    """
    if order is not None:
        parts = {
            name: tuple(getattr(source, name)[k] for k in order) for name in ("files", "labels")
        }
        source = dataclasses.replace(source, **parts)
    return KINDS[kind].load().EvaluationLoader(source, num_classes=count, **UNIT, **options)
