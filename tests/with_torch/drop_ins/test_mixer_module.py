"""The Mixer as a part of models and pipelines, and on sequences and volumes."""

import copy
import pickle

import pytest
import torch

import dali_msda as msda
from dali_msda.torch import Mixer

CLASSES = 5
LABELS = torch.tensor([0, 4, 2, 1])
IMAGES = torch.rand(4, 3, 8, 6, generator=torch.Generator().manual_seed(0))


def equal(ours, theirs):
    return all(map(torch.equal, ours, theirs))


def test_it_is_a_part_of_a_model_that_weights_know_nothing_of():
    def model(*parts):
        return torch.nn.Sequential(*parts, torch.nn.Linear(2, 2))

    mixer = Mixer(msda.CutMix(), CLASSES, seed=3)
    held = model(mixer).to("cpu", torch.float64).half().eval().requires_grad_(False)
    assert next(iter(held.children())) is mixer and "CutMix(" in repr(held)
    assert set(held.state_dict()) == {"1.weight", "1.bias"}
    held.load_state_dict(held.state_dict())
    assert mixer.state_dict() == {"seed": 3, "step": 0}
    want = mixer(IMAGES, LABELS)
    for other in (copy.deepcopy(mixer), pickle.loads(pickle.dumps(mixer))):
        assert other.step == 1 and equal(other(IMAGES, LABELS, step=0), want)


def test_a_sequential_hands_pairs_on():
    first, second = (Mixer(policy, CLASSES, seed=8) for policy in (msda.CutMix(), msda.Mixup()))
    together = torch.nn.Sequential(first, second)((IMAGES, LABELS))
    assert equal(together, second(*first(IMAGES, LABELS, step=0), step=0))


@pytest.mark.parametrize("compact", [False, True])
def test_labels_may_come_after_images(compact):
    mixer = Mixer(msda.CutMix(), None if compact else CLASSES, seed=8, compact=compact)
    with pytest.raises(ValueError, match="labels: expected 0, as .* mix the images first"):
        mixer.targets(LABELS)
    want, *made = mixer(IMAGES, LABELS)
    mixer._key.step = 0
    images = torch.nn.Sequential(torch.nn.Identity(), mixer)(IMAGES)
    targets = mixer.targets(LABELS)
    assert torch.equal(images, want) and equal(targets if compact else [targets], made)
    with pytest.raises(ValueError, match="labels: expected 4, as the batch that was mixed last"):
        mixer.targets(LABELS[:3])


@pytest.mark.parametrize("policy", [msda.FMix(), msda.MultiMix(msda.Mixup(), k=2)])
@pytest.mark.parametrize("shape", [(9,), (4, 5, 6)], ids=["sequences", "volumes"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_sequences_and_volumes(policy, shape, dtype):
    x = (torch.rand(4, 3, *shape) * 255).to(dtype)
    plan = msda.draw(policy, 4, shape=shape, seed=1, step=0)
    last = x.movedim(1, -1).contiguous()
    read = last if dtype == torch.uint8 else last.float()
    want = msda.blend(read, plan, dtype=dtype, layout="CHW").flatten(0, plan.ndim - 1)
    mixer = Mixer(policy, CLASSES, seed=1)
    for given in (x, last.movedim(-1, 1), torch.stack([x, x], -1)[..., 1]):
        mixed, rows = mixer(given, LABELS, step=0)
        assert mixed.dtype == dtype and torch.equal(mixed, want)
        assert torch.equal(rows, msda.targets(LABELS, plan, num_classes=CLASSES).flatten(0, -2))


def test_what_volumes_do_not_have():
    with pytest.raises(ValueError, match="policy: expected Mixup or FMix for samples of shape"):
        Mixer(msda.CutMix(), CLASSES)(torch.rand(4, 3, 4, 5, 6), LABELS)
    with pytest.raises(ValueError, match="policy: expected Mixup or FMix for samples of shape"):
        Mixer(msda.SaliencyMix(), CLASSES)(torch.rand(4, 3, 9), LABELS)
    with pytest.raises(ValueError, match=r"images: expected shape \(B, C, L\) or \(B, C, H, W\)"):
        Mixer(msda.Mixup(), CLASSES)(torch.rand(4, 3), LABELS)
