"""What clusters do to training runs: kills, second runs, full disks, damaged files."""

import os
import signal
import subprocess
import sys
import zipfile

import pytest
import torch

from dali_msda.pipelines.train import main
from dali_msda.pipelines.training import run_folder
from dali_msda.pipelines.write_beton import write_beton
from tests.support.ffcv_processes import needs_ffcv
from tests.support.limits import full_disk  # noqa: F401
from tests.training.training_runs import (
    EPOCHS,
    SCRIPT,
    SECONDS,
    STEPS_PER_EPOCH,
    assert_same,
    flags,
    rows,
    run,
    train,
    write_data,
)

KILL = int(signal.SIGKILL)
LOADERS = ["dali", pytest.param("ffcv", marks=needs_ffcv), "torch"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def checkpoint(tmp_path):
    """A small one, of no model."""
    folder = run_folder.RunFolder(tmp_path / "run", "csv")
    rank = dict(loader={}, loss_sum=torch.zeros(()), mixed={}, random=torch.get_rng_state())
    weights = {"weight": torch.arange(4096.0)}
    folder.save(dict(config={}, step=1, model=weights, optimizer={}, ranks=[rank]))
    folder.close()
    return folder.checkpoint


@pytest.mark.parametrize("loader", LOADERS)
def test_a_killed_run_ends_with_the_same_weights(loader, data, tmp_path):
    """The model draws: it has dropout. Compared to the bit."""
    if loader == "ffcv":
        for split in ("train", "val"):
            write_beton(data / split, data / f"{split}.beton", workers=1)
    whole, table = train(data, tmp_path / "whole", loader=loader)
    script = tmp_path / "interrupted.py"
    script.write_text(SCRIPT)
    out = tmp_path / "killed"
    code, text = run(str(script), "step", "11", str(KILL), *flags(data, out, loader=loader))
    assert code == -KILL, text
    assert run_folder.load_checkpoint(out / "checkpoint.pt")["step"] == 8
    state, again = train(data, out, resume="auto", loader=loader)
    assert state["step"] == EPOCHS * STEPS_PER_EPOCH
    assert_same(state, whole)
    assert again == table


LOCKS = "import sys; from dali_msda.pipelines.training.run_folder import RunFolder\n"
LOCKS += "run = RunFolder(sys.argv[1], 'csv'); print('locked', flush=True); sys.stdin.read()"


def test_the_second_run_of_a_folder_is_refused_until_the_first_has_died(data, tmp_path, capsys):
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCKS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"locked\n"
        assert main(flags(data, tmp_path)) == 1
        assert "out: expected a folder that no other run writes to" in capsys.readouterr().err
    finally:
        holder.kill()
        holder.communicate(timeout=SECONDS)
    folder = run_folder.RunFolder(tmp_path, "csv")  # the dead run's file is no lock
    folder.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("loader", ["dali", "torch"])
def test_a_run_goes_on_without_the_files_that_stopped_it(loader, tmp_path, capfd):
    """By the advice of the message: a list of the files that decode, and --resume auto."""
    data = write_data(tmp_path)
    options = dict(loader=loader, policy="none", model="resnet18", checkpoint_every=1)
    (data / "train" / "class2" / "03.jpg").write_bytes(b"\xff\xd8\xff no picture")
    arguments = flags(data, tmp_path / "run", **options)
    assert main(arguments) == 1
    advice = capfd.readouterr().err
    assert "--train-list good.txt" in advice and "class2/03.jpg" in advice
    listed = [f"class{k}/{n:02d}.jpg {k}" for k in range(6) for n in range(17) if (k, n) != (2, 3)]
    (tmp_path / "good.txt").write_text("\n".join(listed) + "\n")
    more = ["--train-list", str(tmp_path / "good.txt"), "--resume", "auto"]
    assert main([*arguments, *more]) == 0, capfd.readouterr().err
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1", "2"]
    state = run_folder.load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == EPOCHS * (101 // 16)
    assert state["ranks"][0]["loader"]["samples"] == 101
    assert main([*flags(data, tmp_path / "run", **options), "--resume", "auto"]) in (0, 1)


def test_other_training_images_are_refused_unless_they_are_meant(tmp_path, capsys):
    data, out = write_data(tmp_path), tmp_path / "run"
    options = dict(loader="torch", policy="none", model="resnet18", epochs=1, val="none")
    arguments = [*flags(data, out, **options), "--resume", "auto"]
    assert main(arguments) == 0
    (data / "train/class1/03.jpg").rename(data / "train/class1/99.jpg")
    capsys.readouterr()
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: train: expected the images of the checkpoint, got others")
    assert "Give --restart-epoch" in message
    assert main([*arguments, "--restart-epoch"]) == 0
    assert "resumed at step 6" in capsys.readouterr().out


def test_a_flipped_bit_of_a_checkpoint_is_found(checkpoint):
    assert run_folder.load_checkpoint(checkpoint)["step"] == 1
    with zipfile.ZipFile(checkpoint) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(checkpoint.read_bytes())
    data[largest.header_offset + 4096] ^= 1
    checkpoint.write_bytes(data)
    torch.load(checkpoint, weights_only=True)  # which does not look
    with pytest.raises(ValueError, match=r"resume: .*checkpoint\.pt', which is damaged"):
        run_folder.load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "lost",
    ["config", "step", "model", "optimizer", "ranks", "loader", "loss_sum", "mixed", "random"],
)
def test_a_checkpoint_without_its_parts_is_refused(checkpoint, lost):
    state = torch.load(checkpoint, weights_only=True)
    del (state if lost in state else state["ranks"][0])[lost]
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match="which lacks some of its parts"):
        run_folder.load_checkpoint(checkpoint)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile",)


@pytest.mark.parametrize("content", [[1, 2], Hostile(), None])
def test_other_files_are_refused_in_our_own_words(tmp_path, monkeypatch, content):
    """Not in those of PyTorch, which advises to set weights_only=False."""
    monkeypatch.chdir(tmp_path)
    torch.save(content, "other.pt")
    with pytest.raises(ValueError, match="resume: expected a whole checkpoint") as error:
        run_folder.load_checkpoint("other.pt")
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value)
    assert not os.path.exists("hostile")


def test_a_full_disk_keeps_the_last_checkpoint(checkpoint, full_disk):  # noqa: F811
    whole = checkpoint.read_bytes()
    folder = run_folder.RunFolder(checkpoint.parent, "csv")
    with pytest.raises(OSError, match=r"checkpoint\.pt: expected to write a .* before is kept"):
        folder.save({"weights": torch.zeros(10000)})
    folder.close()
    assert checkpoint.read_bytes() == whole
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_at_a_row_of_the_table_is_named(tmp_path, full_disk):  # noqa: F811
    folder = run_folder.RunFolder(tmp_path, "csv")
    with pytest.raises(OSError, match=r"metrics\.csv: expected to write a row, got File too large"):
        for step in range(300):
            folder.log(step, {"loss": 1.0})
    folder.close()


def test_a_worker_that_dies_is_one_line(data, tmp_path, capsys, monkeypatch):
    from dali_msda.pipelines.data import decoding

    monkeypatch.setattr(decoding, "decode", lambda path: os._exit(3))
    assert main(flags(data, tmp_path, loader="torch", val="none")) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: loader: expected its worker processes to live")
