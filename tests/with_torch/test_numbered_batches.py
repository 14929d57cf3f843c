"""Batches that know their epoch and number go on from any batch, as stateful loaders need."""

import itertools

import pytest
import torch
from torch.utils.data import BatchSampler, DistributedSampler, Sampler, SequentialSampler

from dali_msda.torch import NumberedBatches

DATA = range(18)


class Shuffled:
    """Iterator over a shuffled epoch whose state is that of its generator, as torchdata's."""

    def __init__(self, generator):
        self.generator = generator
        self._start(generator.get_state(), 0)

    def _start(self, state, made):
        self.state, self.made = state, made
        self.generator.set_state(state)
        self.order = torch.randperm(len(DATA), generator=self.generator).tolist()

    def __iter__(self):
        return self

    def __next__(self):
        if 4 * self.made >= len(DATA):
            raise StopIteration
        self.made += 1
        return self.order[4 * self.made - 4 : 4 * self.made]

    def state_dict(self):
        return {"generator": self.state, "made": self.made}

    def load_state_dict(self, state):
        self._start(state["generator"], state["made"])


class WithIteratorState(Sampler):
    def __init__(self):
        self.generator = torch.Generator().manual_seed(5)

    def __len__(self):
        return 5

    def __iter__(self):
        return Shuffled(self.generator)


class WithState(BatchSampler):
    """A sampler that keeps its place itself."""

    made = 0

    def __init__(self):
        super().__init__(SequentialSampler(DATA), 4, False)

    def __iter__(self):
        for batch in itertools.islice(super().__iter__(), self.made, None):
            self.made += 1
            yield batch
        self.made = 0

    def state_dict(self):
        return {"made": self.made}

    def load_state_dict(self, state):
        self.made = state["made"]


SAMPLERS = {
    "in order": lambda: BatchSampler(SequentialSampler(DATA), 4, False),
    "of ranks": lambda: BatchSampler(DistributedSampler(DATA, 1, 0, seed=3), 4, False),
    "state of its iterator": WithIteratorState,
    "state of its own": WithState,
}


def epoch_of(batches):
    return [(indices.place, list(indices)) for indices in batches]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("epoch, made", [(0, 0), (0, 2), (1, 4), (2, 1), (2, 0)])
def test_a_restored_sampler_goes_on(sampler, epoch, made):
    whole = NumberedBatches(SAMPLERS[sampler]())
    expected = [epoch_of(whole) for _ in range(4)]
    assert [place for place, _ in expected[1]] == [(1, number, 5) for number in range(5)]
    stopped = NumberedBatches(SAMPLERS[sampler]())
    for _ in range(epoch):
        epoch_of(stopped)
    for _ in itertools.islice(stopped, made):
        pass
    state = stopped.state_dict()
    assert (state["epoch"], state["batch"]) == (epoch, made)
    again = NumberedBatches(SAMPLERS[sampler]())
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert epoch_of(again) == expected[epoch][made:]
    assert epoch_of(again) == expected[epoch + 1]


def test_an_epoch_that_is_named_begins_at_its_start():
    batches = NumberedBatches(SAMPLERS["in order"]())
    batches.load_state_dict({"epoch": 3, "batch": 2})
    batches.set_epoch(7)
    assert [place.number for place, _ in epoch_of(batches)] == [0, 1, 2, 3, 4]
    assert batches.epoch == 8


@pytest.mark.parametrize(
    "state, error, message",
    [
        ({"epoch": 1}, ValueError, r"state: expected 'epoch' and 'batch', .* got \['epoch'\]"),
        ([1, 2], TypeError, "state: expected a dictionary with 'epoch' and 'batch'"),
        ({"epoch": 1, "batch": 9}, ValueError, "batch: expected 0 <= batch < 6, got 9"),
        ({"epoch": -1, "batch": 0}, ValueError, "epoch: expected 0 <= epoch"),
    ],
)
def test_wrong_states(state, error, message):
    with pytest.raises(error, match=message):
        NumberedBatches(SAMPLERS["in order"]()).load_state_dict(state)
