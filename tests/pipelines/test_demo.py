"""The demo, on a smaller scale than `make demo` runs it."""

import functools

import numpy as np
import pytest
from PIL import Image

from dali_msda import Mixup, draw, puzzle
from dali_msda.pipelines import demo, demo_puzzle
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
        for line in (
            data,
            "all decode",
            "with CutMix, Mixup",
            "preview.png: 6 samples",
            "puzzle.png: 6 pairs",
        ):
            assert line in printed
    for name in ("sheet.png", "preview.png", "puzzle.png"):
        Image.open(out / name).verify()


def test_the_picture_of_puzzle_mix_shows_what_becomes_of_a_pair():
    """A mixed image is one moved image or the other, as the mask has it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    maps = np.exp(2 * rng.standard_normal((4, 32, 32))).astype(np.float32)
    plan = draw(Mixup(partner="derangement"), 4, 32, 32, seed=0, step=0, lam=0.5)
    settings = puzzle.PuzzleSettings(levels=2, move_cost=0.1)
    found = puzzle.solve(pixels, maps, plan, blocks=8, settings=settings)
    for slot, row in enumerate(demo_puzzle.rows_of(pixels, list("abcd"), maps, found)):
        own, partner, grey, _, mask, one, other, mixed = (cell.image[::5, ::5] for cell in row)
        np.testing.assert_array_equal(own, pixels[slot])
        np.testing.assert_array_equal(partner, pixels[plan["partner"][slot]])
        np.testing.assert_array_equal(mixed, np.where(mask[..., None] > 0, one, other))
        assert (one != own).any() and np.unique(mask).tolist() == [0, 255]
        shares = maps[slot].reshape(8, 4, 8, 4).mean((1, 3))
        np.testing.assert_allclose(grey[::4, ::4], 255 * shares / shares.max(), atol=0.51)
        assert row[4].text == f"mean {found.plan['weight'][slot]:.2f}"


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
