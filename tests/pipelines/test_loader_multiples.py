"""Loaders that yield several samples for an image, sizes that change, and turns: to the bit."""

import itertools

import numpy as np
import pytest
import torch

import dali_msda as msda
from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders.dali import TrainingLoader
from dali_msda.pipelines.loaders.dali_failures import DatasetError
from dali_msda.pipelines.loaders.epochs import IMAGENET_MEAN, IMAGENET_STD
from tests.support.photographs import write_textures

B, SIZE, CLASSES, SEED = 4, 21, 3, 11
SMALL = {"batch_size": B, "size": SIZE, "seed": SEED}
RAW = {"mean": (0, 0, 0), "std": (1, 1, 1)}
MULTI = msda.MultiMix(msda.Choice([msda.CutMix(), msda.Mixup(), msda.FMix()]), k=3)
POLICIES = {
    "multi-mix": MULTI,
    "shared": msda.MultiMix(msda.HMix(scope="batch"), k=2, share="batch"),
    "turns": msda.MultiMix(msda.Alternate([msda.CutMix(), msda.GMix()], counts=[1, 2]), k=2),
    "lamix": msda.LaMix(),
    "cutmix": msda.CutMix(),
}
policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return datasets.find(str(write_textures(tmp_path_factory.mktemp("images"), (6, 6, 5))))


def loader(folder, **more):
    return TrainingLoader(folder, **SMALL | more)


def batches(loader, count):
    """Copies of the next batches, over the ends of epochs."""
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    return [tuple(part.clone() for part in batch) for batch in itertools.islice(endless, count)]


def assert_same(ours, theirs):
    for mine, yours in zip(ours, theirs, strict=True):
        for a, b in zip(mine, yours, strict=True):
            assert (a.dtype, a.stride()) == (b.dtype, b.stride())
            assert torch.equal(a, b)


@policies
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_batches_equal_the_array_functions(folder, policy, copies, channels_last, rank):
    """What comes from the loader is the mix of the pictures that it decodes without a policy."""
    arguments = dict(shard_id=rank, num_shards=2, copies=copies)
    with loader(folder, **arguments, **RAW) as plain:
        decoded = batches(plain, 2)
    more = arguments | dict(policy=policy, channels_last=channels_last)
    with loader(folder, **more) as compact, loader(folder, compact=False, **more) as dense:
        mixed = list(zip(batches(compact, 2), batches(dense, 2), strict=True))
    k = policy.interpolations or 1
    for step, ((own, hard), (yielded, rows)) in enumerate(zip(decoded, mixed, strict=True)):
        own = own.permute(0, 2, 3, 1).to(torch.uint8).reshape(B, copies, SIZE, SIZE, 3)
        images, labels, weights = (part.reshape(B, copies, k, *part.shape[1:]) for part in yielded)
        dense_rows = rows[1].reshape(B, copies, k, CLASSES)
        assert torch.equal(rows[0], yielded[0])
        for copy in range(copies):
            theirs = hard.reshape(B, copies)[:, copy].numpy()
            draw = dict(seed=SEED, step=step, rank=rank + 2 * copy)
            plan = msda.draw(policy, B, SIZE, SIZE, **draw)
            expected = msda.blend(
                own[:, copy].contiguous().numpy(),
                plan,
                mean=IMAGENET_MEAN,
                std=IMAGENET_STD,
                layout="CHW",
            )
            shape = (B, k, 3, SIZE, SIZE)
            assert np.array_equal(images[:, copy].numpy(), expected.reshape(shape))
            for ours, want in zip(
                (labels, weights), msda.targets(theirs, plan, compact=True), strict=True
            ):
                assert np.array_equal(ours[:, copy], want.reshape(B, k, -1))
            want = msda.targets(theirs, plan, num_classes=CLASSES).reshape(B, k, CLASSES)
            assert np.array_equal(dense_rows[:, copy], want)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("compact", [False, True])
def test_nothing_is_copied_to_join_the_samples_of_an_image(folder, channels_last, compact):
    arguments = dict(policy=MULTI, copies=2, channels_last=channels_last, compact=compact)
    with loader(folder, **arguments) as made:
        outputs = []
        run = made._run

        def watched():
            outputs.append(run())
            return outputs[-1]

        made._run = watched
        yielded = next(iter(made))
    assert len(yielded[0]) == B * 2 * 3
    memory = torch.channels_last if channels_last else torch.contiguous_format
    assert yielded[0].is_contiguous(memory_format=memory)
    pairs = zip(outputs[0], yielded, strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)


@pytest.mark.parametrize("policy", [None, msda.Mixup()], ids=["plain", "mixed"])
def test_copies_are_cropped_and_mixed_each_on_its_own(folder, policy):
    with loader(folder, copies=4, policy=policy, compact=False) as made:
        images, targets = next(iter(made))
    images = images.reshape(B, 4, 3, SIZE, SIZE)
    for a, b in itertools.combinations(range(4), 2):
        for sample in range(B):
            assert not torch.equal(images[sample, a], images[sample, b])
    targets = targets.reshape(B, 4, *targets.shape[1:])
    if policy is None:  # the same pictures, so the same labels
        assert (targets == targets[:, :1]).all()
    else:
        assert len({tuple(copy.ravel().tolist()) for copy in targets.unbind(1)}) == 4


def test_copies_are_mirrored_each_on_its_own(folder):
    whole = dict(copies=8, min_area=1.0, batch_size=8, **RAW)
    with loader(folder, **whole) as made:
        images = batches(made, 1)[0][0].reshape(8, 8, 3, SIZE, SIZE)
    first = images[:, :1]
    same, flipped = (
        (images - other).abs().mean((2, 3, 4)) < 12 for other in (first, first.flip(-1))
    )
    assert 0.2 < flipped.float().mean() < 0.8
    assert 0.2 < same.float().mean() < 0.8


@policies
@pytest.mark.parametrize("copies", [1, 2])
def test_a_restored_loader_goes_on_in_mid_epoch(folder, policy, copies):
    def make():
        return loader(folder, policy=policy, copies=copies, sizes={1: 16, 3: 24}, prefetch=3)

    with make() as made:
        states, seen, turns = [made.state_dict()], [], [made.turn]
        endless = itertools.chain.from_iterable(itertools.repeat(made))
        for batch in itertools.islice(endless, 15):  # four batches are an epoch
            seen.append(tuple(part.clone() for part in batch))
            states.append(made.state_dict())
            turns.append(made.turn)
    assert [batch[0].shape[-1] for batch in seen] == [SIZE] * 4 + [16] * 8 + [24] * 3
    for consumed in (0, 1, 4, 5, 11, 12):
        with make() as made:
            made.load_state_dict(states[consumed])
            assert made.turn == turns[consumed]
            assert_same(batches(made, 15 - consumed), seen[consumed:])


def test_a_change_of_size_changes_nothing_else(folder):
    policy = msda.Mixup()  # whose weights do not depend on the size
    with (
        loader(folder, policy=policy) as steady,
        loader(folder, policy=policy, sizes={1: 9}) as ours,
    ):
        for mine, theirs in zip(batches(ours, 10), batches(steady, 10), strict=True):
            assert torch.equal(mine[1], theirs[1])
            assert torch.equal(mine[2], theirs[2])


@pytest.mark.parametrize("count", [17, 15, 16])
def test_turns_are_those_of_the_pixels_over_the_ends_of_epochs(tmp_path, count):
    """Also where the last batch of an epoch is dropped, which takes its turn all the same."""
    source = datasets.find(str(write_textures(tmp_path, (count,))))
    with loader(source, policy=msda.LaMix()) as made:
        assert made.turn is None
        told, seen = [], []
        for _ in range(4):
            for _, _, weights in made:
                told.append(made.turn)
                seen.append(int((weights[:, 1] > 0).any()))
            assert made.turn == told[-1]
    assert told == seen
    assert {0, 1} == set(told)


def test_turns_of_an_alternation_follow_its_counts(folder):
    policy = msda.Alternate([msda.Mixup(), msda.Choice([msda.CutMix(), msda.GMix()])], [2, 1])
    with loader(folder, policy=policy) as made:  # 17 images: a fifth batch is dropped
        told = [made.turn for _ in range(3) for _ in made]
    assert told == [int(step % 3 == 2) for step in range(15) if step % 5 != 4]
    with loader(folder, policy=msda.Mixup()) as made:
        assert {made.turn for _ in made} == {0}
    with loader(folder) as made:
        assert {made.turn for _ in made} == {None}


def test_a_state_of_other_copies_or_sizes_is_refused(folder):
    with loader(folder) as made:
        state = made.state_dict()
    for name, value in {"copies": 2, "sizes": {2: 16}}.items():
        made = loader(folder, **{name: value})
        with pytest.raises(ValueError, match=f"loader state: expected {name} "):
            made.load_state_dict(state)


def test_a_broken_file_is_named_with_copies_too(tmp_path):
    write_textures(tmp_path, (8,))
    broken = tmp_path / "class0" / "03.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    source = datasets.find(str(tmp_path))
    made = loader(source, copies=2, policy=MULTI)
    with pytest.raises(DatasetError, match=f"{broken}: expected an image, got a file that "):
        batches(made, 2)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"copies": 0}, "copies: expected at least 1, got 0"),
        ({"sizes": {0: 5}}, r"sizes: expected \{epoch: pixels\}"),
        ({"sizes": 5}, r"sizes: expected \{epoch: pixels\}"),
    ],
)
def test_errors(folder, wrong, message):
    with pytest.raises(ValueError, match=message):
        loader(folder, **wrong)
