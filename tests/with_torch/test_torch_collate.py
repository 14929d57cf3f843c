"""The collate function of DataLoader workers, and the dataset and sampler that go with it."""

import itertools
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
)

import dali_msda as msda
from dali_msda import build, loader_draws
from dali_msda.backends import cpu
from dali_msda.torch import Collate, Indexed, NumberedBatches
from tests.support.loader_workers import raises_in_worker

SAMPLES, HEIGHT, WIDTH, CLASSES = 21, 14, 11, 5
PIXELS = np.random.default_rng(0).integers(0, 256, (SAMPLES, HEIGHT, WIDTH, 3), dtype=np.uint8)
LABELS = np.arange(SAMPLES) * 2 % CLASSES
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
POLICIES = [
    msda.CutMix(),
    msda.Mixup(n=3),
    msda.FMix(max_soft=0.2),
    msda.SaliencyMix(),
    msda.LaMix(),
    msda.Alternate([msda.CutMix(), msda.Choice([msda.Mixup(n=4), msda.HMix()])], counts=[2, 1]),
    msda.MultiMix(msda.GMix(), k=3),
]

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Arrays(Dataset):
    """The pixels as arrays; whatever global generators there are have been moved."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        np.random.random(3)
        torch.rand(2)
        return PIXELS[index], int(LABELS[index])


class Given(Dataset):
    """A function of the index."""

    def __init__(self, get, samples=SAMPLES):
        self.get, self.samples = get, samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        return self.get(index)


def in_order(batch_size=4, drop_last=False):
    return BatchSampler(SequentialSampler(range(SAMPLES)), batch_size, drop_last)


def epochs(policy, count=2, *, workers=0, persistent=False, prefetch=None, batch_size=4, **how):
    """Batches of several epochs, numbered."""
    loader = DataLoader(
        Indexed(Arrays()),
        batch_sampler=NumberedBatches(in_order(batch_size)),
        num_workers=workers,
        persistent_workers=persistent,
        prefetch_factor=prefetch,
        collate_fn=Collate(policy, CLASSES, seed=3, **how),
    )
    return [list(loader) for _ in range(count)]


def expected(policy, ids, *, epoch, step=None, mirror=None, **how):
    """The same by the array functions."""
    ids = np.asarray(ids)
    peaks = msda.saliency(PIXELS[ids], mirror=mirror) if policy.needs_peaks else None
    step = epoch if step is None else step
    plan = msda.draw(policy, len(ids), HEIGHT, WIDTH, seed=3, step=step, ids=ids, peaks=peaks)
    mixed = msda.blend(PIXELS[ids], plan, layout="CHW", mirror=mirror, **how)
    mixed = mixed.reshape(-1, *mixed.shape[-3:])
    rows = msda.targets(LABELS[ids], plan, num_classes=CLASSES).reshape(-1, CLASSES)
    return mixed, rows


def assert_equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride()
        assert torch.equal(a, b)


def flat(epochs):
    return [part for epoch in epochs for batch in epoch for part in batch]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_batches_are_the_plans_of_seed_epoch_and_indices(policy):
    turns = isinstance(policy, msda.LaMix | msda.Alternate)
    for epoch, batches in enumerate(epochs(policy, mean=MEAN, std=STD, mirror=0.5)):
        assert [len(rows) for _, rows in batches][-1] == 1 * (policy.interpolations or 1)
        for number, (ids, (images, rows)) in enumerate(zip(in_order(), batches, strict=True)):
            step = epoch * 6 + number if turns else epoch
            how = dict(mirror=loader_draws.flips(ids, 0.5, seed=3, step=epoch), mean=MEAN, std=STD)
            want = expected(policy, ids, epoch=epoch, step=step, **how)
            assert images.dtype == torch.float32 and images.is_contiguous()
            np.testing.assert_array_equal(images, want[0])
            np.testing.assert_array_equal(rows, want[1])


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_batches_depend_neither_on_workers_nor_on_generators(policy):
    how = dict(mirror=0.5, mean=MEAN, std=STD, channels_last=True)
    np.random.seed(1)
    torch.manual_seed(1)
    want = flat(epochs(policy, **how))
    for number, more in enumerate(
        (dict(workers=1), dict(workers=3, prefetch=4), dict(workers=2, persistent=True))
    ):
        np.random.seed(number)
        torch.manual_seed(number)
        assert_equal(flat(epochs(policy, **more, **how)), want)


@pytest.mark.parametrize("workers, persistent", [(0, False), (2, False), (2, True)])
def test_set_epoch_reaches_the_workers(workers, persistent):
    collate = Collate(msda.Mixup(), CLASSES, seed=3, dtype="float32")
    loader = DataLoader(Indexed(Arrays()), 4, num_workers=workers, collate_fn=collate,
                        persistent_workers=persistent)  # fmt: skip
    assert collate.epoch is None
    for epoch in (5, 6, 2**32 - 1, 5):
        collate.set_epoch(epoch)
        assert collate.epoch == epoch
        for ids, (images, rows) in zip(in_order(), loader, strict=True):
            want = expected(msda.Mixup(), ids, epoch=epoch, dtype="float32")
            np.testing.assert_array_equal(images, want[0])
            np.testing.assert_array_equal(rows, want[1])


def test_an_epoch_left_early_does_not_reach_into_the_next():
    collate = Collate(msda.Mixup(), CLASSES, seed=3)
    loader = DataLoader(Indexed(Arrays()), 2, num_workers=2, collate_fn=collate,
                        persistent_workers=True, prefetch_factor=3)  # fmt: skip
    collate.set_epoch(0)
    for _ in itertools.islice(loader, 2):
        pass
    collate.set_epoch(1)
    for ids, (images, _) in zip(in_order(2), loader, strict=True):
        np.testing.assert_array_equal(images, expected(msda.Mixup(), ids, epoch=1)[0])


def test_workers_that_are_spawned_see_the_epoch():
    collate = Collate(msda.CutMix(), CLASSES, seed=3)
    loader = DataLoader(Indexed(Arrays()), 8, num_workers=1, collate_fn=collate,
                        persistent_workers=True, multiprocessing_context="spawn")  # fmt: skip
    for epoch in (0, 1):
        collate.set_epoch(epoch)
        for ids, (images, _) in zip(in_order(8), loader, strict=True):
            np.testing.assert_array_equal(images, expected(msda.CutMix(), ids, epoch=epoch)[0])


def test_it_can_be_copied():
    collate = Collate(msda.CutMix(), CLASSES)
    collate.set_epoch(4)
    assert pickle.loads(pickle.dumps(collate)).epoch == 4


def test_epochs_differ_and_an_epoch_is_reproduced():
    first, second = epochs(msda.Mixup(), dtype="float32")
    pairs = list(zip(first, second, strict=True))[:-1]  # the last is a sample alone
    assert not any(torch.equal(a[1], b[1]) for a, b in pairs)
    batches = NumberedBatches(in_order(), epoch=1)
    collate = Collate(msda.Mixup(), CLASSES, seed=3, dtype="float32")
    loader = DataLoader(Indexed(Arrays()), batch_sampler=batches, collate_fn=collate)
    assert_equal(flat([loader]), flat([second]))
    assert batches.epoch == 2
    batches.set_epoch(0)
    assert_equal(flat([loader]), flat([first]))


def test_the_draws_of_a_sample_follow_it_into_another_batch():
    collate, data = Collate(msda.CutMix(), CLASSES, mirror=0.5), Indexed(Arrays())
    collate.set_epoch(0)
    ids = np.arange(8)
    plan = msda.draw(msda.CutMix(), 8, HEIGHT, WIDTH, seed=0, step=0, ids=ids)
    other = msda.draw(msda.CutMix(), 4, HEIGHT, WIDTH, seed=0, step=0, ids=ids[4:])
    assert (plan["lam"][4:] == other["lam"]).all()
    alone = [collate([data[index]])[0] for index in range(8)]
    together = Collate(None, mirror=0.5)
    together.set_epoch(0)
    assert torch.equal(together(data.__getitems__(list(range(8))))[0], torch.cat(alone))


def test_flips_are_those_of_the_ffcv_mixer():
    """Purpose 255 of the counter, by the sample's index: the two loaders share their flips."""
    collate = Collate(None, mirror=0.3, seed=9)
    collate.set_epoch(7)
    images, labels = collate(Indexed(Arrays()).__getitems__(range(SAMPLES)))
    want = np.empty(SAMPLES)
    for index in range(SAMPLES):
        cpu.library().msda_uniforms(want[index:].ctypes.data, 1, 9, index, 7, 255)
    flipped = want < 0.3
    assert 0 < flipped.sum() < SAMPLES
    mirrored = np.where(flipped[:, None, None, None], PIXELS[:, :, ::-1], PIXELS)
    np.testing.assert_array_equal(images, mirrored.transpose(0, 3, 1, 2))
    assert labels.dtype == torch.int64 and labels.tolist() == LABELS.tolist()


def test_the_purposes_of_draws_are_the_kernels():
    text = (build.KERNELS / "msda" / "philox.h").read_text()
    numbers = {name.lower(): int(k) for name, k in re.findall(r"kDraw(\w+) = (\d+)", text)}
    assert loader_draws.PURPOSES.items() <= numbers.items()
    assert len(set(numbers.values())) == len(numbers)


def test_an_order_is_a_permutation_of_any_length(monkeypatch):
    assert sorted(loader_draws.order(1000, seed=0, step=0)) == list(range(1000))
    assert len(loader_draws.order(0, seed=0, step=0)) == 0
    first = loader_draws.order(1000, seed=0, step=0)
    monkeypatch.setattr(loader_draws, "LONGEST", 64)  # several counters, as of a great dataset
    several = loader_draws.order(1000, seed=0, step=0)
    assert sorted(several) == list(range(1000))
    assert (several != first).any()
    values = loader_draws.uniforms([0, 1], 64, purpose="order", seed=0, step=0)
    assert len(np.unique(values)) == 128


KINDS = {
    "array": lambda pixels: pixels,
    "strided array": lambda pixels: np.stack([pixels, pixels], 2)[:, :, 1],
    "PIL": Image.fromarray,
    "tensor": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
    "channels last": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_images(kind):
    data = Indexed(Given(lambda index: (KINDS[kind](PIXELS[index]), LABELS[index])))
    collate = Collate(msda.CutMix(), CLASSES, seed=3)
    collate.set_epoch(0)
    images, rows = collate(data.__getitems__([3, 1, 4, 15, 9]))
    want = expected(msda.CutMix(), [3, 1, 4, 15, 9], epoch=0)
    np.testing.assert_array_equal(images, want[0])
    np.testing.assert_array_equal(rows, want[1])


@pytest.mark.parametrize("kind", [lambda p: p[..., 0], lambda p: Image.fromarray(p[..., 0])])
def test_grey_images(kind):
    data = Indexed(Given(lambda index: (kind(PIXELS[index]), torch.tensor(LABELS[index]))))
    collate = Collate(msda.Mixup(), CLASSES, seed=3, mean=100.0, std=50.0)
    collate.set_epoch(0)
    images, _ = collate(data.__getitems__([3, 1, 4]))
    plan = msda.draw(msda.Mixup(), 3, HEIGHT, WIDTH, seed=3, step=0, ids=[3, 1, 4])
    grey = PIXELS[[3, 1, 4]][..., :1].copy()
    want = msda.blend(grey, plan, mean=100.0, std=50.0, layout="CHW")
    np.testing.assert_array_equal(images, want)


@pytest.mark.parametrize("dtype", ["uint8", torch.float32, torch.float16, "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_types_and_memory_orders(dtype, channels_last, workers):
    name = str(dtype).removeprefix("torch.")
    normalise = {} if name == "uint8" else dict(mean=MEAN, std=STD)
    how = dict(dtype=dtype, channels_last=channels_last, **normalise)
    ((batch, *_),) = epochs(msda.CutMix(), 1, workers=workers, **how)
    plan = msda.draw(msda.CutMix(), 4, HEIGHT, WIDTH, seed=3, step=0, ids=range(4))
    want = msda.blend(torch.from_numpy(PIXELS[:4]), plan, dtype=name, layout="CHW", **normalise)
    images = batch[0]
    assert images.dtype == getattr(torch, name) and torch.equal(images, want)
    order = torch.channels_last if channels_last else torch.contiguous_format
    assert images.is_contiguous(memory_format=order)
    assert in_shared_memory(images) == bool(workers)


def in_shared_memory(tensor):
    """Whether its bytes are those that another process wrote, and no copy of them."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, rights = line.split()[:2]
        start, end = (int(address, 16) for address in addresses.split("-"))
        if start <= tensor.data_ptr() < end:
            return rights.endswith("s")
    raise AssertionError("no mapping holds the tensor")


def test_compact_targets_have_one_width():
    """What a policy may mix at most, also where a batch mixes fewer."""
    policy = msda.Choice([msda.Mixup(n=4, prob=0.05), msda.CutMix(prob=0.5)])
    (batches,) = epochs(policy, 1, compact=True, batch_size=2)
    plain = epochs(policy, 1, batch_size=2)[0]
    for (_, labels, weights), (_, rows) in zip(batches, plain, strict=True):
        assert labels.shape == weights.shape == (len(rows), 4)
        assert labels.dtype == torch.int64 and weights.dtype == torch.float32
        dense = torch.zeros_like(rows).scatter_add_(1, labels, weights)
        torch.testing.assert_close(dense, rows, rtol=0, atol=1e-6)
    assert any((weights[:, 2:] == 0).all() for *_, weights in batches)


def test_soft_labels_and_smoothing():
    soft = np.random.default_rng(1).dirichlet(np.ones(CLASSES), SAMPLES).astype(np.float32)
    data = Indexed(Given(lambda index: (PIXELS[index], soft[index])))
    collate = Collate(msda.Mixup(), smoothing=0.1)
    collate.set_epoch(2)
    _, rows = collate(data.__getitems__([5, 6, 7]))
    plan = msda.draw(msda.Mixup(), 3, HEIGHT, WIDTH, seed=0, step=2, ids=[5, 6, 7])
    np.testing.assert_array_equal(rows, msda.targets(soft[5:8], plan, smoothing=0.1))


def test_ranks_share_a_seed():
    """Ranks hold other samples; together they draw what one would, partners apart."""
    collate, lams = Collate(msda.Mixup(partner="roll"), CLASSES, dtype="float32"), []
    for rank in (0, 1):
        sampler = DistributedSampler(Arrays(), 2, rank, seed=5)
        batches = NumberedBatches(BatchSampler(sampler, 4, drop_last=True), epoch=3)
        found = [rows for _, rows in DataLoader(Indexed(Arrays()), batch_sampler=batches,
                                                collate_fn=collate)]  # fmt: skip
        assert sampler.epoch == 3
        lams.append(torch.cat(found).amax(1))
    assert not np.isin(*(lam[lam < 1] for lam in lams)).any()


def test_random_order_and_subsets_keep_the_indices():
    kept = [20, 3, 11, 0, 7]
    data = Subset(Indexed(Arrays()), kept)
    collate = Collate(msda.CutMix(), CLASSES, seed=3)
    collate.set_epoch(0)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(1))
    order = list(RandomSampler(data, generator=torch.Generator().manual_seed(1)))
    ((images, _),) = DataLoader(data, 5, sampler=sampler, collate_fn=collate)
    want = expected(msda.CutMix(), [kept[k] for k in order], epoch=0)
    np.testing.assert_array_equal(images, want[0])


def test_a_dataset_that_fetches_by_the_batch_is_asked_so():
    class Fetches(Arrays):
        def __getitems__(self, indices):
            return [(PIXELS[index], 1) for index in indices]

    samples = Indexed(Fetches()).__getitems__([2, 4])
    assert [sample.index for sample in samples] == [2, 4]
    assert [sample.value[1] for sample in samples] == [1, 1]


def collated(get, *, policy=None, **how):
    collate = Collate(policy or msda.CutMix(), CLASSES, **how)
    collate.set_epoch(0)
    return collate(Indexed(Given(get)).__getitems__([4, 5]))


SMALL = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    "get, error, message",
    [
        (
            lambda k: SMALL,
            TypeError,
            r"sample 4: expected a pair \(image, label\), more or a dict.* got nd",
        ),
        (lambda k: (SMALL,), TypeError, "sample 4: expected a pair .* got tuple of 1"),
        (lambda k: (SMALL / 2, 0), TypeError, "sample 4: expected an image of uint8, .* float64"),
        (lambda k: (torch.rand(3, 4, 4), 0), TypeError, r"got Tensor float32 \(3, 4, 4\); leave"),
        (lambda k: (torch.full((3, 4, 4), np.nan), 0), TypeError, "expected an image of uint8"),
        (lambda k: (SMALL[None], 0), TypeError, r"uint8 \(1, 4, 4, 3\)"),
        (lambda k: ("a.jpg", 0), TypeError, "sample 4: expected an image of uint8"),
        (lambda k: (SMALL[: k - 2], 0), ValueError, r"sample 5: .* \(2, 4, 3\), as sample 4 has"),
        (lambda k: (SMALL, 0.5), TypeError, "sample 4: expected a label that is a class index"),
        (lambda k: (SMALL, [1, 2]), TypeError, "sample 4: expected a label"),
        (lambda k: (SMALL, 5), ValueError, r"labels\[0\]: expected 0 <= label < 5, got 5"),
        (lambda k: (SMALL, 1 - k // 5 * 2), ValueError, r"labels\[1\]: .* got -1"),
        (lambda k: (SMALL, np.ones(k, "f4")), ValueError, "labels: expected one shape"),
        (lambda k: (SMALL, np.full(5, np.nan)), ValueError, "labels: expected finite soft labels"),
        (lambda k: (SMALL, np.ones(4, "f4")), ValueError, "num_classes: expected 4, as the labels"),
    ],
)
def test_wrong_samples(get, error, message):
    with pytest.raises(error, match=message):
        collated(get)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(policy="cutmix"), TypeError, "policy: expected a policy such as"),
        (dict(mirror=1.5), ValueError, "mirror: expected a probability"),
        (dict(seed=-1), ValueError, "seed: expected 0 <= seed"),
        (dict(num_classes=0), ValueError, "num_classes: expected at least 1"),
        (dict(smoothing=2), ValueError, "smoothing: expected a share"),
        (dict(compact=True, smoothing=0.1), ValueError, "compact: expected no smoothing"),
        (dict(compact=1), TypeError, "compact: expected True or False"),
        (dict(dtype="int8"), ValueError, "dtype: expected one of"),
        (dict(dtype="uint8", mean=3.0), ValueError, "dtype: expected a float type"),
        (dict(std=(1.0, 0.0, 1.0)), ValueError, "std: expected finite numbers > 0"),
        (dict(policy=None, compact=True), ValueError, "policy: expected one with compact"),
    ],
)
def test_wrong_arguments(change, error, message):
    with pytest.raises(error, match=message):
        Collate(**{"policy": msda.CutMix(), "num_classes": CLASSES} | change)


def test_what_was_forgotten_is_said():
    data, collate = Indexed(Arrays()), Collate(msda.CutMix(), CLASSES)
    with pytest.raises(ValueError, match=r"epoch: expected collate.set_epoch\(n\)"):
        collate([data[0]])
    collate.set_epoch(0)
    with pytest.raises(TypeError, match=r"samples: expected those of Indexed\(dataset\), got tup"):
        collate([data.dataset[0]])
    with pytest.raises(ValueError, match="policy: .* does not take turns, or NumberedBatches"):
        takes_turns = Collate(msda.LaMix(), CLASSES)
        takes_turns.set_epoch(0)
        takes_turns([data[0]])
    with pytest.raises(ValueError, match="epoch: expected 0 <= epoch"):
        collate.set_epoch(-1)
    with pytest.raises(TypeError, match="dataset: expected one with __getitem__"):
        Indexed(iter(range(3)))
    with pytest.raises(
        TypeError, match="sampler: expected a sampler or batch sampler with a length"
    ):
        NumberedBatches(iter([[1]]))


def fails(index):
    if index == 13:
        raise KeyError("sample 13 is not here")
    return PIXELS[index], 0


@pytest.mark.parametrize("get, text", [(fails, "sample 13 is not here"),
                                       (lambda k: (PIXELS[k], k), "labels.*got 5")])  # fmt: skip
def test_errors_in_workers_reach_the_caller(get, text):
    collate = Collate(msda.CutMix(), CLASSES)
    collate.set_epoch(0)
    loader = DataLoader(Indexed(Given(get)), 4, num_workers=2, collate_fn=collate)
    with raises_in_worker((KeyError, ValueError), match=f"(?s){text}"):
        list(loader)
