"""What the tests of the three loaders share: counts of pictures, settings, a policy."""

import torch

import dali_msda as msda

COUNTS = (12, 11, 11)
EVERYTHING = sorted((label, number) for label, n in enumerate(COUNTS) for number in range(n))
SMALL = {"batch_size": 4, "size": 24, "mean": (0, 0, 0), "std": (1, 1, 1)}
POLICY = msda.Alternate([msda.CutMix(), msda.Choice([msda.CutMix(), msda.Mixup(n=3)])])


def epoch(loader):
    """The batches of an epoch, in memory of their own."""
    return [tuple(part.clone() for part in batch) for batch in loader]


def forever(loader):
    while True:
        yield from loader


def assert_same_batches(ours, theirs):
    for mine, yours in zip(ours, theirs, strict=True):
        for a, b in zip(mine, yours, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)
