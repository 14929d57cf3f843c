"""Mixes a batch by some doors of the installed package, and says how long the first one took.

    python first_batches.py arrays torch timm dali without-dali

It needs nothing but the package and what the doors are for. Nothing may be compiled.
"""

import importlib
import shutil
import sys
import time

BATCH, SIZE, CLASSES = 64, 224, 1000


def arrays():
    import numpy as np

    import dali_msda as msda

    images, labels = np.zeros((BATCH, SIZE, SIZE, 3), np.uint8), np.arange(BATCH)
    mixed, targets = msda.mix(images, labels, msda.CutMix(), num_classes=CLASSES, seed=0, step=0)
    assert mixed.shape == images.shape and np.allclose(targets.sum(1), 1)


def torch_tensors():
    import torch

    from dali_msda import CutMix
    from dali_msda.torch import Mixer

    images, labels = torch.rand(BATCH, 3, SIZE, SIZE), torch.arange(BATCH)
    mixed, targets = Mixer(CutMix(), num_classes=CLASSES)(images, labels)
    assert mixed.shape == images.shape and torch.allclose(targets.sum(1), torch.ones(BATCH))


def timm_drop_in():
    import torch

    from dali_msda.timm import Mixup

    images, labels = torch.rand(BATCH, 3, SIZE, SIZE), torch.arange(BATCH)
    mixed, targets = Mixup(mixup_alpha=0.2, cutmix_alpha=1.0, num_classes=CLASSES)(images, labels)
    assert mixed.shape == images.shape and torch.allclose(targets.sum(1), torch.ones(BATCH))


def dali_pipeline():
    import numpy as np
    from nvidia.dali import fn, pipeline_def

    from dali_msda import CutMix
    from dali_msda.dali import mix

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, seed=0)
    def training():
        images = fn.random.uniform(range=[0, 255], shape=[SIZE, SIZE, 3])
        labels = fn.cast(fn.random.uniform(range=[0, CLASSES - 1]), dtype=types.INT32)
        images = fn.reshape(images, layout="HWC")
        return mix(images, labels, CutMix(), num_classes=CLASSES, mean=127.0, std=60.0)

    from nvidia.dali import types

    pipeline = training()
    pipeline.build()
    mixed, targets = (np.array(output.as_cpu().as_array()) for output in pipeline.run())
    assert mixed.shape == (BATCH, 3, SIZE, SIZE) and np.allclose(targets.sum(1), 1)


def without_dali():
    try:
        importlib.import_module("dali_msda.dali")
    except ImportError as error:
        assert "pip install 'dali_msda[dali]'" in str(error), error
    else:
        raise AssertionError("dali_msda.dali: expected an ImportError")


DOORS = {
    "arrays": arrays,
    "torch": torch_tensors,
    "timm": timm_drop_in,
    "dali": dali_pipeline,
    "without-dali": without_dali,
}

if __name__ == "__main__":
    assert not any(map(shutil.which, ("g++", "c++", "gcc", "cc"))), "a compiler is on the PATH"
    for door in sys.argv[1:]:
        began = time.perf_counter()
        DOORS[door]()
        print(f"{door}: {time.perf_counter() - began:.2f} s with its imports")
