"""Batch after batch, with memory, descriptors and threads watched: ``-m tests.guards.soak DOOR``.

Doors: arrays, dali, ffcv. After a first part, in which caches and pools fill, nothing may grow.
"""

import argparse
import contextlib
import gc
import itertools
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

import dali_msda as msda

CLASSES, SAMPLES = 7, 16
METHODS = [msda.CutMix(), msda.HMix(), msda.GMix(), msda.ResizeMix(), msda.Cutout(length=8)]
POLICY = msda.Choice([*METHODS, msda.Mixup(n=3), msda.FMix(), msda.FMix(max_soft=0.3)])
WARM = 0.4  # share of the batches before the first look
KILOBYTES = 4096  # growth that an allocator may show without a leak; a leak shows in longer runs


def state():
    """Resident kB, open descriptors, threads."""
    gc.collect()
    told = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if line
    )
    held = int(told["VmRSS"].split()[0])
    return held, len(os.listdir("/proc/self/fd")), int(told["Threads"])


def arrays(folder):
    """Draw, blend, mask, label and find peaks, with sizes and types in turn."""
    rng = np.random.default_rng(0)
    sizes = [(24, 31), (9, 50), (40, 40)]
    images = [rng.integers(0, 256, (8, *size, 3), dtype=np.uint8) for size in sizes]
    labels = np.arange(8) % CLASSES
    for step in itertools.count():
        one = images[step % len(images)]
        plan = msda.draw(POLICY, *one.shape[:3], seed=0, step=step % 2**31)
        dtype = ("uint8", "float32", "float16", "bfloat16")[step % 4]
        msda.blend(one, plan, dtype=dtype, layout=("HWC", "CHW")[step % 2], threads=step % 3)
        msda.mask(plan, *one.shape[1:3])
        msda.targets(labels, plan, num_classes=CLASSES)
        msda.saliency(one)
        for wrong in ({"mean": "?"}, {"dtype": "int8"}, {"threads": -1}):  # errors leave nothing
            with contextlib.suppress(TypeError, ValueError):
                msda.blend(one, plan, **wrong)
        yield


def dali(folder):
    """A pipeline that mixes what it is fed."""
    from nvidia.dali import fn, types

    import dali_msda.dali
    from tests.with_dali.dali_pipelines import build, source

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 24, 31, 3), dtype=np.uint8)
    labels = np.arange(8, dtype=np.int32)[:, None] % CLASSES

    def define():
        given = source(images, layout="HWC"), source(labels)
        plans = dali_msda.dali.plan(given[0], policy=POLICY)
        mixed = fn.msda.blend(given[0], plans, dtype=types.FLOAT)
        return mixed, fn.msda.targets(given[1], plans, num_classes=CLASSES)

    pipeline = build(define, 8)
    while True:
        pipeline.run()
        yield


def ffcv(folder):
    """Epochs of a loader that mixes."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.writer import DatasetWriter

    from dali_msda.ffcv import Loader, Mixer

    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (SAMPLES * 8, 24, 31, 3), dtype=np.uint8)

    class Samples:
        def __len__(self):
            return len(pictures)

        def __getitem__(self, index):
            return pictures[index], index % CLASSES

    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    path = f"{folder}/soak.beton"
    DatasetWriter(path, fields, num_workers=1).from_indexed_dataset(Samples())
    mixer = Mixer(POLICY, CLASSES, seed=1)
    pipelines = {
        "image": [SimpleRGBImageDecoder(), *mixer.images()],
        "label": [IntDecoder(), *mixer.targets()],
    }
    loader = Loader(path, 8, num_workers=2, pipelines=pipelines)
    while True:
        for _ in loader:
            yield


DOORS = {"arrays": arrays, "dali": dali, "ffcv": ffcv}


def soak(door, batches, folder):
    """What grew in so many batches, as a text, or None."""
    running = DOORS[door](folder)
    warm = int(batches * WARM)
    for _ in range(warm):
        next(running)
    before = state()
    for _ in range(batches - warm):
        next(running)
    after = state()
    print(f"{door}: {batches} batches; resident kB, descriptors, threads {before} -> {after}")
    if after[0] > before[0] + KILOBYTES or after[1] > before[1] or after[2] > before[2]:
        return f"{door}: expected no growth after {warm} batches of {batches}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("door", choices=DOORS)
    parser.add_argument("--batches", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        grown = soak(options.door, options.batches, folder)
    print(grown or "nothing grew", flush=True)
    os._exit(bool(grown))  # loaders' threads need not be waited for


if __name__ == "__main__":
    sys.exit(main())
