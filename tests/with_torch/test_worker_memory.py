"""Batches of workers lie in memory that is used again, and never while somebody reads it."""

import copy
import gc
import os

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import dali_msda as msda
from dali_msda.torch import Collate, Indexed, worker_memory

SIZE, COUNT, BATCH = 12, 96, 4
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
DATA = [(image, number % 5) for number, image in enumerate(IMAGES)]


class Wrapped:
    """A collate function around ours, as users write them; ``kept`` are the worker's batches."""

    def __init__(self, change="whole", **options):
        options = dict(mean=127.5, std=60.0) | options
        self.collate = Collate(options.pop("policy", msda.CutMix()), 5, seed=1, **options)
        self.collate.set_epoch(0)
        self.change = change

    def __call__(self, samples):
        images, targets = self.collate(samples)
        if self.change == "view":
            images = images[1:3]
        elif self.change == "computed":
            images = images * 2
        elif self.change == "copy":
            images = copy.deepcopy(images)
        elif self.change == "dropped":
            images = torch.zeros(1)
        gc.collect(0)
        return images, targets, len(worker_memory._worker_memory._kept)


def loader(workers=1, change="whole", context="fork", persistent=False, **options):
    how = dict(num_workers=workers, persistent_workers=persistent, timeout=60 * (workers > 0))
    how |= dict(multiprocessing_context=context) if workers else {}
    return DataLoader(Indexed(DATA), BATCH, collate_fn=Wrapped(change, **options), **how)


def assert_equal(made, wanted):
    assert len(made) == len(wanted) == COUNT // BATCH
    for (images, targets, _), (other, rows, _) in zip(made, wanted, strict=True):
        assert type(images) is torch.Tensor and images.stride() == other.stride()
        assert torch.equal(images, other) and torch.equal(targets, rows)


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("strategy", ["file_descriptor", "file_system"])
def test_batches_that_are_held_stay_as_they_are(strategy, context):
    """More of them than a worker keeps."""
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy(strategy)
    try:
        made = list(loader(context=context))
    finally:
        torch.multiprocessing.set_sharing_strategy(before)
    assert_equal(made, list(loader(0)))
    assert made[-1][2] == worker_memory.MOST_KEPT


@pytest.mark.parametrize("change", ["whole", "view", "computed", "copy", "dropped"])
def test_memory_is_used_again(change):
    """Three batches at a time at most: two in the queue, and one that is being written."""
    wanted = list(loader(0, change))
    for (images, targets, kept), (other, rows, _) in zip(loader(1, change), wanted, strict=True):
        assert torch.equal(images, other) and torch.equal(targets, rows)
        del images  # before the next one is taken
        assert kept <= 5


def test_what_else_sees_a_batch_keeps_its_memory():
    wanted = list(loader(0))
    arrays, views = [], []
    for images, _, _ in loader(1):
        arrays.append(images.numpy())
        views.append(images[:, 1].mT)
    for array, view, (images, _, _) in zip(arrays, views, wanted, strict=True):
        assert np.array_equal(array, images) and torch.equal(view, images[:, 1].mT)


def test_a_forked_process_gives_nothing_back():
    """It ends with references to the batch that its parent still reads."""
    batches = iter(loader(1))
    images, _, _ = next(batches)
    wanted = images.clone()
    if not (child := os.fork()):
        del images
        os._exit(0)
    os.waitpid(child, 0)
    list(batches)
    assert torch.equal(images, wanted)


@pytest.mark.parametrize("options", [
    dict(channels_last=True), dict(policy=msda.MultiMix(msda.Mixup(), 3)), dict(dtype="float16"),
    dict(policy=msda.MultiMix(msda.CutMix(), 2), channels_last=True)])  # fmt: skip
def test_orders_interpolations_and_types(options):
    assert_equal(list(loader(2, **options)), list(loader(0, **options)))


def test_an_epoch_that_was_left_costs_no_memory():
    """What was on its way is given back, as a new epoch of the same workers drops it."""
    batches, wanted = loader(1, persistent=True), list(loader(0))
    for _ in range(2 * worker_memory.MOST_KEPT):
        next(iter(batches))
    made = [(images.clone(), targets, kept) for images, targets, kept in batches]
    assert_equal(made, wanted)
    assert made[-1][2] <= 5
