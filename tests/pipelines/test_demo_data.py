"""The demo data: what is in it, and that it is there whole or not at all."""

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from dali_msda.pipelines.check import check
from dali_msda.pipelines.data import demo_data
from dali_msda.pipelines.data.datasets import check_same_classes, find


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "data"
    assert demo_data.make(folder)
    return folder


def digest(folder):
    """One hash of all paths and bytes below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(str(path.relative_to(folder)).encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def test_loaders_take_it(data):
    train, val = (find(str(data / split)) for split in demo_data.SPLITS)
    check_same_classes(train, val)
    assert train.classes == tuple(demo_data.PHOTOGRAPHS) == tuple(sorted(demo_data.PHOTOGRAPHS))
    assert len(train.files) == 384
    assert len(val.files) == 128


def test_decodes(data):
    assert check(data / "val", workers=1).fine


def test_varies(data):
    images = [Image.open(path) for path in data.glob("*/*/*.jpg")]
    short, long = ([pick(image.size) for image in images] for pick in (min, max))
    assert min(short) >= 96
    assert max(short) > 300
    assert max(long) <= 512
    assert max(image.width / image.height for image in images) > 1.2
    assert min(image.width / image.height for image in images) < 0.8
    assert {image.mode for image in images} == {"L", "RGB"}
    assert any("progressive" in image.info for image in images)
    tables = {tuple(image.quantization[0]) for image in images}
    assert len(tables) > 30  # one per JPEG quality


@pytest.mark.parametrize("name", demo_data.PHOTOGRAPHS)
def test_no_pixel_is_in_both_splits(name, monkeypatch):
    """Cut from a picture in which every pixel has a number of its own."""
    whole = demo_data.photograph(name)
    numbers = np.arange(whole.width * whole.height, dtype=np.int32)
    numbered = Image.fromarray(numbers.reshape(whole.height, whole.width))
    monkeypatch.setattr(demo_data, "photograph", lambda name: numbered)
    train, val = (np.asarray(demo_data._region(name, split)) for split in demo_data.SPLITS)
    assert not np.intersect1d(train, val).size
    assert train.size + val.size == numbers.size
    assert 0.38 < val.size / numbers.size < 0.42


def test_seed_decides(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        demo_data.make(tmp_path / folder / "data", per_class=3, seed=seed)
    a, b, c = (digest(tmp_path / folder) for folder in "abc")
    assert a == b
    assert digest(tmp_path / "a/data/train") != digest(tmp_path / "c/data/train")
    assert a != c


def test_kept_when_it_is_there(tmp_path, capsys):
    arguments = [str(tmp_path / "data"), "--per-class", "3"]
    assert demo_data.main(arguments) == 0
    assert "made 48 training and 16 validation JPEGs of 16 classes" in capsys.readouterr().out
    before = digest(tmp_path)
    assert demo_data.main(arguments) == 0
    assert "kept, it was there already" in capsys.readouterr().out
    assert digest(tmp_path) == before


def test_other_settings_are_refused(tmp_path):
    demo_data.make(tmp_path / "data", per_class=3)
    with pytest.raises(FileExistsError, match="3 training crops per class, seed 0.*Delete"):
        demo_data.make(tmp_path / "data", per_class=4)


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="expected an empty folder or demo data"):
        demo_data.make(tmp_path / "data", per_class=3)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["thesis.txt"]


def test_nothing_half_written(tmp_path, monkeypatch):
    def stop(folder, *arguments):
        folder.mkdir(parents=True)
        if folder.name == "coffee":
            raise KeyboardInterrupt

    monkeypatch.setattr(demo_data, "_write_class", stop)
    with pytest.raises(KeyboardInterrupt):
        demo_data.make(tmp_path / "data", per_class=3)
    assert not list(tmp_path.iterdir())


def test_unwritable_output(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert demo_data.main([str(tmp_path / "file" / "data")]) == 1
    assert f"{tmp_path}/file: expected a folder, got a file" in capsys.readouterr().err
    assert demo_data.main([str(tmp_path / "file")]) == 1
    assert "expected a folder or nothing, got a file" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_output(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert demo_data.main([str(tmp_path / "data")]) == 1
    assert "expected a place for a folder, got 'Permission denied'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--per-class", "2"], ["--seed", "-1"]])
def test_bad_numbers(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as error:
        demo_data.main([str(tmp_path / "data"), *arguments])
    assert error.value.code == 2
    assert "expected at least" in capsys.readouterr().err


def test_missing_photograph(tmp_path, monkeypatch):
    lost = demo_data.Photograph("skimage", "data/lost.png", "left")
    monkeypatch.setattr(demo_data, "PHOTOGRAPHS", {"lost": lost})
    with pytest.raises(FileNotFoundError, match="lost.png.*pip install"):
        demo_data.make(tmp_path / "data")
    assert not list(tmp_path.iterdir())
