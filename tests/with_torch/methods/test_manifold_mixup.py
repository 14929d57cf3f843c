"""Manifold Mixup: what a layer gives is mixed as the plan says, and nothing else is touched."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointError, checkpoint

import dali_msda as msda
from dali_msda.torch import ManifoldMixup
from tests.reference import hidden as reference
from tests.support.limits import one_thread_of_torch  # noqa: F401

CLASSES, BATCH = 5, 6
LAYERS = ["", "stem", "body.0"]
POLICIES = {
    "mixup": msda.Mixup(alpha=2.0),
    "batch": msda.Mixup(alpha=2.0, scope="batch"),
    "three sources": msda.Mixup(n=3),
    "some": msda.Mixup(prob=0.5),
    "multimix": msda.MultiMix(msda.Mixup(alpha=2.0), k=3),
    "shared": msda.MultiMix(msda.Mixup(alpha=2.0, scope="batch"), k=2, share="batch"),
    "lamix": msda.LaMix(),
}


class Net(nn.Module):
    """Keeps what its layers give and get, before and after the hooks."""

    def __init__(self, recomputes=False):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.recomputes = nn.Conv2d(3, 4, 3, padding=1), recomputes
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh())
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        self.got = x
        h = self.stem(x)
        h = checkpoint(self.body, h, use_reentrant=False) if self.recomputes else self.body(h)
        return self.head(h.mean((2, 3)))


def data(batch=BATCH, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, 3, 7, 8, generator=generator)
    return images, torch.arange(batch) % CLASSES


def step_of(mix, layer):
    """A step whose batch is mixed at this layer."""
    return next(s for s in range(99) if mix._drawn(BATCH, s)["layer"].flat[0] == layer)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("layer", range(3))
def test_it_is_the_definition(name, layer):
    model, (images, labels) = Net(), data()
    mix = ManifoldMixup(model, LAYERS, POLICIES[name], CLASSES, seed=3)
    with mix(labels, step=step_of(mix, layer)) as targets:
        logits = model(images)
    plain, h = Net(), images
    parts = [nn.Identity(), plain.stem, plain.body[0], plain.body[1]]
    for number, part in enumerate(parts):
        h = part(h)
        if number == layer:
            made = reference.mixed(h.detach().numpy(), mix.plan)
            h = torch.from_numpy(made.astype(np.float32))
    torch.testing.assert_close(logits, plain.head(h.mean((2, 3))), rtol=1e-5, atol=1e-6)
    rows = reference.rows(labels, mix.plan, CLASSES)
    np.testing.assert_allclose(targets, rows, atol=1e-6)


def test_the_plan_is_that_of_the_policy_with_the_layer_beside_it():
    policy = POLICIES["multimix"]
    for rank in (0, 3):
        mix = ManifoldMixup(Net(), LAYERS, policy, CLASSES, seed=9, rank=rank)
        for step in range(20):
            with mix(torch.arange(4)):
                mix.at("stem", torch.rand(4, 2)), mix.at("body.0", torch.rand(4, 2))
                mix.at("", torch.rand(4, 2))
            plan = msda.draw(policy, 4, 1, 1, seed=9, step=step, rank=rank)
            plan["layer"] = reference.layer(3, seed=9, step=step, rank=rank)
            assert (mix.plan == plan).all()
        assert mix.step == 20


def test_all_layers_are_drawn_equally_often():
    mix = ManifoldMixup(None, LAYERS, num_classes=CLASSES, seed=0)
    counts = np.bincount([mix._layer(0, step, 0) for step in range(3000)], minlength=3)
    assert (abs(counts - 1000) < 5 * np.sqrt(3000 * 2 / 9)).all()


def test_gradients_flow_through_both_samples():
    h = torch.rand(BATCH, 3, 2, dtype=torch.float64, requires_grad=True)
    for policy in (POLICIES["multimix"], POLICIES["three sources"]):
        mix = ManifoldMixup(None, ["here"], policy, CLASSES)

        def run(hidden, mix=mix):
            with mix(torch.zeros(BATCH, dtype=torch.int64), step=1):
                return mix.at("here", hidden)

        assert torch.autograd.gradcheck(run, (h,))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4), (2, 2, 3, 2)])
def test_tensors_of_any_shape(shape):
    mix = ManifoldMixup(None, ["here"], msda.Mixup(), CLASSES)
    h = torch.rand(BATCH, *shape)
    with mix(torch.arange(BATCH) % CLASSES):
        found = mix.at("here", h)
    assert found.shape == h.shape
    np.testing.assert_allclose(found, reference.mixed(h.numpy(), mix.plan), atol=1e-6)


@pytest.mark.parametrize("policy", [msda.Mixup(), POLICIES["shared"]])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_and_memory_orders(dtype, policy):
    mix = ManifoldMixup(None, ["here"], policy, CLASSES)
    h = torch.rand(BATCH, 3, 4, 5).to(dtype).contiguous(memory_format=torch.channels_last)
    with mix(torch.arange(BATCH) % CLASSES):
        found = mix.at("here", h)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = reference.mixed(h.double().numpy(), mix.plan)
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float64: 1e-7}[dtype]
    np.testing.assert_allclose(found.double(), expected, atol=tolerance)


def test_under_autocast():
    model, (images, labels) = Net(), data()
    mix = ManifoldMixup(model, LAYERS, num_classes=CLASSES, seed=3)
    for layer in range(3):
        with torch.autocast("cpu", torch.bfloat16), mix(labels, step=step_of(mix, layer)):
            logits = model(images)
        with mix(labels, plan=mix.plan):
            full = model(images)
        assert (logits - full).abs().max() < 0.05
        logits.sum().backward()


def test_outside_the_block_the_model_is_as_it_was():
    model, plain, (images, labels) = Net(), Net(), data()
    mix = ManifoldMixup(model, LAYERS, num_classes=CLASSES)
    assert torch.equal(model(images), plain(images))
    with pytest.raises(ZeroDivisionError), mix(labels):
        model(images)
        raise ZeroDivisionError
    assert torch.equal(model(images), plain(images))
    assert list(model.state_dict()) == list(plain.state_dict())
    kept = copy.deepcopy(model)  # as of a model whose weights are averaged
    with mix(labels):
        assert not torch.equal(model(images), plain(images))
        assert torch.equal(kept(images), plain(images))


def test_a_tuple_and_an_input_that_is_followed_by_others():
    class Pair(nn.Module):
        def forward(self, x, factor):
            return x * factor, "kept"

    model = Pair()
    outer = nn.Module()
    outer.part = model
    x = torch.rand(BATCH, 3)
    for owner, name in ((model, ""), (outer, "part")):
        mix = ManifoldMixup(owner, [name], num_classes=CLASSES)
        with mix(torch.zeros(BATCH, dtype=torch.int64)):
            found, text = model(x, 2.0)
        assert text == "kept"
        np.testing.assert_allclose(found, 2 * reference.mixed(x.numpy(), mix.plan), atol=1e-6)
        assert torch.equal(model(x, 2.0)[0], 2 * x)


def test_recomputed_layers_are_mixed_again_in_the_block():
    grads = []
    for recomputes in (False, True):
        model, (images, labels) = Net(recomputes), data()
        mix = ManifoldMixup(model, LAYERS, num_classes=CLASSES, seed=3)
        with mix(labels, step=step_of(mix, 2)):
            model(images).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*grads)
    with mix(labels, plan=mix.plan):
        loss = model(images).sum()
    with pytest.raises(CheckpointError):  # PyTorch notices that something else was recomputed
        loss.backward()


def test_a_compiled_model():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, plain, (images, labels) = Net(), Net(), data()
    model = torch.compile(model, backend="aot_eager", fullgraph=True)
    mix = ManifoldMixup(model, LAYERS, num_classes=CLASSES, seed=3)
    eager = ManifoldMixup(plain, LAYERS, num_classes=CLASSES, seed=3)
    for _ in range(8):
        found = []
        for net, mixer in ((model, mix), (plain, eager)):
            net.zero_grad()
            with mixer(labels):
                net(images).square().sum().backward()
            found.append([p.grad for p in net.parameters()])
        torch.testing.assert_close(*found)
    torch.testing.assert_close(model(images), plain(images))
    # One for each layer and one without mixing; the input is mixed before them, in its own.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 5


def test_it_goes_on_from_its_state():
    whole, labels = ManifoldMixup(None, LAYERS, num_classes=CLASSES, seed=4), data()[1]

    def plans(mix, count):
        made = []
        for _ in range(count):
            with mix(labels):
                for name in LAYERS:
                    mix.at(name, torch.rand(BATCH, 2))
            made.append(mix.plan)
        return np.stack(made)

    first, state = plans(whole, 3), whole.state_dict()
    assert state == {"seed": 4, "step": 3}
    rest = plans(whole, 4)
    again = ManifoldMixup(None, LAYERS, num_classes=CLASSES, seed=4)
    again.load_state_dict(state)
    assert (plans(again, 4) == rest).all() and not (rest[:3] == first).all()
    other = ManifoldMixup(None, LAYERS, num_classes=CLASSES, seed=5)
    with pytest.raises(ValueError, match="expected seed 5, as in this run, got 4"):
        other.load_state_dict(state)


def test_a_saved_plan_is_done_again(tmp_path):
    model, (images, labels) = Net(), data()
    mix = ManifoldMixup(model, LAYERS, POLICIES["multimix"], CLASSES)
    with mix(labels) as targets:
        logits = model(images)
    msda.save(tmp_path / "plan.npy", mix.plan)
    with mix(labels, plan=msda.load(tmp_path / "plan.npy")) as targets_again:
        again = model(images)
    assert torch.equal(again, logits) and torch.equal(targets_again, targets)
    assert mix.step == 1


def test_targets_are_compact_or_smoothed():
    labels = data()[1]
    dense = ManifoldMixup(None, ["a"], num_classes=CLASSES, smoothing=0.1)
    compact = ManifoldMixup(None, ["a"], compact=True)
    with dense(labels) as smoothed:
        dense.at("a", torch.rand(BATCH, 2))
    with compact(labels) as (indices, weights):
        compact.at("a", torch.rand(BATCH, 2))
    rows = torch.zeros(BATCH, CLASSES).scatter_add_(1, indices, weights)
    torch.testing.assert_close(0.9 * rows + 0.1 / CLASSES, smoothed)
    assert dense.plan.tobytes() == compact.plan.tobytes()


def test_an_empty_batch():
    mix = ManifoldMixup(None, ["a"], num_classes=CLASSES)
    with mix(torch.zeros(0, dtype=torch.int64)) as targets:
        assert mix.at("a", torch.rand(0, 2)).shape == (0, 2)
    assert targets.shape == (0, CLASSES)


MISTAKES = [
    (dict(layers="layer1"), TypeError, "layers: expected a list of names"),
    (dict(layers=[]), TypeError, "layers: expected a list of names"),
    (dict(layers=["", 3]), TypeError, "layers: expected names, '' for the input, got 3"),
    (dict(layers=["stem", "stem"]), ValueError, "layers: expected each name once"),
    (dict(layers=["stam"]), ValueError, "layers: expected names of Net's modules, such as 'stem'"),
    (dict(policy=msda.CutMix()), ValueError, "policy: expected Mixup or a composition of it"),
    (dict(policy=3), TypeError, "policy: expected a policy"),
    (dict(model=3), TypeError, "model: expected a torch.nn.Module or None, got 3"),
]


@pytest.mark.parametrize("arguments, kind, text", MISTAKES)
def test_what_does_not_fit_is_said(arguments, kind, text):
    with pytest.raises(kind, match=text):
        ManifoldMixup(**{"model": Net(), "layers": LAYERS, "num_classes": CLASSES} | arguments)


def test_what_does_not_fit_in_a_step_is_said():
    model, (images, labels) = Net(), data()
    mix = ManifoldMixup(model, LAYERS, num_classes=CLASSES)
    other = ManifoldMixup(None, ["a"], num_classes=CLASSES)
    expected = pytest.raises
    with (
        expected(RuntimeError, match="expected the model to run it in the with block"),
        mix(labels),
    ):
        pass
    with expected(ValueError, match="expected a batch of 4, as there are"), mix(labels[:4]):
        model(images)
    with expected(TypeError, match="layer 'a': expected a tensor of floats"), other(labels):
        other.at("a", torch.arange(BATCH))
    with expected(ValueError, match="layer: expected one of"):
        other.at("b", images)
    with expected(RuntimeError, match="expected one block at a time"), other(labels), other(labels):
        pass
    plan = np.resize(mix.plan, BATCH)
    plan["layer"] = 7
    text = f"plan: expected {BATCH} records of Mixup"
    with expected(ValueError, match=text), mix(labels, plan=plan):
        pass
    with expected(TypeError, match="labels: expected a tensor, got list"), mix(labels.tolist()):
        pass
