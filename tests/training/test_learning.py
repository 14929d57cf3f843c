"""What the trainer's switches are made of: steps of the weights, first weights, labels, metrics."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.training import models
from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.learner import Learner
from dali_msda.pipelines.training.metrics import MultilabelMetrics, correct_mass, mixed_rows
from dali_msda.pipelines.training.models import make_model
from dali_msda.pipelines.training.optimisation import Optimisation, make_optimizer
from dali_msda.pipelines.training.processes import Process
from tests.training.training_runs import assert_same

HERE = Process(0, 1, 0, 1, torch.device("cpu"))
MODEL = "timm:test_efficientnet_ln"  # small, without batch norm


def config(**more):
    return Config(data="x", **{"device": "cpu", "warmup_epochs": 0.0, "epochs": 1} | more)


# Steps of the weights.


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


def test_the_default_is_sgd_of_all_parameters_alike():
    """Old checkpoints have one group of parameters."""
    model, default = small_model(), config()
    optimizer = make_optimizer(default, model)
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    assert group["params"] == list(model.parameters())
    told = {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
    assert told == {name: getattr(default, name) for name in told}


def test_groups_of_weight_decay_and_of_rates():
    model = small_model()
    free, decayed = make_optimizer(config(decay_biases=False, nesterov=False), model).param_groups
    assert (free["weight_decay"], decayed["weight_decay"]) == (0.0, 1e-4)
    assert not free["nesterov"]
    assert decayed["params"] == [model[0].weight, model[3].weight]
    options = dict(optimizer_options={"layer_decay": 0.5, "betas": [0.8, 0.9]})
    made = Optimisation(config(optimizer="adamw", **options), make_model("timm:test_resnet", 5))
    made.set_rate(0.4)
    groups = made.optimizer.param_groups
    assert {group["lr"] for group in groups} == {0.4 * group["lr_scale"] for group in groups}
    assert len({group["lr"] for group in groups}) > 2
    assert tuple(groups[0]["betas"]) == (0.8, 0.9)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (
            {"optimizer": "adamww"},
            r"optimizer: expected one of timm's, got 'adamww'\. Did you mean",
        ),
        ({"optimizer": "kron"}, "optimizer: expected .* go on with, got 'kron', which draws"),
        ({"optimizer": "lookahead_adahessian"}, "which needs second derivatives. Take another"),
        ({"optimizer_options": {"beta": 1}}, "optimizer: expected .* got 'sgd' with {'beta': 1}"),
        ({"optimizer_options": {"lr": 1}}, "optimizer: expected .* with {'lr': 1}: .*multiple"),
    ],
)
def test_wrong_optimisers(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(config(**wrong), small_model())


@pytest.mark.parametrize("name", ["lamb", "lion", "muon", "adafactor", "lookahead_radam"])
def test_optimisers_of_timm_go_on_where_they_stood(name):
    images, labels = torch.randn(6, 4, 3, 4, 4), torch.arange(24).reshape(6, 4) % 5
    found = []
    for stops in (False, True):
        model = small_model()
        made = Optimisation(config(optimizer=name, weight_decay=0.05), model)
        for number in range(6):
            if stops and number == 3:
                state = made.state_dict()
                torch.manual_seed(number)
                model = small_model()
                made = Optimisation(config(optimizer=name, weight_decay=0.05), model)
                made.load_state_dict(state)
            made.set_rate(0.01 * (1 + number))
            made.optimizer.zero_grad()
            functional.cross_entropy(model(images[number]), labels[number]).backward()
            made.step(1 + number)
        found.append(model.state_dict())
    assert_same(*found)


def test_clipping_and_the_moving_average_are_as_defined():
    model = small_model()
    plain = dict(momentum=0.0, nesterov=False, weight_decay=0.0)
    made = Optimisation(config(clip_norm=0.1, ema=0.75, **plain), model)
    made.set_rate(1.0)
    weight = model[3].weight
    average = None
    for number in (1, 2, 3):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        made.step(number)
        moved = [new.detach() - old for new, old in zip(model.parameters(), before, strict=True)]
        assert float(nn.utils.get_total_norm(moved)) == pytest.approx(0.1, rel=1e-4)
        now = weight.detach().clone()
        average = now if average is None else 0.75 * average + 0.25 * now
    torch.testing.assert_close(made.average[3].weight, average)
    assert not made.average.training


def test_parts_of_a_batch_add_up_to_its_gradient():
    images, labels = torch.randn(12, 3, 32, 32), torch.arange(24).reshape(12, 2) % 5
    weights = torch.rand(12, 1)
    batch = [images, [labels, torch.cat([weights, 1 - weights], 1)]]
    learners = [Learner(config(model=MODEL, accumulate=parts), HERE, 5) for parts in (1, 3)]
    losses = [learner.step(1, 0.0, *batch) for learner in learners]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(learners[0].sums, learners[1].sums)
    for ours, theirs in zip(*(learner.model.parameters() for learner in learners), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "policy",
    [
        {"manifoldmixup": "mixup", "layers": ["", "layer1", "layer3"]},
        {"alignmix": "mixup", "layers": ["", "layer2"]},
        {"recursivemix": {"layer": "layer2"}},
        {"puzzlemix": {"k": 2, "blocks": [2]}},
    ],
    ids=lambda policy: next(iter(policy)),
)
def test_methods_of_the_step_go_with_parts_and_with_the_average(policy):
    """The average is a copy of the model with the hooks and heads of the method."""
    how = dict(model="timm:test_resnet", policy=policy, accumulate=2, ema=0.5, lr=0.01)
    learner = Learner(config(**how), HERE, 5)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 5
    for number in (1, 2, 3):
        learner.step(number, 0.01, images, [labels])
    average = learner.optimisation.average
    learner.model.eval()
    with torch.inference_mode():
        ours = average(images)
        learner.model.load_state_dict(average.state_dict())
        torch.testing.assert_close(ours, learner.model(images))
    assert ours.shape == (8, 5)


# Weights to begin with.


def test_weights_of_a_file_and_a_new_head(tmp_path):
    theirs, path = make_model("resnet18", 7).state_dict(), str(tmp_path / "weights.pth")
    torch.save({"model": {}, "model_ema": {f"module.{k}": v for k, v in theirs.items()}}, path)
    ours = make_model("resnet18", 7, init=path).state_dict()
    assert_same(ours, theirs)
    other = make_model("resnet18", 5, init=path, global_head=True).state_dict()
    assert other["fc.weight"].shape == (5, 512)
    assert all(torch.equal(other[name], theirs[name]) for name in theirs if name[:2] != "fc")
    with pytest.raises(ValueError, match=r"init: expected the weights of MobileNetV3, got others"):
        make_model("mobilenet_v3_small", 7, init=path)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match="init: expected a file of weights, got .* cannot be read"):
        make_model("resnet18", 7, init=str(tmp_path / "text.pt"))


def test_weights_of_torchvision_and_of_timm(monkeypatch):
    """Nothing is fetched: the libraries' own functions stand in."""
    import timm
    import torchvision.models

    state = make_model("resnet18", 1000).state_dict()
    entries = torchvision.models.get_model_weights("resnet18")
    monkeypatch.setattr(entries, "get_state_dict", lambda entry, progress: dict(state))
    for init in ("pretrained", "IMAGENET1K_V1"):
        made = make_model("resnet18", 10, init=init)
        assert torch.equal(made.conv1.weight, state["conv1.weight"])
        assert made.fc.out_features == 10
    with pytest.raises(ValueError, match="init: expected pretrained, IMAGENET1K_V1, .* got 'V9'"):
        make_model("resnet18", 10, init="V9")
    resumed = Learner(config(model="resnet18", init="gone.pt"), HERE, 10, resumes=True)
    assert resumed.model.fc.out_features == 10  # a checkpoint brings the weights
    calls = []
    monkeypatch.setattr(timm, "create_model", lambda *name, **how: calls.append((*name, how)))
    make_model("timm:resnet18", 10, init="pretrained")
    make_model("timm:resnet18", 10, init="a1_in1k")
    how = dict(pretrained=True, num_classes=10)
    assert calls == [("resnet18", how), ("resnet18.a1_in1k", how)]
    with pytest.raises(ValueError, match="init: expected pretrained, .*a1_in1k.* got 'a9'"):
        make_model("timm:resnet18", 10, init="a9")

    def fails(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(OSError, match="init: expected to fetch weights, .* no route.* --init FILE"):
        make_model("timm:resnet18", 10, init="pretrained")


def test_a_backend_of_the_compiler_that_does_not_exist():
    with pytest.raises(ValueError, match="compile: expected a backend such as .*inductor"):
        models.compile_model(small_model(), "inductr")


# Metrics.


def test_accuracy_on_mixed_labels_is_that_of_their_rows():
    logits, weights = torch.randn(40, 6), torch.rand(40, 2)
    labels = torch.randint(6, (40, 2))
    labels[:5, 1] = labels[:5, 0]  # a sample mixed with its own class
    dense = torch.zeros(40, 6).scatter_add_(1, labels, weights)
    expected = sum(row[k] for row, k in zip(dense, logits.argmax(1), strict=True))
    assert float(correct_mass(logits, labels, weights)) == pytest.approx(float(expected))
    assert float(correct_mass(logits, dense)) == pytest.approx(float(expected))
    assert correct_mass(logits, labels[:, 0]) == (logits.argmax(1) == labels[:, 0]).sum()
    assert float(correct_mass(logits, logits.argmax(1))) == 40


def test_average_precision_and_f1_are_those_of_scikit_learn():
    reference = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(90, 5)).round(1).astype(np.float32)  # some are equal
    truth = (generator.random((90, 5)) < 0.3).astype(np.float32)
    truth[:, 4] = 0  # a class that does not occur
    metrics = MultilabelMetrics()
    for part in (slice(0, 50), slice(50, None)):
        metrics.add(torch.from_numpy(logits[part]), torch.from_numpy(truth[part]))
    found = metrics.result()
    precision = reference.average_precision_score(truth[:, :4], logits[:, :4], average="macro")
    assert found["map"] == pytest.approx(100 * precision, rel=1e-6)
    f1 = reference.f1_score(truth, logits > 0, average="micro")
    assert found["f1"] == pytest.approx(100 * f1, rel=1e-6)


# Several labels an image.


def test_sets_of_labels_and_their_mixed_rows(tmp_path):
    for name in "abcd":
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("a cat,dog\nb -\nc dog,cat\nd bird\n")
    source = datasets.find(str(tmp_path), file_list=tmp_path / "list.txt", multilabel=True)
    assert source.names == ("bird", "cat", "dog")
    table = torch.from_numpy(source.rows())
    by_file = table[list(source.labels)]
    assert by_file.tolist() == [[0, 1, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0]]
    mixed = mixed_rows(
        table, torch.tensor([[source.labels[0], source.labels[3]]]), torch.tensor([[0.75, 0.25]])
    )
    assert mixed.tolist() == [[0.25, 0.75, 0.75]]
    other = datasets.find(
        str(tmp_path), file_list={"a": "1,0"}, classes=source.names, multilabel=True
    )
    assert other.rows().tolist() == [[1, 1, 0]]
    assert other.fingerprint() != source.fingerprint()
    with pytest.raises(ValueError, match="train_list: expected .* name of a class, got 'cow'"):
        how = dict(name="train", classes=source.names, multilabel=True)
        datasets.find(str(tmp_path), file_list={"a": "cat,cow"}, **how)
