"""AlignMix: feature maps are moved by optimal transport, a sample at a time, and then mixed."""

import numpy as np
import pytest
import torch
from torch import nn

import dali_msda as msda
from dali_msda.torch import AlignMix, ManifoldMixup, align
from tests.reference import hidden as reference

BATCH, CLASSES = 4, 3
LABELS = torch.arange(BATCH) % CLASSES


def maps(*shape, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(BATCH, *shape, generator=generator) for _ in range(2))


@pytest.mark.parametrize("scale", [0.05, 1.0])
@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("shape", [(8, 2, 3), (5, 4), (3, 2, 1, 2), (6,)])
def test_it_is_the_definition(shape, direction, scale):
    own, partner = maps(*shape, scale=scale)
    lam = torch.tensor([0.0, 0.3, 0.8, 1.0])
    for iterations in (1, 20):
        found = align(own, partner, lam, direction, iterations)
        for i in range(BATCH):
            pair = own[i].numpy(), partner[i].numpy()
            expected = reference.aligned(*pair, lam[i].item(), direction, iterations)
            np.testing.assert_allclose(found[i], expected, rtol=1e-3, atol=1e-4 * scale)


def test_a_sample_does_not_depend_on_the_others():
    own, partner = maps(8, 3, 3)
    directions = torch.tensor([True, False, False, True])
    found = align(own, partner, 0.4, directions)
    for i in range(BATCH):
        alone = align(own[i : i + 1], partner[i : i + 1], 0.4, int(directions[i]))
        torch.testing.assert_close(found[i : i + 1], alone, rtol=1e-3, atol=1e-4)


def test_a_shuffled_map_is_brought_back():
    own, _ = maps(16, 3, 3, scale=3.0)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled = own.flatten(2)[:, :, order].reshape(own.shape)
    for lam, direction, expected in ((0.0, 0, own), (1.0, 1, shuffled)):
        torch.testing.assert_close(align(own, shuffled, lam, direction), expected)


def test_gradients_flow_through_the_maps_alone():
    own, partner = (part.double().requires_grad_() for part in maps(4, 2, 2))
    lam, slope = 0.3, torch.randn(BATCH, 4, 2, 2, dtype=torch.float64)
    for direction in (0, 1):
        found = torch.autograd.grad((align(own, partner, lam, direction) * slope).sum(), own)[0]
        shares = torch.stack(
            [
                torch.from_numpy(4 * reference.transport(a.reshape(4, 4), b.reshape(4, 4), 20))
                for a, b in zip(own.detach().numpy(), partner.detach().numpy(), strict=True)
            ]
        )
        expected = lam * slope.flatten(2)
        expected = expected @ shares.transpose(1, 2) if direction else expected
        torch.testing.assert_close(found.flatten(2), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_features_of_half_precision(dtype):
    own, partner = (40 * part.to(dtype) for part in maps(64, 2, 2))
    found = align(own, partner, 0.5, 0)
    assert found.dtype == dtype and found.isfinite().all()
    full = align(own.float(), partner.float(), 0.5, 0)
    assert (found - full).abs().max() < 0.02 * full.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(align(own, partner, 0.5, 0), found)


@pytest.mark.parametrize(
    "policy", [msda.Mixup(), msda.MultiMix(msda.Mixup(), k=3), msda.Mixup(prob=0.4)]
)
def test_as_a_hook(policy):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    images = torch.randn(BATCH, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    plain = model(images)
    mix = AlignMix(model, ["", "1"], policy, CLASSES, seed=6)
    seen = set()
    for step in range(8):
        with mix(LABELS) as targets:
            found = model(images)
        plan = mix.plan.reshape(BATCH, -1)
        np.testing.assert_allclose(targets, reference.rows(LABELS, plan, CLASSES), atol=1e-6)
        if not plan["layer"].any():
            expected = model(torch.from_numpy(reference.mixed(images.numpy(), plan)).float())
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            continue
        for i, records in enumerate(plan):
            coin = reference.direction(i, seed=6, step=step)
            pair = [plain[j].detach().numpy() for j in records[0][["own", "partner"]]]
            for k, p in enumerate(records):
                assert p["flags"] == 4 * coin
                mixes = p["sources"] == 2
                made = reference.aligned(*pair, p["lam"], coin, 20) if mixes else pair[0]
                index = i * len(records) + k
                np.testing.assert_allclose(found[index].detach(), made, rtol=1e-3, atol=1e-4)
                seen.add((coin, bool(mixes)))
    assert {(0, True), (1, True)} <= seen


def test_a_batch_that_shares_lambda_shares_the_direction():
    mix = AlignMix(None, ["a"], msda.Mixup(scope="batch"), CLASSES, seed=1, rank=2)
    found = []
    for step in range(16):
        with mix(LABELS):
            mix.at("a", torch.rand(BATCH, 2, 3))
        (flag,) = set(mix.plan["flags"].tolist())
        assert flag == 4 * reference.direction(0, seed=1, step=step, rank=2)
        found.append(flag)
    assert set(found) == {0, 4}


def test_a_plan_is_done_again_and_layers_are_those_of_manifold_mixup():
    h = torch.rand(BATCH, 3, 2, 2)
    mix = AlignMix(None, ["a", "b"], num_classes=CLASSES, seed=8)
    plain = ManifoldMixup(None, ["a", "b"], num_classes=CLASSES, seed=8)
    for _ in range(4):
        made = []
        with mix(LABELS):
            made += [mix.at("a", h), mix.at("b", h)]
        with mix(LABELS, plan=mix.plan):
            made += [mix.at("a", h), mix.at("b", h)]
        assert torch.equal(made[0], made[2]) and torch.equal(made[1], made[3])
        with plain(LABELS):
            plain.at("a", h), plain.at("b", h)
        names = ["layer", "lam", "partner"]
        assert (mix.plan[names] == plain.plan[names]).all()


def test_a_compiled_model():
    torch._dynamo.reset()
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    images, eager = torch.randn(BATCH, 3, 5, 5), AlignMix(plain, ["1"], num_classes=CLASSES)
    model = torch.compile(plain, backend="aot_eager", fullgraph=True)
    with eager(LABELS):
        expected = plain(images)
    with eager(LABELS, plan=eager.plan):
        torch.testing.assert_close(model(images), expected)


def test_what_does_not_fit_is_said():
    own, partner = maps(3, 2)
    with pytest.raises(ValueError, match="partner: expected the shape of own"):
        align(own, partner[:, :2], 0.5, 0)
    with pytest.raises(ValueError, match="iterations: expected at least 1, got 0"):
        align(own, partner, 0.5, 0, 0)
    with pytest.raises(ValueError, match="policy: expected Mixup of two samples"):
        AlignMix(None, ["a"], msda.Mixup(n=3))
