"""The trainer's switches: each does what it says, and a run with it goes on to the same bits."""

import sys
import types

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders.choice import KINDS
from dali_msda.pipelines.train import main
from dali_msda.pipelines.training import command_line, resuming, run_folder
from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.metrics import MultilabelMetrics
from dali_msda.pipelines.training.models import make_model
from tests.training.training_runs import (
    EPOCHS,
    STEPS_PER_EPOCH,
    assert_same,
    flags,
    rows,
    run,
    train,
    train_until,
    write_data,
)

MODEL = "timm:test_efficientnet_ln"  # small, without batch norm
# Labels of the lists below, by class folder.
SETS = {
    "train": ("red", "red,green", "green,blue", "-", "blue", "red,green,blue"),
    "val": ("green", "red,green", "green,blue", "-", "blue", "red,green,blue"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_data(tmp_path_factory.mktemp("data"))
    for split in ("train", "val"):
        files = sorted((root / split).rglob("*.jpg"))
        lines = [
            f"{file.relative_to(root / split)} {SETS[split][int(file.parts[-2][-1])]}"
            for file in files
        ]
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    torch.save(make_model(MODEL, 9).state_dict(), root / "weights.pt")  # of another data set
    return root


def config(**more):
    return Config(data="x", **{"device": "cpu", "warmup_epochs": 0.0, "epochs": 1} | more)


def lists(data):
    return dict(multilabel=True, train_list=data / "train.txt", val_list=data / "val.txt")


def same_after_a_kill(data, tmp_path, **switches):
    """The table of a run that nobody killed, with whose weights the killed one must end."""
    whole = train(data, tmp_path / "whole", **switches)
    train_until(11, data, tmp_path / "killed", **switches)
    assert run_folder.load_checkpoint(tmp_path / "killed" / "checkpoint.pt")["step"] == 8
    again = train(data, tmp_path / "killed", resume="auto", **switches)
    assert again[0]["step"] == EPOCHS * STEPS_PER_EPOCH
    assert_same(again[0], whole[0])
    assert again[1] == whole[1]
    return whole


def test_a_killed_run_with_every_switch_ends_with_the_same_weights(data, tmp_path):
    how = dict(optimizer="adamw", optimizer_options="{betas: [0.9, 0.95]}", decay_biases=False)
    how |= dict(accumulate=2, clip_norm=0.5, ema=0.8, ema_warmup=True, compile="eager", lr=1e-3)
    how |= dict(init=data / "weights.pt", min_area=0.25, max_area=0.4, criterion="bce")
    state, table = same_after_a_kill(data, tmp_path, model=MODEL, **how)
    assert table[-1]["ema_val_loss"] != table[-1]["val_loss"]
    assert state["model_ema"].keys() == state["model"].keys()
    assert not any("orig_mod" in name for name in state["model"])


@pytest.mark.slow
def test_a_killed_run_that_was_compiled_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "g++")
    same_after_a_kill(data, tmp_path, model="timm:test_resnet", compile="inductor", ema=0.9)


@pytest.mark.parametrize("loader", ["dali", "torch"])
def test_a_killed_run_on_several_labels_ends_with_the_same_weights(data, tmp_path, loader):
    how = dict(lists(data), loader=loader, model=MODEL, criterion="bce", optimizer="lamb", ema=0.5)
    state, table = same_after_a_kill(data, tmp_path, **how)
    names = "blue", "green", "red"
    source = datasets.find(
        str(data / "val"), file_list=data / "val.txt", classes=names, multilabel=True
    )
    model, metrics = make_model(MODEL, len(names)), MultilabelMetrics()
    model.load_state_dict(state["model_ema"])
    how = dict(size=32, resize=36, batch_size=16, threads=1)
    with KINDS[loader].load().EvaluationLoader(source, **how) as batches, torch.inference_mode():
        for images, labels in batches:
            metrics.add(model.eval()(images), torch.from_numpy(source.rows())[labels])
    for name, value in metrics.result().items():
        assert float(table[-1][f"ema_{name}"]) == pytest.approx(value, rel=1e-4), name


def distance(ours, theirs):
    """Between the weights of two networks, as one vector each."""
    return float(nn.utils.get_total_norm([ours[name] - theirs[name] for name in ours]))


KILLED_TWO = """
import sys
from pathlib import Path
from tests.training.training_runs import flags, together, train_module, train_until
data, out, how = sys.argv[1], Path(sys.argv[2]), eval(sys.argv[3])
assert together(2, lambda: train_until(5, data, out, **how))
arguments = flags(data, out, resume="auto", **how)
sys.exit(not together(2, lambda: train_module.main(arguments)))
"""


def test_two_processes_that_were_killed_equal_one(data, tmp_path):
    """Up to the order in which float32 adds up."""
    how = dict(accumulate=2, clip_norm=0.5, ema=0.8, ema_warmup=True, decay_biases=False)
    how |= dict(loader="torch", policy="none", model=MODEL, lr=0.02, warmup_epochs=0.0)
    how |= dict(epochs=1, checkpoint_every=2)
    whole, table = train(data, tmp_path / "one", **how)
    out = tmp_path / "two"
    code, text = run("-c", KILLED_TWO, str(data), str(out), repr(how))
    assert code == 0, text
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    torch.manual_seed(0)
    start = make_model(MODEL, 6).state_dict()
    for part in ("model", "model_ema"):
        moved, off = (distance(whole[part], other) for other in (start, state[part]))
        assert moved > 0.01
        assert off < 1e-4 * moved, part
    for ours, theirs in zip(rows(out), table, strict=True):
        for name in ours:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3), name


@pytest.mark.parametrize("loader", ["dali", "torch"])
def test_crops_have_areas_of_the_range(loader, tmp_path):
    """Measured on pictures whose red and green tell the place of a pixel."""
    height, width, size = 100, 120, 40
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([2 * x, 2 * y, 0 * x], 2).astype(np.uint8)
    (tmp_path / "class0").mkdir()
    for number in range(64):
        Image.fromarray(ramps).save(tmp_path / "class0" / f"{number}.png")
    raw = dict(mean=(0.0,) * 3, std=(1.0,) * 3, batch_size=64, size=size, threads=1)
    area = dict(min_area=0.25, max_area=0.4)
    with KINDS[loader].load().TrainingLoader(datasets.find(str(tmp_path)), **raw, **area) as made:
        (images, _), *_ = made
    spans = (images.amax((2, 3)) - images.amin((2, 3)))[:, :2] / 2 * size / (size - 1)
    shares = spans.prod(1) / (height * width)
    assert 0.235 < shares.min() < 0.28
    assert 0.37 < shares.max() < 0.415
    with pytest.raises(
        ValueError, match="max_area: expected a share from min_area, 0.5, to 1, got"
    ):
        KINDS[loader].load().TrainingLoader(made.source, min_area=0.5, max_area=0.4)


# Settings.


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"ema": 1.0}, r"ema: expected a number in \[0, 0\.9999999\], got 1\.0"),
        ({"accumulate": 0}, r"accumulate: expected a number in \[1, 1024\], got 0"),
        ({"clip_norm": -1.0}, r"clip_norm: expected at least 0, got -1\.0"),
        ({"max_area": 0.01}, r"max_area: expected at least min_area, 0\.08, got 0\.01"),
        ({"optimizer_options": [1]}, r"optimizer_options: expected a mapping .* got \[1\]"),
        ({"multilabel": True, "train_list": "a"}, "val_list: expected a list of lines .* got none"),
        (
            {"multilabel": True, "train_list": "a", "val": "none"},
            "criterion: expected bce with multilabel, got cross_entropy",
        ),
        (
            {"multilabel": True, "train_list": "a", "val": "none", "criterion": "bce"}
            | {"policy": "puzzlemix"},
            "policy: expected one that the loader mixes with multilabel, got 'puzzlemix'",
        ),
        (
            {"multilabel": True, "train_list": "a", "val": "none", "loader": "ffcv"},
            "loader: expected dali or torch with multilabel, got ffcv",
        ),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        config(**wrong)


def test_what_is_wrong_is_said_before_training(data, tmp_path, capsys):
    def message(**more):
        assert main(flags(data, tmp_path / "out", **more)) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert "a multiple of the 1 processes times the 3 parts of accumulate" in message(accumulate=3)
    wrong = lists(data) | dict(criterion="bce", classes=5)
    assert "classes: expected 3, those of the list, or 0, got 5" in message(**wrong)


def test_a_printed_config_is_a_preset_of_the_same_run(tmp_path, capsys):
    def parse(*arguments):
        return command_line.parse(arguments, prog="train", description="")

    more = ["--data", "x", "--optimizer-options", "{betas: [0.9, 0.95]}", "--sizes", "{15: 200}"]
    with pytest.raises(SystemExit) as end:
        parse("resnet50_multimix_mixup", *more, "--print-config")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert set(yaml.safe_load(text)) == set(Config.__dataclass_fields__)
    (tmp_path / "again.yaml").write_text(text)
    assert parse(str(tmp_path / "again.yaml")) == parse("resnet50_multimix_mixup", *more)


def test_a_checkpoint_names_a_changed_switch_and_an_older_one_has_the_defaults():
    ours, older = (resuming.settings(config(), 1) for _ in range(2))
    for name in ("optimizer", "ema", "accumulate", "max_area", "compile", "wandb", "init"):
        del older[name]
    resuming.expect_same_settings(ours, older)
    switches = dict(optimizer="adamw", ema=0.9, clip_norm=1.0, accumulate=2, compile="eager")
    for name, value in {**switches, "max_area": 0.5, "init": "pretrained"}.items():
        changed = resuming.settings(config(**{name: value}), 1)
        with pytest.raises(ValueError, match=f"{name}: expected .*, as in the checkpoint, got"):
            resuming.expect_same_settings(changed, older)
    resuming.expect_same_settings(resuming.settings(config(wandb="p"), 1), older)


def test_an_older_checkpoint_goes_on(data, tmp_path):
    """One of before the switches, which did not count right answers either."""
    how = dict(model=MODEL, loader="torch", epochs=1)
    whole, _ = train(data, tmp_path / "whole", **how)
    train_until(6, data, tmp_path / "old", **how)
    path = tmp_path / "old" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    for name in ("accumulate", "clip_norm", "ema", "init", "max_area", "multilabel", "optimizer"):
        del state["config"][name]
    (rank,) = state["ranks"]
    del rank["correct"], rank["loader"]["max_area"]
    torch.save(state, path)
    again, table = train(data, tmp_path / "old", resume="auto", **how)
    assert_same(again["model"], whole["model"])
    assert float(table[-1]["train_top1"]) >= 0


# Logs.


def test_a_table_takes_columns_that_an_older_run_did_not_have(tmp_path):
    folder = run_folder.RunFolder(tmp_path, "csv")
    folder.log(1, {"loss": 2.0, "img_s": 9.0})
    folder.log(2, {"loss": 1.0, "train_top1": 50.0, "img_s": 9.0})
    folder.close()
    assert rows(tmp_path) == [{"step": "1", "loss": "2.0", "train_top1": ""},
                              {"step": "2", "loss": "1.0", "train_top1": "50.0"}]  # fmt: skip


def test_weights_and_biases_is_asked_for_and_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    run_folder.RunFolder(tmp_path, "csv").close()
    with pytest.raises(ImportError, match="wandb: expected the package .* `pip install wandb`"):
        run_folder.RunFolder(tmp_path, "csv", "project")


def test_weights_and_biases_gets_the_log_offline(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    opened, logged = [], []
    tracker = types.SimpleNamespace(log=lambda row, step: logged.append((step, row)), finish=dict)
    module = types.SimpleNamespace(
        init=lambda **how: opened.append(how) or tracker, Settings=lambda **how: how
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    for _ in range(2):
        folder = run_folder.RunFolder(tmp_path, "csv", "project")
        folder.start_logs(0, {"lr": 0.1})
        folder.log(6, {"loss": 0.5})
        folder.close()
    first, second = opened
    assert first == second  # a run that goes on is the same one
    assert (first["project"], first["mode"], first["config"]) == ("project", "offline", {"lr": 0.1})
    assert logged == [(6, {"loss": 0.5})] * 2


@pytest.mark.slow
def test_weights_and_biases_itself_writes_offline(tmp_path):
    pytest.importorskip("wandb")
    folder = run_folder.RunFolder(tmp_path, "csv", "project")
    folder.start_logs(0, {"lr": 0.1})
    folder.log(6, {"loss": 0.5})
    folder.close()
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
