"""The demo, on a smaller scale than `make demo` runs it."""

import functools

import pytest
from PIL import Image

from dali_msda.pipelines import demo
from dali_msda.pipelines.data import demo_data

SMALL = """
model: resnet18
size: 32
val_resize: 32
epochs: 1
warmup_epochs: 0
batch_size: 16
policy: {choice: [cutmix, mixup]}
"""


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(demo_data, "make", functools.partial(demo_data.make, per_class=3))


def rows(first, last, top1):
    return [{"loss": first, "top1": 1.0}, {"loss": last, "top1": top1}]


def test_runs_twice(tmp_path, monkeypatch, capfd):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.setattr(demo, "PRESET", str(tmp_path / "small.yaml"))
    monkeypatch.setattr(demo, "_judge", lambda *arguments, **options: None)
    monkeypatch.setattr(demo, "BATCH", 16)
    monkeypatch.setattr(demo, "ROUNDS", 1)
    monkeypatch.setattr(demo, "BATCHES", 1)
    monkeypatch.setattr(demo, "SIZE", 32)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # which the demo would set for good
    out = tmp_path / "out"
    for data in ("data: made", "data: kept from an earlier run"):
        assert demo.main(["--out", str(out)]) == 0
        printed = capfd.readouterr().out
        for line in (data, "all decode", "with CutMix, Mixup", "preview.png: 6 samples"):
            assert line in printed
    for name in ("sheet.png", "preview.png"):
        Image.open(out / name).verify()


@pytest.mark.parametrize(
    "first, last, top1, message",
    [
        (2.8, 2.6, 60.0, "loss: expected at most 2.10 at the end, got 2.60"),
        (2.8, float("nan"), 60.0, "loss: expected"),
        (2.8, 1.3, 18.0, "accuracy: expected 18.8 % or more, got 18.0 %"),
    ],
)
def test_says_when_it_did_not_learn(first, last, top1, message):
    with pytest.raises(demo.Failed, match=message):
        demo._judge(rows(first, last, top1), classes=16)


def test_prints_what_was_learnt(capsys):
    demo._judge(rows(2.8, 1.3, 62.5), classes=16)
    assert "loss 2.80 -> 1.30" in capsys.readouterr().out


def test_unwritable_output(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert demo.main(["--out", str(tmp_path / "file")]) == 1
    assert "expected a folder, got a file" in capsys.readouterr().err


def test_damaged_data_is_named(tmp_path, capsys):
    demo_data.make(tmp_path / "data")
    (tmp_path / "data/val/cat/0000.jpg").write_bytes(b"")
    assert demo.main(["--out", str(tmp_path)]) == 1
    assert "data/val: expected images that decode, got 1 that do not" in capsys.readouterr().err
