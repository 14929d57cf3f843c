"""Samples of other kinds than pairs with an index, and who may say which epoch it is."""

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

import dali_msda as msda
from dali_msda.torch import Collate, Indexed, NumberedBatches

CLASSES, SIDE = 7, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (10, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = np.arange(10) % CLASSES
PAIRS = list(zip(PIXELS, LABELS.tolist(), strict=True))

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def collated(dataset, *, epoch=2, policy=msda.CutMix(), **how):  # noqa: B008
    collate = Collate(policy, CLASSES, seed=5, **how)
    collate.set_epoch(epoch)
    is_stream = isinstance(dataset, IterableDataset)
    loader = DataLoader(dataset if is_stream else Indexed(dataset), 5, collate_fn=collate)
    return list(loader)


def test_dictionaries_and_longer_tuples_are_mixed_as_pairs_are():
    for policy, compact in ((msda.CutMix(), False), (msda.MultiMix(msda.Mixup(), 3), True)):
        pairs = collated(PAIRS, policy=policy, compact=compact)
        named = [{"name": f"n{k}", "jpg": x, "cls": y, "z": k} for k, (x, y) in enumerate(PAIRS)]
        how = dict(policy=policy, compact=compact)
        dicts = collated(named, image="jpg", label="cls", **how)
        longer = collated([(k, y, x) for k, (x, y) in enumerate(PAIRS)], image=2, label=1, **how)
        repeats = 3 if compact else 1
        for number, ((images, *made), batch, parts) in enumerate(
            zip(pairs, dicts, longer, strict=True)
        ):
            ids = torch.arange(5 * number, 5 * number + 5).repeat_interleave(repeats)
            assert set(batch) == {"jpg", "cls", "name", "z", *["cls_weights"][:compact]}
            assert torch.equal(batch["jpg"], images) and torch.equal(parts[-1], images)
            assert torch.equal(batch["cls"], made[0]) and torch.equal(parts[1], made[0])
            if compact:
                assert torch.equal(batch["cls_weights"], made[1]) and torch.equal(parts[2], made[1])
            assert torch.equal(batch["z"], ids) and torch.equal(parts[0], ids)
            assert batch["name"] == [f"n{k}" for k in ids.tolist()]


class Stream(IterableDataset):
    """As WebDataset's: dictionaries with a key, in an order that is another each time."""

    def __init__(self, order, keys):
        self.order, self.keys = order, keys

    def __iter__(self):
        for k in self.order:
            yield {"key": self.keys[k], "image": PIXELS[k], "label": LABELS[k]}


def test_a_stream_is_drawn_by_its_keys():
    by_number = collated(Stream(range(10), range(10)), key="key")
    for (images, rows), batch in zip(collated(PAIRS), by_number, strict=True):
        assert torch.equal(batch["image"], images) and torch.equal(batch["label"], rows)
    names = [f"n0{k}.jpg" for k in range(10)]
    how = dict(key="key", policy=msda.CutMix(partner="derangement"))
    one, other = (collated(Stream(order, names), **how) for order in ([1, 0, 2], [2, 1, 0]))
    drawn = dict(zip(one[0]["key"], one[0]["label"], strict=True))
    again = dict(zip(other[0]["key"], other[0]["label"], strict=True))
    for k, name in enumerate(names[:3]):  # the own weight goes with the sample
        assert torch.equal(drawn[name][LABELS[k]], again[name][LABELS[k]])
    assert len({float(row.max()) for row in drawn.values()}) == 3


@pytest.mark.parametrize(
    "samples, how, error, message",
    [
        ([{"a": PIXELS[0], "b": 1}], dict(key="b"), ValueError, "in slot 0: expected a field 'im"),
        ([PAIRS[0]], dict(key=2), ValueError, "slot 0: expected a field 2, got a tuple of 2; Coll"),
        ([(*PAIRS[0], -1)], dict(key=2), TypeError, "slot 0: expected a key that is a whole numb"),
        ([(*PAIRS[0], 0.5)], dict(key=2), TypeError, "slot 0: expected a key that is a whole num"),
        ([(*PAIRS[0], 3)], {}, TypeError, "samples: expected those of Indexed.* key=, a field th"),
    ],
)
def test_wrong_samples(samples, how, error, message):
    collate = Collate(msda.CutMix(), CLASSES, **how)
    collate.set_epoch(0)
    with pytest.raises(error, match=message):
        collate(samples)
    with pytest.raises(TypeError, match="image: expected the name or the place of a field, got"):
        Collate(msda.CutMix(), CLASSES, image=1.0)


def test_numbered_batches_are_a_batch_sampler():
    plain = BatchSampler(SequentialSampler(PAIRS), 3, drop_last=True)
    for batches in (
        NumberedBatches(SequentialSampler(PAIRS), 3, True),
        NumberedBatches(BatchSampler(SequentialSampler(PAIRS), 3, drop_last=True)),
    ):
        assert isinstance(batches, BatchSampler) and len(batches) == 3
        assert list(batches) == list(plain)
        assert (batches.batch_size, batches.drop_last) == (3, True)
        assert [batch.place.epoch for batch in batches] == [1, 1, 1]
        batches.sampler = RandomSampler(range(4))
        assert isinstance(batches.sampler, RandomSampler) and sorted(next(iter(batches))) < [4]
    with pytest.raises(ValueError, match="batch_size should be a positive integer"):
        NumberedBatches(SequentialSampler(PAIRS), 0)


def test_the_epoch_that_a_trainer_tells_the_sampler_holds_for_its_batches():
    """As Lightning does: another sampler in an object made anew, whose set_epoch is called."""
    given = NumberedBatches(RandomSampler(PAIRS), 2, drop_last=True)
    sampler = DistributedSampler(PAIRS, num_replicas=2, rank=1, seed=4)
    batches = type(given)(sampler, batch_size=given.batch_size, drop_last=given.drop_last)

    def epoch_and_order():
        made = list(batches)
        (epoch,) = {batch.place.epoch for batch in made}
        return epoch, [index for batch in made for index in batch]

    def order(epoch):
        alone = DistributedSampler(PAIRS, num_replicas=2, rank=1, seed=4)
        alone.set_epoch(epoch)
        return list(alone)[:4]

    sampler.set_epoch(3)  # a run that is resumed
    assert epoch_and_order() == (3, order(3))
    sampler.set_epoch(4)
    assert epoch_and_order() == (4, order(4))
    assert epoch_and_order() == (5, order(5))  # nobody said so
    batches.set_epoch(9)
    assert epoch_and_order() == (9, order(9))


def test_the_epoch_that_the_dataset_is_told_reaches_workers_that_live_on():
    """As Accelerate does."""
    data = Indexed(PAIRS)
    loader = DataLoader(
        data, 5, num_workers=1, persistent_workers=True,
        collate_fn=Collate(msda.CutMix(), CLASSES, seed=5),
    )  # fmt: skip
    for epoch in (2, 3):
        data.set_epoch(epoch)
        for batch, want in zip(loader, collated(PAIRS, epoch=epoch), strict=True):
            assert all(map(torch.equal, batch, want))
    numbered = NumberedBatches(SequentialSampler(PAIRS), 5)  # within a sampler of Accelerate
    assert data.__getitems__(next(iter(numbered)))[0].place == (3, 0, 2)
    own = Collate(msda.CutMix(), CLASSES, seed=5)
    own.set_epoch(2)
    batches = DataLoader(data, 5, collate_fn=own)
    assert torch.equal(next(iter(batches))[0], collated(PAIRS, epoch=2)[0][0])
