"""The trainer's settings and its arithmetic: schedules, metrics, models, policies, presets."""

import dataclasses
import re

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

import dali_msda as msda
from dali_msda.pipelines.train import learning_rate
from dali_msda.pipelines.training import command_line as settings
from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.metrics import CleanMetrics
from dali_msda.pipelines.training.models import make_model
from dali_msda.pipelines.training.policies import policy_from_dict
from dali_msda.pipelines.training.step_methods import STEP_METHODS, AlignMix, ManifoldMixup
from dali_msda.policy import POLICIES


def config(**more):
    return Config(data="x", **more)


def test_schedules():
    step = config(schedule="step", epochs=90, lr=0.4, warmup_epochs=5, warmup_lr=0.1)
    rates = [learning_rate(step, number, 10) for number in (0, 25, 50, 299, 300, 600, 899)]
    assert rates == pytest.approx([0.1, 0.25, 0.4, 0.4, 0.04, 0.004, 0.0004])
    cosine = config(schedule="cosine", epochs=10, lr=0.4, warmup_epochs=2, final_lr=0.2)
    rates = [learning_rate(cosine, number, 10) for number in (0, 10, 20, 60, 100)]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.3, 0.2])
    points = [[0, 1], [2, 0.5], [2, 0.1], [4, 0], [4, 2], [4, 0.3]]
    linear = config(schedule="linear", epochs=10, lr=0.4, warmup_epochs=1, points=points)
    rates = [learning_rate(linear, number, 10) for number in (0, 5, 10, 15, 20, 30, 40, 99)]
    assert rates == pytest.approx([0.0, 0.2, 0.3, 0.25, 0.04, 0.02, 0.12, 0.12])
    assert learning_rate(config(schedule="linear", warmup_epochs=0), 30, 10) == 0.1


def test_metrics_equal_their_definitions_however_they_are_batched():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 12, generator=generator)
    labels = torch.randint(12, (200,), generator=generator)
    metrics, halves = CleanMetrics(), [CleanMetrics(), CleanMetrics()]
    metrics.add(logits, labels)
    for half, part in zip(halves, (slice(0, 7), slice(7, None)), strict=True):
        half.add(logits[part], labels[part])
    halves[0].sums += halves[1].sums
    probabilities = logits.double().softmax(1).numpy()
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels.numpy()
    error = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    order = np.argsort(-probabilities, axis=1)[:, :5]
    expected = {
        "val_loss": float(functional.cross_entropy(logits.double(), labels)),
        "top1": 100 * correct.mean(),
        "top5": 100 * (order == labels.numpy()[:, None]).any(1).mean(),
        "ece": 100 * error,
    }
    assert metrics.result() == pytest.approx(expected, rel=1e-5)
    assert halves[0].result() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "timm:resnet18", "resnet10t"])
def test_models_of_torchvision_and_timm(name):
    model = make_model(name, 5)
    images = torch.zeros(2, 3, 64, 64)
    assert model(images).shape == (2, 5)


def test_a_policy_reads_as_the_python_it_stands_for():
    assert policy_from_dict(None) is policy_from_dict("none") is None
    assert policy_from_dict("cutmix") == policy_from_dict({"cutmix": None}) == msda.CutMix()
    value = {
        "alternate": [
            {
                "choice": [{"cutmix": {"minmax": [0.2, 0.5]}}, {"mixup": {"n": 3}}],
                "weights": [3, 1],
            },
            "mixup",
        ],
        "counts": [2, 1],
    }
    choice = msda.Choice([msda.CutMix(minmax=(0.2, 0.5)), msda.Mixup(n=3)], weights=(3, 1))
    assert policy_from_dict(value) == msda.Alternate([choice, msda.Mixup()], counts=[2, 1])
    assert policy_from_dict("lamix") == msda.LaMix()
    assert policy_from_dict({"lamix": {"partner": "flip"}}) == msda.LaMix(partner="flip")
    assert policy_from_dict({"multimix": "mixup"}) == msda.MultiMix(msda.Mixup())
    value = {"multimix": {"choice": ["cutmix", "fmix"]}, "k": 3, "share": "batch"}
    choice = msda.Choice([msda.CutMix(), msda.FMix()])
    assert policy_from_dict(value) == msda.MultiMix(choice, k=3, share="batch")


def test_a_method_of_the_training_step_holds_a_policy_as_its_python_does():
    several = {"multimix": {"mixup": {"alpha": 2.0}}, "k": 3}
    for name, kind in (("manifoldmixup", ManifoldMixup), ("alignmix", AlignMix)):
        made = policy_from_dict({name: several, "layers": ["", "layer1"]})
        assert made == kind(msda.MultiMix(msda.Mixup(alpha=2.0), k=3), ("", "layer1"))
    assert made != ManifoldMixup(made.policy, made.layers)


@pytest.mark.parametrize("name", POLICIES)
def test_every_method_by_name_with_all_its_arguments(name):
    policy = POLICIES[name]()
    arguments = yaml.safe_load(yaml.safe_dump(listed(dataclasses.asdict(policy))))
    made = policy_from_dict({name: arguments})
    assert made == policy_from_dict(name)
    if name in STEP_METHODS:  # which has more to set, for the step
        assert listed(dataclasses.asdict(made)).items() >= arguments.items()
    else:
        assert made == policy


def listed(arguments):
    """As YAML has them: lists for tuples, null for None."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}


def test_lists_and_null_in_a_policy():
    value = yaml.safe_load("""
        alternate:
          - choice:
              - resizemix: {tau: [0.2, 0.6], scope: batch}
              - cutmix: {minmax: [0.2, 0.5]}
              - hmix: {gamma: null, r: 0.75}
            scope: batch
          - fmix: {modes: null, law: legacy}
        counts: [2, 1]
    """)
    choice = msda.Choice(
        [
            msda.ResizeMix(tau=(0.2, 0.6), scope="batch"),
            msda.CutMix(minmax=(0.2, 0.5)),
            msda.HMix(r=0.75),
        ],
        scope="batch",
    )
    assert policy_from_dict(value) == msda.Alternate([choice, msda.FMix(law="legacy")], (2, 1))


@pytest.mark.parametrize(
    "value, message",
    [
        ({"cutmx": {}}, "policy: expected method among .* Did you mean cutmix?"),
        ({"cutmix": {"alfa": 1}}, r"policy\.cutmix: expected argument among .* mean alpha?"),
        ({"cutmix": {"alpha": 0}}, r"policy\.cutmix\.alpha: expected a number in"),
        ({"cutmix": 1.0}, r"policy\.cutmix: expected a mapping of arguments, got 1.0"),
        ({"cutmix": {}, "mixup": {}}, "policy: expected one method, got cutmix, mixup"),
        ({"choice": {"cutmix": {}}}, r"policy\.choice: expected a list of policies"),
        ({"choice": ["cutmix", {"mixup": {"n": 7}}]}, r"policy\.choice\[1\]\.mixup\.n: expected 2"),
        ({"choice": ["cutmix"], "weights": [1, 2]}, r"policy\.weights: expected 1, one per policy"),
        ({"choice": ["cutmix"], "counts": [1]}, "policy: expected argument among"),
        ({"alternate": ["mixup"], "counts": [0]}, r"policy\.counts: expected at least 1 batch"),
        (
            {"alternate": [{"alternate": ["mixup"]}]},
            r"policy\.alternate\[0\]: expected a method or",
        ),
        ({"alternate": [None, "mixup"]}, r"policy\.alternate\[0\]: .* got None"),
        ({"choice": []}, r"policy\.choice: expected a non-empty list"),
        ({"multimix": ["mixup"]}, r"policy\.multimix: expected a mapping such as"),
        ({"multimix": None}, r"policy\.multimix: expected a method, Choice or .* got None"),
        ({"multimix": "lamix"}, r"policy\.multimix: expected a method, Choice or .* got LaMix"),
        ({"multimix": "cutout"}, r"policy\.multimix: expected methods that mix two samples"),
        ({"multimix": {"mixup": {"alpha": 0}}}, r"policy\.multimix\.mixup\.alpha: expected a"),
        ({"multimix": "mixup", "k": 1}, r"policy\.k: expected 2 to 64"),
        ({"multimix": "mixup", "share": "all"}, r"policy\.share: expected one of 'pair', 'batch'"),
        ({"multimix": "mixup", "shared": 1}, "policy: expected argument among .* mean share?"),
        ({"choice": [{"multimix": "mixup"}]}, r"policy\.choice\[0\]: expected a method, got Multi"),
        ({"manifoldmixup": "mixup", "layers": "a"}, r"policy\.layers: expected a list of names"),
        ({"manifoldmixup": "cutmix", "layers": ["a"]}, r"policy\.manifoldmixup: expected Mixup or"),
        ({"manifoldmixup": "mixup", "layer": []}, "policy: expected argument .* mean layers?"),
        ({"manifoldmixup": "mixup"}, r"policy\.layers: expected a list of names"),
        ({"manifoldmixup": None}, r"policy\.manifoldmixup: expected Mixup or .* got None"),
        ({"alignmix": {"mixup": {"n": 3}}, "layers": [""]}, r"policy\.alignmix: expected Mixup of"),
        ({"choice": [{"alignmix": "mixup", "layers": [""]}]}, r"choice\[0\]: expected a method"),
        ({"lamix": {"alpha": 1}}, r"policy\.lamix: expected argument among partner; got 'alpha'"),
        ({"lamix": {"partner": "me"}}, r"policy\.lamix\.partner: expected one of"),
        ({"resizemix": {"tau": [0.1]}}, r"policy\.resizemix\.tau: expected a pair"),
        ({"puzzlemix": {"beta": 9}}, r"policy\.puzzlemix\.beta: expected a number in"),
        ({"puzzlemix": {"blocks": [1]}}, r"policy\.puzzlemix\.blocks: expected 2 to 16 along"),
        ({"puzzlemix": {"every": 0}}, r"policy\.puzzlemix\.every: expected 1 or more batches"),
        ({"puzzlemix": {"clean_weight": -1}}, r"puzzlemix\.clean_weight: expected a number in"),
        ({"puzzlemix": {"n": 3}}, r"policy\.puzzlemix: expected argument among"),
        ({"choice": ["puzzlemix"]}, r"choice\[0\]: expected a method"),
        ([], "policy: expected a mapping such as"),
        (3, "policy: expected a mapping such as"),
    ],
)
def test_a_wrong_policy_is_located(value, message):
    with pytest.raises(ValueError, match=message):
        config(policy=value)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"epochs": 1.5}, "epochs: expected a whole number, got 1.5"),
        ({"epochs": True}, "epochs: expected a whole number, got True"),
        ({"lr": -0.1}, "lr: expected at least 0, got -0.1"),
        ({"lr": float("nan")}, "lr: expected at least 0, got nan"),
        ({"lr": float("inf")}, "lr: expected at least 0, got inf"),
        ({"lr": "1e-4"}, r"lr: expected a number, got '1e-4'; YAML wants a point in it: 1\.0e-4"),
        ({"smoothing": 2}, r"smoothing: expected a number in \[0, 1\], got 2"),
        ({"schedule": "flat"}, "schedule: expected one of step, cosine, linear, got 'flat'"),
        ({"milestones": [30, 20]}, r"milestones: expected rising epochs, got \[30.0, 20.0\]"),
        ({"milestones": 30}, "milestones: expected a list of numbers, got 30"),
        ({"milestones": ["a"]}, r"milestones\[0\]: expected a number, got 'a'"),
        ({"size": 300}, "val_resize: expected at least size, 300, got 256"),
        ({"momentum": 0.0}, "nesterov: expected momentum > 0"),
        ({"epochs": 3}, "warmup_epochs: expected at most epochs, 3, got 5"),
        ({"copies": 0}, r"copies: expected a number in \[1, 64\], got 0"),
        ({"lamix_beta": 1.5}, r"lamix_beta: expected a number in \[0, 1\], got 1.5"),
        ({"sizes": [15, 352]}, r"sizes: expected \{epoch: pixels\}, .* got \[15, 352\]"),
        ({"sizes": {0: 352}}, "sizes: expected .* of at least 1, got {0: 352}"),
        ({"sizes": {15: 0}}, "sizes: expected .* of at least 1, got {15: 0}"),
        ({"sizes": {15: 160.0}}, "sizes: expected .* whole numbers"),
        (
            {"sizes": {9: 280, 5: 288}, "val_resize": 279},
            "val_resize: expected at least the last of",
        ),
        ({"points": 0.1}, r"points: expected \[\[epoch, share of lr\], \.\.\.\], numbers"),
        ({"points": []}, "points: expected .* got \\[\\]"),
        ({"points": [[0, 1], [5]]}, "points: expected .* got"),
        ({"points": [[0, -1]]}, "points: expected .* numbers of at least 0"),
        ({"points": [[0, float("nan")]]}, "points: expected .* numbers of at least 0"),
        ({"points": [[1, 1]]}, r"points: expected epochs that rise from 0, got \[1\]"),
        ({"points": [[0, 1], [5, 1], [4, 1]]}, r"points: expected epochs that rise from 0"),
        ({"data": ""}, "data: expected a folder with train/ and val/, got none"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**{"data": "x", **wrong})


def parse(*arguments):
    return settings.parse(arguments, prog="train", description="")


def test_flags_take_precedence_over_the_preset(tmp_path):
    (tmp_path / "a.yaml").write_text("lr: 0.3\nepochs: 12\npolicy: {cutmix: {alpha: 0.5}}\n")
    preset = str(tmp_path / "a.yaml")
    made = parse(preset, "--data", "x", "--lr", "1", "--no-nesterov", "--milestones", "4", "8")
    assert (made.lr, made.epochs, made.nesterov, made.milestones) == (1.0, 12, False, (4.0, 8.0))
    assert policy_from_dict(made.policy) == msda.CutMix(alpha=0.5)
    assert parse(preset, "--data", "x", "--policy", "none").policy == "none"


def test_a_folder_does_not_hide_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert parse("demo", "--data", "x").size == 64


@pytest.mark.parametrize(
    "text, message",
    [
        ("learning_rate: 1\n", "expected setting among .* got 'learning_rate'"),
        ("epoch: 1\n", "Did you mean epochs?"),
        ("- a\n", "expected lines 'setting: value'"),
        ("a: [\n", "expected YAML"),
        ("lr: [1]\n", "lr: expected a number"),
    ],
)
def test_wrong_presets(tmp_path, capsys, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SystemExit) as end:
        parse(str(tmp_path / "a.yaml"), "--data", "x")
    assert end.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_help_tells_every_setting_and_its_default(capsys):
    with pytest.raises(SystemExit) as end:
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "copies and multimix multiply them (default: 256)" in text
