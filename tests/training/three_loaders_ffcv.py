"""FFCV's part of test_three_loaders.py, in a process of its own: ``... CASE FOLDER``."""

import os
import sys

import numpy as np
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder

from dali_msda.ffcv import Loader, Mixer
from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders.ffcv import TrainingLoader
from tests.training.three_loaders import (
    BATCH,
    CASES,
    CLASSES,
    EPOCHS,
    LOADER_CASES,
    MEAN,
    SEED,
    STD,
    options,
)


def mixed(folder):
    """Images and targets of a batch in every epoch, for every policy."""
    saved = {}
    for number, (policy, dtype) in enumerate(CASES):
        mixer = Mixer(policy, CLASSES, seed=SEED)
        how = dict(mean=MEAN, std=STD, dtype=dtype, mirror=0.5)
        pipelines = {
            "image": [SimpleRGBImageDecoder(), *mixer.images(**how)],
            "label": [IntDecoder(), *mixer.targets(smoothing=0.1)],
        }
        loader = Loader(f"{folder}/oblong.beton", BATCH, num_workers=2, pipelines=pipelines)
        for epoch in range(EPOCHS):
            ((images, targets),) = loader
            saved[f"images{number}_{epoch}"] = images.numpy().copy()
            saved[f"targets{number}_{epoch}"] = targets.numpy().copy()
    np.savez(f"{folder}/mixed.npz", **saved)


def loaders(folder):
    """All that the training loader yields in two epochs, on two ranks."""
    saved, source = {}, datasets.find(f"{folder}/square.beton")
    for number, case in enumerate(LOADER_CASES):
        for rank in range(2):
            with TrainingLoader(source, **options(case, rank)) as loader:
                batches = [batch for _ in range(2) for batch in map(kept, loader)]
            for place, parts in enumerate(batches):
                for k, part in enumerate(parts):
                    saved[f"{number}_{rank}_{place}_{k}"] = part
    np.savez(f"{folder}/loaders.npz", **saved)


def kept(batch):
    """A batch in memory of its own."""
    return [part.numpy().copy() for part in batch]


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    os._exit(0)  # what Numba says while Python comes down is no matter here
