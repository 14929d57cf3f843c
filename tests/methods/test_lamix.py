"""LaMix in training: its loss, the second head, and a run that stops and goes on."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import dali_msda as msda
from dali_msda.pipelines.train import main
from dali_msda.pipelines.training import learner
from dali_msda.pipelines.training.models import add_global_head, make_model
from dali_msda.torch import lamix_loss, soft_target_cross_entropy
from tests.support.coloured_folders import write_folder
from tests.support.limits import one_thread_of_torch  # noqa: F401

ROWS, CLASSES = 5, 7


def logits(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pair = [3 * torch.randn(ROWS, CLASSES, generator=generator, dtype=dtype) for _ in range(2)]
    return [part.requires_grad_() for part in pair]


def targets(dtype=torch.float64):
    """Compact and dense labels, one of them with the same label twice."""
    generator = torch.Generator().manual_seed(9)
    labels = torch.randint(CLASSES, (ROWS, 2), generator=generator)
    labels[0] = labels[0, 0]
    own = torch.rand(ROWS, 1, generator=generator, dtype=dtype)
    weights = torch.cat([own, 1 - own], 1)
    dense = torch.zeros(ROWS, CLASSES, dtype=dtype).scatter_add_(1, labels, weights)
    return labels, weights, dense


def formula(local, shared, target, beta):
    """Equations 9 to 11 in float64, a sample at a time."""
    losses = []
    for u, g, t in zip(local, shared, target, strict=True):
        probability = 1 / (1 + np.exp(-g))
        label = np.exp(probability) / np.exp(probability).sum()
        prediction = np.exp(u) / np.exp(u).sum()
        losses.append(-np.sum((beta * t + (1 - beta) * label) * np.log(prediction)))
    return np.array(losses)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_it_is_the_formula(beta):
    (local, shared), (labels, weights, dense) = logits(), targets()
    expected = formula(local.detach().numpy(), shared.detach().numpy(), dense.numpy(), beta)
    for target in ((dense,), (labels, weights)):
        each = lamix_loss(local, shared, *target, beta=beta, reduction="none")
        np.testing.assert_allclose(each.detach(), expected, rtol=1e-13)
        for name in ("mean", "sum"):
            total = lamix_loss(local, shared, *target, beta=beta, reduction=name)
            assert total.item() == pytest.approx(getattr(expected, name)(), rel=1e-13)


def test_beta_is_a_half_unless_it_is_given():
    (local, shared), (*_, dense) = logits(), targets()
    assert torch.equal(lamix_loss(local, shared, dense), lamix_loss(local, shared, dense, beta=0.5))


def test_gradients_of_both_heads():
    labels, weights, dense = targets()
    for target in ((dense,), (labels, weights)):
        assert torch.autograd.gradcheck(lambda u, g, t=target: lamix_loss(u, g, *t), logits())
    slopes = [torch.autograd.grad(lamix_loss(*pair, dense), pair) for pair in [logits()]]
    assert all((slope.abs().sum(1) > 1e-6).all() for slope in slopes[0])  # p is not held fixed
    (local, shared) = logits()
    slope = torch.autograd.grad(lamix_loss(local, shared, dense, beta=1.0), (local, shared))
    alone = torch.autograd.grad(soft_target_cross_entropy(local, dense), local)
    torch.testing.assert_close(slope[0], alone[0])
    assert not slope[1].any()


def test_compact_equals_dense():
    labels, weights, dense = targets()
    for smoothing in (0.0, 0.1):
        values = []
        for target in ((dense,), (labels, weights)):
            pair = logits()
            loss = lamix_loss(*pair, *target, smoothing=smoothing)
            values.append([loss, *torch.autograd.grad(loss, pair)])
        for ours, theirs in zip(*values, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-15)


def test_smoothing_is_of_the_mixed_label_alone():
    (local, shared), (*_, dense) = logits(), targets()
    expected = lamix_loss(local, shared, 0.9 * dense + 0.1 / CLASSES)
    torch.testing.assert_close(lamix_loss(local, shared, dense, smoothing=0.1), expected)


def test_hard_labels_are_those_of_originals():
    (local, shared), (labels, *_) = logits(), targets()
    one = torch.eye(CLASSES, dtype=torch.float64)[labels[:, 0]]
    torch.testing.assert_close(
        lamix_loss(local, shared, labels[:, 0]), lamix_loss(local, shared, one)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype):
    local, shared = (part.detach().to(dtype) for part in logits())
    labels, weights, _ = targets(torch.float32)
    ours = lamix_loss(local, shared, labels, weights)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, lamix_loss(local.float(), shared.float(), labels, weights))


@pytest.mark.parametrize("classes, low, high", [(10, 0.0393, 0.2320), (100, 0.0037, 0.0267)])
def test_the_global_label_stays_near_uniform(classes, low, high):
    """The least and the greatest share that the sigmoid lets a class have."""
    for value, share in ((-50.0, low), (50.0, high)):
        shared = torch.full((1, classes), -value, dtype=torch.float64)
        shared[0, 0] = value
        local = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
        loss = lamix_loss(local, shared, torch.zeros(1, classes, dtype=torch.float64), beta=0.0)
        (slope,) = torch.autograd.grad(loss, local)  # softmax(local) - label
        assert float(1 / classes - slope[0, 0]) == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"beta": -0.1}, r"beta: expected a share in \[0, 1\], got -0.1"),
        ({"beta": float("nan")}, r"beta: expected a share in \[0, 1\], got nan"),
        ({"global_logits": torch.zeros(ROWS, 3)}, r"global_logits: expected the shape of local_"),
        ({"targets": torch.zeros(ROWS, 3)}, "targets: expected the shape of logits"),
        ({"reduction": "max"}, "reduction: expected 'mean', 'sum'"),
        ({"smoothing": 2}, "smoothing: expected a share"),
    ],
)
def test_errors(change, message):
    (local, shared), (*_, dense) = logits(), targets()
    arguments = dict(local_logits=local, global_logits=shared, targets=dense) | change
    with pytest.raises(ValueError, match=message):
        lamix_loss(**arguments)


MODELS = ["resnet18", "mobilenet_v3_small", "timm:resnetv2_18", "timm:vit_tiny_patch16_224"]


@pytest.mark.parametrize("name", MODELS)
def test_a_second_head_reads_the_same_features(name):
    torch.manual_seed(0)
    model = make_model(name, CLASSES, global_head=True)
    plain = make_model(name, CLASSES)
    state = model.state_dict()
    added = {key for key in state if ".global_head." in key}
    assert added == {key for key in state if key not in plain.state_dict()}
    assert {key.rsplit(".", 1)[1] for key in added} == {"weight", "bias"}
    plain.load_state_dict(state, strict=False)

    images = torch.randn(3, 3, 224, 224)
    for part in (model, plain):
        part.eval()
    with torch.no_grad():
        features = []
        layer = next(m for m in model.modules() if hasattr(m, "global_head"))
        layer.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].flatten(1)))
        assert torch.equal(model(images), plain(images))  # the local head alone
        layer.train()  # the rest as it was, so that the features are the same
        both = model(images)
        assert both.shape == (3, 2 * CLASSES)
        torch.testing.assert_close(both[:, :CLASSES], plain(images))
        head = layer.global_head
        expected = features[1] @ head.weight.flatten(1).T + head.bias
        torch.testing.assert_close(both[:, CLASSES:], expected, rtol=1e-4, atol=1e-4)
    assert not torch.equal(head.weight, layer.weight)


@pytest.mark.parametrize(
    "model", [nn.Sequential(), nn.Sequential(nn.Linear(4, CLASSES), nn.ReLU()), nn.Linear(4, 9)]
)
def test_a_model_without_a_linear_end_is_refused(model):
    with pytest.raises(ValueError, match="model: expected one that ends in a linear layer of 7"):
        add_global_head(model, CLASSES)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_folder(root / "train", (12,) * 4)
    write_folder(root / "val", (4,) * 4)
    return root


def flags(data, out, **more):
    settings = dict(
        data=data, out=out, model="resnet18", size=32, val_resize=32, batch_size=8, epochs=2,
        warmup_epochs=0, lr=0.005, policy="lamix", lamix_beta=0.5, threads=1, device="cpu",
    )  # fmt: skip
    flat = [(f"--{k.replace('_', '-')}", str(v)) for k, v in (settings | more).items()]
    return [text for pair in flat for text in pair]


def losses(out):
    rows = [line.split(",") for line in (out / "metrics.csv").read_text().splitlines()]
    return [float(row[rows[0].index("loss")]) for row in rows[1:]]


@pytest.mark.parametrize(
    "more",
    [
        dict(lamix_beta=0.5),
        dict(lamix_beta=0.5, loss="dense"),
        dict(policy="{multimix: cutmix, k: 3}", lamix_beta=0.0, smoothing=0.1),
        dict(policy="cutmix", lamix_beta=0.0, copies=3),
        dict(policy="none", lamix_beta=0.5, copies=2, sizes="{4: 24}", schedule="linear"),
    ],
    ids=["lamix", "lamix dense", "multi-mix", "copies", "copies with a global label"],
)
def test_training_lowers_the_loss(data, tmp_path, more):
    assert main(flags(data, tmp_path, **{"epochs": 9, "val": "none"} | more)) == 0
    values = losses(tmp_path)
    assert values[-1] < 0.9 * values[0]
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert ("fc.global_head.weight" in state["model"]) == (more.get("lamix_beta", 0.5) > 0)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_the_trainer_takes_the_model_s_own_logits_first(beta):
    (local, shared), target = logits(), [*targets()[:2]]
    config = SimpleNamespace(lamix_beta=beta, smoothing=0.1)
    this = SimpleNamespace(config=config, num_classes=CLASSES)
    ours = learner.Learner._loss(this, torch.cat([local, shared], 1), target)
    assert torch.equal(ours, lamix_loss(local, shared, *target, beta=beta, smoothing=0.1))


def test_the_second_head_learns_and_a_run_goes_on_with_it(data, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(flags(data, whole)) == 0
    expected = torch.load(whole / "checkpoint.pt", weights_only=True)

    original, calls = learner.lamix_loss, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(learner, "lamix_loss", interrupted)
    arguments = [*flags(data, parts), "--checkpoint-every", "1"]
    assert main(arguments) == 130
    monkeypatch.undo()
    first = torch.load(parts / "checkpoint.pt", weights_only=True)
    assert first["step"] == 8  # in the second epoch of six batches
    assert main([*arguments, "--resume", "auto"]) == 0
    again = torch.load(parts / "checkpoint.pt", weights_only=True)
    assert again["step"] == expected["step"] == 12
    for name, value in expected["model"].items():
        assert torch.equal(again["model"][name], value), name
    head = "fc.global_head.weight"
    assert not torch.equal(first["model"][head], again["model"][head])


def test_the_loss_takes_what_the_loader_draws():
    policy = msda.LaMix()
    (local, shared) = logits()
    for step in range(2):
        plan = msda.draw(policy, ROWS, 4, 4, seed=0, step=step)
        rows = torch.from_numpy(msda.targets(np.arange(ROWS), plan, num_classes=CLASSES))
        parts = map(torch.from_numpy, msda.targets(np.arange(ROWS), plan, compact=True))
        torch.testing.assert_close(
            lamix_loss(local, shared, *parts), lamix_loss(local, shared, rows)
        )
