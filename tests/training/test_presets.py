"""The presets: each names all that it draws, and trains a few steps on small pictures."""

import contextlib
import dataclasses
import math
import re

import numpy as np
import pytest
import torch
import yaml

import dali_msda as msda
from dali_msda.pipelines.loaders.choice import make_loaders
from dali_msda.pipelines.train import Run
from dali_msda.pipelines.training import command_line as settings
from dali_msda.pipelines.training.command_line import read_preset
from dali_msda.pipelines.training.models import make_model
from dali_msda.pipelines.training.policies import NAMED, policy_from_dict
from dali_msda.pipelines.training.processes import joined_processes, stopping_between_steps
from dali_msda.pipelines.training.schedules import learning_rate
from dali_msda.pipelines.training.step_methods import CoMixup, LoaderMixed, PuzzleMix, StepMethod
from dali_msda.policy import METHODS
from tests.support.coloured_folders import write_folder
from tests.support.variants import draw_any

NAMES = list(settings.presets())
PAPERS = [name for name in NAMES if name != "demo"]
# What a preset of a paper must say of a method, and what its training.
ARGUMENTS = {
    "mixup": "alpha scope partner",
    "cutmix": "alpha box scope partner",
    "fmix": "alpha decay law rounding scope partner",
    "hmix": "alpha r mode box scope partner",
    "gmix": "alpha mode scope partner",
    "resizemix": "tau scope partner",  # alpha has no effect
    "saliencymix": "alpha box scope partner",
    "cutout": "length scope",  # neither have alpha and partner
    "lamix": "partner",
}
CHOICES = {
    "prob",
    "k",
    "share",
    "prior_lam",
    "every",
    "clean_weight",
}  # arguments that may be left out
for _name, _kind in NAMED.items():  # of a method that is not in the list: everything
    _fields = [field.name for field in dataclasses.fields(_kind) if field.name not in CHOICES]
    ARGUMENTS.setdefault(_name, " ".join(_fields))
SETTINGS = """model classes epochs batch_size schedule lr warmup_epochs momentum nesterov
    weight_decay smoothing size val_resize min_area policy""".split()
# What some must say besides, by a part of their names or by their schedule.
BESIDES = {
    "_copies": {"copies"},
    "_lamix": {"lamix_beta"},
    "resnet50_multimix": {"sizes"},
    "resnet50_manifold": {"sizes"},
    "resnet50_puzzlemix_fast": {"sizes"},
    "resnet50_comixup": {"sizes"},
    "_manifold": {"criterion"},
    "_puzzlemix": {"criterion"},
    "_comixup": {"criterion"},
    "step": {"milestones", "gamma"},
    "cosine": {"final_lr"},
    "linear": {"points"},
}
STEPS, CLASSES = 2, 2


def leaves(policy):
    """All methods in a readable policy, by name and arguments."""
    if policy == "none":
        return []
    for name in ("multimix", "manifoldmixup", "alignmix"):
        if name in policy:
            return leaves(policy[name])
    members = policy.get("choice") or policy.get("alternate")
    if members:
        return [leaf for member in members for leaf in leaves(member)]
    return list(policy.items())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_folder(root / "train", (8 * STEPS // CLASSES,) * CLASSES)
    return root


def drawn(name):
    """The policy of a preset, or what is drawn for a method of the training step."""
    policy = policy_from_dict(read_preset(name)["policy"])
    if isinstance(policy, PuzzleMix):
        policy = policy.mixer(CLASSES)
        assert policy.blocks == (2, 4, 8, 16)
    return policy if isinstance(policy, msda.Policy) else getattr(policy, "policy", None)


def small(name, data, *more):
    """The preset with what makes it small put over it, as on the command line."""
    preset = read_preset(name)
    policy = policy_from_dict(preset["policy"])
    names_layers = isinstance(policy, StepMethod) and not isinstance(policy, PuzzleMix | CoMixup)
    model = preset["model"].replace("50", "18") if names_layers else "resnet18"
    flags = ["--data", str(data), "--val", "none", "--classes", "0", "--model", model]
    flags += "--size 32 --val-resize 32 --batch-size 8 --epochs 1 --threads 1".split()
    flags += "--warmup-epochs 0 --lr 0.01 --device cpu --sizes {}".split()
    return settings.parse([name, *flags, *more], prog="train", description="")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains(name, data):
    config = small(name, data)
    torch.manual_seed(0)
    with joined_processes("cpu") as process, contextlib.ExitStack() as stack:
        run = Run(config, process, None, *make_loaders(config, process, stack))
        assert (run.loader.num_classes, len(run.loader)) == (
            CLASSES,
            STEPS * 8 // config.batch_size,
        )
        policy = policy_from_dict(read_preset(name)["policy"])
        in_step = isinstance(policy, StepMethod)
        assert run.loader.policy == (None if in_step else policy)
        assert (type(run.mixed) is not LoaderMixed) == in_step
        with stopping_between_steps(process) as stopping:
            row = run.train_epoch(stopping)
    assert math.isfinite(row["loss"])
    assert row["loss"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_valid_as_it_is(name):
    assert isinstance(
        settings.parse([name, "--data", "x"], prog="", description=""), settings.Config
    )


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_names_everything(name):
    preset = read_preset(name)
    wanted = {*SETTINGS, *(("warmup_lr",) if preset["warmup_epochs"] else ())}
    for part, names in BESIDES.items():
        wanted |= names if part in name or part == preset["schedule"] else set()
    assert set(preset) == wanted
    for method, arguments in leaves(preset["policy"]):
        assert set(arguments) - CHOICES == set(ARGUMENTS[method].split()), method
        assert ("k" in arguments) == ("share" in arguments)
    if "choice" in preset["policy"]:
        assert {"weights", "scope"} <= set(preset["policy"])
    if "alternate" in preset["policy"]:
        assert "counts" in preset["policy"]
    policy = preset["policy"]
    for part in (policy, policy.get("manifoldmixup", {})) if policy != "none" else ():
        if "multimix" in part:
            assert {"k", "share"} <= set(part)


def test_the_methods_are_those_of_the_package():
    assert set(ARGUMENTS) == set(NAMED)
    used = {method for name in PAPERS for method, _ in leaves(read_preset(name)["policy"])}
    assert used == set(NAMED)


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_says_what_it_is_compared_with(name):
    text = settings.presets()[name].read_text()
    comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    assert re.search(r"arXiv:\d{4}\.\d{5}|Shen et al\.|ICLR 2021 submission", comment)
    assert re.search(r"\d\d\.\d\d? %|no published number", comment)
    for other in re.findall(r"\b\w*net\w+_\w+", comment):
        assert other in NAMES  # presets that it points to
    preset = yaml.safe_load(text)
    assert name.startswith(preset["model"].removeprefix("timm:") + "_")
    data = {"cifar100": 100, "cifar": 0, "tiny": 200}  # the first that the name has; 0 for both
    classes = next((count for part, count in data.items() if part in name), 1000)
    assert preset["classes"] == classes


SHARED = ["method", "lam", "weight"]


@pytest.mark.parametrize("name", PAPERS)
def test_one_draw_serves_the_batch_where_the_papers_do_so(name):
    policy = drawn(name)
    if policy is None:
        return
    plans = [draw_any(policy, 8, 16, 16, seed=0, step=step) for step in range(8)]
    shared = all((plan[SHARED] == plan[SHARED][0]).all() for plan in plans)
    assert shared == (name != "resnet101_cutmix_mixup" and "_lamix" not in name)


def test_the_models_exist():
    for model in {read_preset(name)["model"] for name in PAPERS}:
        with torch.device("meta"):
            make_model(model, 10)


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("preactresnet18", 11_171_146),
        ("wrn16_8", 10_961_370),
        ("wrn28_10", 36_479_194),
        ("resnext29_4x24", 4_845_002),
        ("pyramidnet200_240", 26_752_702),
    ],
)
def test_networks_for_small_pictures_have_their_published_size(name, parameters):
    """The Wide ResNets' is 11.0 and 36.5 million; that of others is counted in released code."""
    with torch.device("meta"):
        model = make_model(name, 10).train()
        assert sum(part.numel() for part in model.parameters()) == parameters
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 10)


def test_alternation_takes_turns():
    policy = policy_from_dict(read_preset("resnetv2_18_cifar_fmix_mixup")["policy"])
    turns = [
        msda.draw(policy, 8, 16, 16, seed=0, step=step)["method"].tolist() for step in range(4)
    ]
    fmix, mixup = (METHODS[name].code for name in ("fmix", "mixup"))
    assert turns == [[fmix] * 8, [mixup] * 8, [fmix] * 8, [mixup] * 8]


@pytest.mark.parametrize("name", [name for name in NAMES if "resnet50_multimix" in name])
def test_stages_of_another_size(name, data):
    flags = ["--sizes", "{1: 64}", *"--val-resize 64 --epochs 2".split()]
    config = small(name, data, "--val", str(data / "train"), *flags)
    seen = []
    with joined_processes("cpu") as process, contextlib.ExitStack() as stack:
        run = Run(config, process, None, *make_loaders(config, process, stack))
        run.model.register_forward_pre_hook(
            lambda model, inputs: seen.append((model.training, *inputs[0].shape[::3]))
        )
        with stopping_between_steps(process) as stopping:
            for _ in range(2):
                run.train_epoch(stopping)
                run.validate(stopping)
    validation = [(False, 8, 64)] * STEPS
    for size in (32, 64):
        step = [(False, 8, size)] * ("puzzlemix" in name) + [(True, 40, size)]
        assert seen[: len(step) * STEPS] == step * STEPS
        assert seen[len(step) * STEPS :][:STEPS] == validation
        del seen[: (len(step) + 1) * STEPS]
    assert not seen


def test_rates_of_the_stages():
    config = settings.parse(["resnet50_multimix_mixup", "--data", "x"], prog="", description="")
    given = {0: 0.5, 4: 0.75, 8: 1.0, 15: 0.2, 40: 0.02, 64: 0.02, 65: 0.002, 90: 2e-4, 99: 2e-4}
    for epoch, rate in given.items():
        assert learning_rate(config, 10 * epoch, 10) == pytest.approx(rate), epoch
    assert learning_rate(config, 150 * 1000 - 1, 10000) == pytest.approx(0.125, rel=1e-3)
    assert config.val_size == 352


@pytest.mark.parametrize("name", [name for name in PAPERS if "_multimix" in name])
def test_five_interpolations_of_each_pair(name):
    plan = msda.draw(drawn(name), 8, 16, 16, seed=0, step=0)
    assert plan.shape == (8, 5)
    assert (np.diff(plan["lam"]) < 0).all()


def test_lamix_takes_turns():
    policy = policy_from_dict(read_preset("resnetv2_18_cifar_lamix")["policy"])
    sources = [msda.draw(policy, 8, 4, 4, seed=0, step=step)["sources"].tolist() for step in (0, 1)]
    assert sources == [[1] * 8, [2] * 8]


def test_a_legacy_twin_differs_in_how_masks_are_drawn_only():
    twins = [name for name in PAPERS if name.endswith("_legacy")]
    assert len(twins) == 3
    for name in twins:
        ours, theirs = read_preset(name.removesuffix("_legacy")), read_preset(name)
        own, legacy = ours.pop("policy")["fmix"], theirs.pop("policy")["fmix"]
        assert ours == theirs
        assert (own["law"], legacy["law"]) == ("paper", "legacy")
        assert own | {"law": "legacy", "rounding": "coin"} == legacy
