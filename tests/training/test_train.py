"""The trainer: a stopped run ends as if it had not been; what is said, and what is left behind."""

import os
import pathlib
import re
import signal

import pytest
import torch

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders.dali import EvaluationLoader
from dali_msda.pipelines.train import main
from dali_msda.pipelines.training import run_folder
from dali_msda.pipelines.training.metrics import CleanMetrics
from dali_msda.pipelines.training.models import make_model
from tests.support.coloured_folders import write_shard
from tests.training.training_runs import (
    EPOCHS,
    SCRIPT,
    SETTINGS,
    STEPS_PER_EPOCH,
    assert_same,
    flags,
    rows,
    run,
    train,
    write_data,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "interrupted.py"
    path.write_text(SCRIPT)
    return str(path)


KILL, CTRL_C, TERM = (int(number) for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM))


@pytest.mark.parametrize(
    "where, number, signum, code, kept",
    [
        ("step", 11, KILL, -KILL, 8),
        ("step", 11, CTRL_C, 128 + CTRL_C, 11),
        ("step", 6, CTRL_C, 128 + CTRL_C, 6),  # the last step of an epoch
        ("step", 10, TERM, 128 + TERM, 10),  # as a cluster stops a job that it starts again
        ("checkpoint", 3, KILL, -KILL, 6),  # while the one of step 8 is written
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been(
    data, script, uninterrupted, tmp_path, where, number, signum, code, kept
):
    got, text = run(script, where, str(number), str(signum), *flags(data, tmp_path))
    assert got == code, text
    assert run_folder.load_checkpoint(tmp_path / "checkpoint.pt")["step"] == kept
    if signum != KILL:
        (line,) = text.strip().splitlines()
        assert line.startswith(f"stopped at step {kept}; --resume auto goes on from {tmp_path}")
    state, table = train(data, tmp_path, resume="auto")
    assert state["step"] == EPOCHS * STEPS_PER_EPOCH
    assert_same(state, uninterrupted[0])
    assert table == uninterrupted[1]


def test_stopped_before_the_first_step(data, script, tmp_path):
    code, text = run(script, "start", "1", str(CTRL_C), *flags(data, tmp_path))
    assert (code, text.strip()) == (
        130,
        "stopped at once; a checkpoint, if there was one, is whole",
    )
    assert not list(tmp_path.iterdir())


def test_training_from_shards(data, tmp_path, capsys):
    for split in ("train", "val"):
        source = datasets.find(str(data / split))
        samples = [
            (pathlib.Path(file).read_bytes(), str(label).encode())
            for file, label in zip(source.files, source.labels, strict=True)
        ]
        (tmp_path / split).mkdir()
        for number in range(2):
            write_shard(tmp_path / split / f"{number}.tar", samples[number::2])
    more = dict(classes=6, model="resnet18", loss="dense", log="tensorboard", epochs=1)
    arguments = flags(tmp_path, tmp_path / "out", **more)
    assert main([*arguments, "--amp", "--no-channels-last"]) == 0
    assert re.fullmatch(
        r"epoch 1/1  loss \d\.\d{4}  train top-1 [\d.]+ %  val loss [\d.]+  top-1 [\d.]+ %  "
        r"top-5 [\d.]+ %  ECE [\d.]+ %  \d+ img/s\n",
        capsys.readouterr().out,
    )
    names = {path.name.split(".")[0] for path in (tmp_path / "out").iterdir()}
    assert names == {"checkpoint", "events"}


def test_two_processes_train_one_model(data, script, tmp_path):
    state, table = train(data, tmp_path / "whole", processes=2)
    assert state["step"] == EPOCHS * STEPS_PER_EPOCH  # the same global batch
    ranks = [rank["loader"] for rank in state["ranks"]]
    assert [(rank["shard_id"], rank["num_shards"], rank["batch_size"]) for rank in ranks] == [
        (0, 2, 8),
        (1, 2, 8),
    ]
    model = make_model(SETTINGS["model"], 6)
    model.load_state_dict(state["model"])
    model.eval()
    metrics, source = CleanMetrics(), datasets.find(str(data / "val"))
    with (
        EvaluationLoader(source, size=32, resize=36, batch_size=8) as loader,
        torch.inference_mode(),
    ):
        for images, labels in loader:
            metrics.add(model(images.contiguous(memory_format=torch.channels_last)), labels)
    assert metrics.sums[0] == 31  # an odd number, on two processes
    for name, value in metrics.result().items():
        assert float(table[-1][name]) == pytest.approx(value, rel=1e-4), name

    out = tmp_path / "stopped"  # each process gets a Ctrl-C of its own
    code, text = run(script, "step", "11", str(CTRL_C), *flags(data, out), processes=2)
    assert code != 0
    assert text.count("stopped at step 11; --resume auto goes on") == 1
    assert run_folder.load_checkpoint(out / "checkpoint.pt")["step"] == 11
    again, table_again = train(data, out, processes=2, resume="auto")
    assert_same(again, state)
    assert table_again == table


def test_a_run_does_not_overwrite_another_and_its_settings_are_kept(
    data, uninterrupted, tmp_path, capsys
):
    torch.save(uninterrupted[0], tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert main(flags(data, tmp_path)) == 1
    assert "out: expected a folder without a checkpoint" in capsys.readouterr().err
    assert main(flags(data, tmp_path, resume="auto", lr=0.2)) == 1
    assert "lr: expected 0.05, as in the checkpoint, got 0.2." in capsys.readouterr().err
    assert main(flags(data, tmp_path, resume=str(tmp_path / "missing.pt"))) == 1
    assert "missing.pt" in capsys.readouterr().err
    (tmp_path / "half.pt").write_bytes(before[: len(before) // 2])
    assert main(flags(data, tmp_path, resume=str(tmp_path / "half.pt"))) == 1
    assert "resume: expected a whole checkpoint of this trainer" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_what_cannot_work_is_said_before_training(data, tmp_path, capsys):
    def message(**more):
        assert main(flags(data, **{"out": tmp_path / "out"} | more)) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    (tmp_path / "file").touch()
    assert "out: expected a folder that can be written to" in message(out=tmp_path / "file")
    assert "train: expected a folder" in message(train=tmp_path / "nowhere")
    assert "Did you mean resnet101" in message(model="resnet_101")
    assert "batch_size: expected at most 102 per process" in message(batch_size=103)
    if not torch.cuda.is_available():
        assert "device_id: expected None, since there is no GPU" in message(loader_device="gpu")
        assert "device: expected cpu or auto" in message(device="cuda")
    assert "loss: expected a finite number, got" in message(lr=1e30, warmup_epochs=0)
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_an_unfinished_checkpoint_leaves_the_last_one(tmp_path, monkeypatch):
    folder = run_folder.RunFolder(tmp_path, "csv")
    folder.save({"step": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        folder.save({"step": 2})
    assert torch.load(folder.checkpoint, weights_only=True) == {"step": 1}


def test_logs_are_cut_where_a_run_goes_on(tmp_path):
    for log in ("csv", "both"):
        folder = run_folder.RunFolder(tmp_path / log, log)
        folder.start_logs(0)
        for step in (6, 12, 18):
            folder.log(step, {"loss": 1.0 / step})
        folder.close()
        folder = run_folder.RunFolder(tmp_path / log, log)
        folder.start_logs(12)
        folder.log(12, {"loss": 0.5})
        folder.close()
        assert [(row["step"], row["loss"]) for row in rows(tmp_path / log)] == [
            ("6", str(1 / 6)),
            ("12", "0.5"),
        ]
    assert list((tmp_path / "both").glob("events*"))
