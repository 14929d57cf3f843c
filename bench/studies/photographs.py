"""The same network and methods on real photographs: which of ten pictures is a small crop of?

Ten of the photographs that ship inside scikit-image and scikit-learn are the classes. Each is cut
in two; crops of one side are for training, of the other for testing, so that no pixel is seen in
both (dali_msda/pipelines/data/demo_data.py). They are JPEGs of all kinds, here in grey levels, 32 x
32. Of each class ten are for training, another choice for each seed, and twenty for testing. All
else is as with the digits.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.cases import Missing
from bench.studies import accuracy
from bench.studies.methods import CLASSES, METHODS

CROPS = 60  # of each class for training; each seed chooses ten of them


def run(
    seeds: int = accuracy.SEEDS,
    epochs: int = accuracy.EPOCHS,
    methods: dict[tuple[str, str], Callable] = METHODS,
) -> Iterator[dict]:
    """See :func:`bench.studies.accuracy.run`."""
    yield from accuracy.compared("photographs", photographs(), seeds, epochs, methods)


def photographs(crops: int = CROPS) -> tuple[Tensor, Tensor, Tensor]:
    """Images ``(N, 1, 32, 32)`` in [0, 1], labels, and which images are for training.

    Raises:
        Missing: If a package that has the photographs is not installed.
    """
    try:
        from dali_msda.pipelines.data import decoding, demo_data

        with tempfile.TemporaryDirectory() as folder:
            demo_data.make(Path(folder, "data"), per_class=crops)
            found = [
                (file, label, split)
                for split in demo_data.SPLITS
                for label, name in enumerate(sorted(demo_data.PHOTOGRAPHS)[:CLASSES])
                for file in sorted(Path(folder, "data", split, name).iterdir())
            ]
            size = accuracy.SIZE
            grey = (decoding.decode(str(file)).convert("L") for file, *_ in found)
            pixels = [decoding.central_crop(each.convert("RGB"), size, size) for each in grey]
    except (ImportError, FileNotFoundError) as error:
        raise Missing(f"{error}; pip install scikit-image scikit-learn") from error
    images = torch.from_numpy(np.stack(pixels)[:, None, :, :, 0].copy()).float() / 255
    labels = torch.tensor([label for _, label, _ in found])
    return images, labels, torch.tensor([split == "train" for *_, split in found])
