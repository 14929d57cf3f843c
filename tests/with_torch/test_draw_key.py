"""Which draws objects share: made anew, copied, pickled, on several ranks, in workers."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import dali_msda as msda
from dali_msda.timm import Mixup
from dali_msda.torch import Mixer
from dali_msda.torchvision import CutMix, MixUp

BATCH, CLASSES = 6, 6
LABELS = torch.arange(BATCH)
# The sum tells which pixels were taken: sample k has the k-th power of each pixel's number.
IMAGES = (torch.arange(31 * 37).reshape(1, 1, 31, 37) / 1147) ** LABELS.reshape(-1, 1, 1, 1)
DROP_INS = [Mixup, MixUp, CutMix]

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def drawn(images, rows):
    """What tells two draws apart: the own weight of the first sample, and where boxes lie."""
    return round(float(rows[0, 0]), 6), round(float(images[0].double().sum()), 3)


def next_draw(transform):
    return drawn(*transform(IMAGES.clone(), LABELS))


def next_draws(transform, batches=4):
    return [next_draw(transform) for _ in range(batches)]


def seeded(kind, seed, **how):
    torch.manual_seed(seed)
    return kind(num_classes=CLASSES, **how)


@pytest.mark.parametrize("kind", DROP_INS)
def test_objects_made_anew_draw_anew(kind):
    torch.manual_seed(0)
    assert len({next_draw(kind(num_classes=CLASSES)) for _ in range(10)}) == 10


@pytest.mark.parametrize("kind", DROP_INS)
def test_torch_seeds_an_object_when_it_is_made(kind):
    first, other, again = seeded(kind, 1), seeded(kind, 2), seeded(kind, 1)
    torch.manual_seed(3)
    want = next_draws(first)
    assert next_draws(again) == want
    assert not set(next_draws(other)) & set(want)


def test_kinds_that_torch_seeds_alike_draw_apart():
    made = [seeded(kind, 0) for kind in (MixUp, CutMix)]
    pairs = torch.tensor([[next_draw(kind)[0] for kind in made] for _ in range(200)])
    assert abs(torch.corrcoef(pairs.T)[0, 1]) < 0.3  # 0.8 where both draw the same lambda


@pytest.mark.parametrize("kind", DROP_INS)
def test_a_deep_copy_draws_anew_unless_there_is_a_seed(kind):
    original = kind(num_classes=CLASSES)
    model = torch.nn.ModuleDict({"mix": original}) if kind is not Mixup else {"mix": original}
    objects = [original, *(copy.deepcopy(model)["mix"] for _ in "ab"), copy.deepcopy(original)]
    assert len({next_draw(one) for one in objects}) == 4
    first, second = (seeded(kind, 6) for _ in "ab")
    assert next_draws(copy.deepcopy(first)) == next_draws(copy.deepcopy(second))
    assert next_draws(copy.copy(first)) != next_draws(first)  # it is the same object's key
    fixed = kind(num_classes=CLASSES, seed=4)
    next_draw(fixed)
    assert next_draws(copy.deepcopy(fixed)) == next_draws(fixed)


@pytest.mark.parametrize("kind", DROP_INS)
def test_a_seed_of_its_own_is_the_key_of_the_plan(kind):
    transform = kind(num_classes=CLASSES, seed=4)
    plan = msda.draw(transform.policy, BATCH, 31, 37, seed=4, step=0)
    how = dict(num_classes=CLASSES, smoothing=0.1 if kind is Mixup else 0.0)
    want = msda.targets(LABELS, plan, **how)
    torch.testing.assert_close(transform(IMAGES.clone(), LABELS)[1], want)


def as_rank(monkeypatch, rank):
    """Let torch.distributed say that this process has a rank; None for one without."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: rank is not None)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)


def as_mixer(num_classes, **how):
    return Mixer(msda.Mixup(), num_classes, **how)


@pytest.mark.parametrize("kind", [*DROP_INS, as_mixer])
def test_the_rank_is_part_of_a_pickled_object(monkeypatch, kind):
    found, lone = [], seeded(kind, 0)
    state = lone.state_dict()
    for rank in (0, 1):
        as_rank(monkeypatch, rank)
        one = seeded(kind, 0)
        pickled = pickle.dumps(one)
        want = next_draws(one)
        as_rank(monkeypatch, None)
        assert next_draws(pickle.loads(pickled)) == want
        found.append(want)
    assert not set(found[0]) & set(found[1])
    assert next_draws(lone) == found[0]
    as_rank(monkeypatch, 1)  # what the process itself says counts for more than a pickle
    other = pickle.loads(pickle.dumps(seeded(kind, 0, rank=0)))
    assert next_draws(other) == found[0] and other.state_dict() != state
    as_rank(monkeypatch, 0)
    assert next_draws(pickle.loads(pickled)) == found[0]


class CollateMixed:
    """Mixes in the collate function, as torchvision's documentation does."""

    def __init__(self, kind=MixUp, **how):
        self.mix = kind(num_classes=CLASSES, **how)

    def __call__(self, samples):
        return self.mix(*default_collate(samples))


class MakesAnew:
    """Makes its transform in the worker."""

    def __call__(self, samples):
        return MixUp(num_classes=CLASSES)(*default_collate(samples))


def draws_of(collate, context, epochs=1, workers=1):
    data = [(IMAGES[index % BATCH], index % CLASSES) for index in range(4 * BATCH)]
    loader = DataLoader(data, BATCH, collate_fn=collate, num_workers=workers,
                        multiprocessing_context=context)  # fmt: skip
    torch.manual_seed(7)
    return [[drawn(*batch) for batch in loader] for _ in range(epochs)]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_ranks_draw_apart_in_workers_however_they_are_started(monkeypatch, context):
    found = []
    for rank in (0, 1):
        torch.manual_seed(0)
        as_rank(monkeypatch, rank)
        found += draws_of(CollateMixed(), context)
    assert not set(found[0]) & set(found[1])


def test_ranks_of_torchrun_draw_apart_with_what_workers_make(monkeypatch):
    found = []
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        found += draws_of(MakesAnew(), "fork")
    assert len(set(found[0])) == 4
    assert not set(found[0]) & set(found[1])


@pytest.mark.parametrize("kind", DROP_INS)
def test_workers_and_epochs_draw_apart_and_a_restored_object_as_well(kind):
    torch.manual_seed(0)
    collate = CollateMixed(kind)
    epochs = draws_of(collate, "fork", epochs=2, workers=2)
    assert len({value for epoch in epochs for value in epoch}) == 8
    other = CollateMixed(kind)
    other.mix.load_state_dict(collate.mix.state_dict())
    assert draws_of(other, "fork", epochs=2, workers=2) == epochs


def test_the_default_device_does_not_matter():
    with torch.device("meta"):
        made = seeded(Mixup, 5)
    assert next_draws(made) == next_draws(seeded(Mixup, 5))


@pytest.mark.parametrize("kind", [*DROP_INS, as_mixer])
@pytest.mark.parametrize(
    "state, error, message",
    [
        ({"seed": 0}, ValueError, r"state: expected 'seed' and 'step', .* got \['seed'\]"),
        ({}, ValueError, r"state: expected 'seed' and 'step', .* got \[\]"),
        (None, TypeError, "state: expected a dictionary with 'seed' and 'step', .* got NoneType"),
        ({"seed": 0, "step": -1}, ValueError, "step: expected 0 <= step"),
        ({"seed": 0, "step": "1"}, TypeError, "step: expected a whole number, got '1'"),
    ],
)
def test_incomplete_states_are_refused(kind, state, error, message):
    transform = kind(num_classes=CLASSES, seed=0)
    next_draw(transform)
    before = transform.state_dict()
    with pytest.raises(error, match=message):
        transform.load_state_dict(state)
    assert transform.state_dict() == before == {"seed": 0, "step": 1}


def test_seeds_without_a_seed_are_spread_over_all_64_bits():
    seeds = np.array([Mixup().state_dict()["seed"] for _ in range(200)], np.uint64)
    bits = (seeds[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (np.abs(bits.mean(0) - 0.5) < 0.2).all()
