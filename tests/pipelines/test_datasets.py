"""What is found on the disk: class folders, lists, shards, and what is wrong with them."""

import io
import os
import re
import tarfile

import numpy as np
import pytest

from dali_msda.pipelines import check as check_tool
from dali_msda.pipelines.data import datasets, shard_index
from dali_msda.pipelines.data.datasets import DatasetError
from dali_msda.pipelines.loaders import dali
from dali_msda.pipelines.loaders import torch as torch_loaders
from dali_msda.pipelines.write_beton import write_beton
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.support.coloured_folders import encoded, identities, write_folder, write_shard
from tests.support.ffcv_processes import needs_ffcv

SMALL = {"batch_size": 2, "size": 24, "resize": 28, "mean": (0, 0, 0), "std": (1, 1, 1)}
KINDS = pytest.mark.parametrize("kind", [dali, torch_loaders], ids=["dali", "torch"])


def write(root, **pictures):
    """Pictures ``{path: (label, number)}`` below a folder; in names, ``__`` stands for a slash."""
    for name, identity in pictures.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".jpg").write_bytes(encoded(*identity))
    return root


def seen(kind, source, **more):
    """(label, number) of each picture that an evaluation loader shows, and the labels with them."""
    with kind.EvaluationLoader(source, threads=1, **SMALL, **more) as loader:
        batches = [(identities(images), labels.tolist()) for images, labels in loader]
    return [p for part, _ in batches for p in part], [n for _, part in batches for n in part]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"), (3, 2, 2))


@KINDS
def test_folders_in_class_folders_are_read_as_torchvision_reads_them(kind, tmp_path):
    write(tmp_path, b__1=(1, 0), a__2=(0, 0), a__in__door__1=(0, 1), a__in__2=(0, 2))
    write(tmp_path, **{"a__in-2__1": (0, 3), "a__1": (0, 4)})
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")  # a circle
    source = datasets.find(str(tmp_path))
    (tmp_path / "a" / "up").unlink()
    declare_operators()
    from torchvision.datasets import ImageFolder

    theirs = ImageFolder(str(tmp_path))
    assert list(zip(source.files, source.labels, strict=True)) == theirs.samples
    assert list(source.classes) == theirs.classes
    pictures, labels = seen(kind, source)
    assert [label for label, _ in pictures] == labels == [0, 0, 0, 0, 0, 1]
    assert check_tool.check(tmp_path, workers=1).fine


def test_hidden_folders_are_no_classes_and_are_named_once(tmp_path):
    write(tmp_path, a__1=(0, 0), b__1=(1, 0))
    write(tmp_path, **{".ipynb_checkpoints__1": (0, 1), "b__.cache__1": (0, 2)})
    with pytest.warns(UserWarning) as told:
        source = datasets.find(str(tmp_path), name="train")
    (warning,) = told
    expected = "train: skipped folders whose names begin with a dot: '.ipynb_checkpoints', 'b/.ca"
    assert str(warning.message).startswith(expected)
    assert source.classes == ("a", "b") and len(source.files) == 2


def test_class_folders_win_over_an_archive_beside_them(tmp_path):
    write(tmp_path, a__1=(0, 0), b__1=(1, 0))
    write_shard(tmp_path / "n01440764.tar", [(encoded(0, 0), b"0")])
    with pytest.warns(UserWarning, match=r"archives beside class folders: .*n01440764\.tar"):
        assert len(datasets.find(str(tmp_path)).files) == 2
    (tmp_path / "shards" / "logs").mkdir(parents=True)  # and shards over folders without images
    write_shard(tmp_path / "shards" / "0.tar", [(encoded(0, 0), b"0")])
    assert isinstance(datasets.find(str(tmp_path / "shards")), datasets.Shards)


FLAT = {"val_0.jpg": 2, "val_1.jpg": 0, "val_2.jpg": 1}
LISTS = {
    "indices": "".join(f"{name} {label}\n" for name, label in FLAT.items()),
    "names": "".join(f"{name} class{label}\r\n" for name, label in FLAT.items()),
    "mark": "\ufeff" + "".join(f"{name} {label}\n" for name, label in FLAT.items()),
    "tiny": "".join(f"{name}\tclass{label}\t0\t0\t62\t62\n" for name, label in FLAT.items()),
    "mapping": None,
}


@KINDS
@pytest.mark.parametrize("form", LISTS)
def test_labels_of_a_flat_folder_come_from_a_file_or_a_mapping(kind, form, root, tmp_path):
    """ImageNet's validation images, and Tiny ImageNet's, which lie in a folder ``images``."""
    train = datasets.find(str(root))
    folder = tmp_path / "images" if form == "tiny" else tmp_path
    folder.mkdir(exist_ok=True)
    for number, (name, label) in enumerate(FLAT.items()):
        (folder / name).write_bytes(encoded(label, number))
    (tmp_path / "list.txt").write_bytes((LISTS[form] or "").encode())
    labels = FLAT if form == "mapping" else str(tmp_path / "list.txt")
    source = datasets.find(str(tmp_path), name="val", file_list=labels, classes=train.classes)
    datasets.check_same_classes(train, source)
    assert seen(kind, source) == ([(2, 0), (0, 1), (1, 2)], [2, 0, 1])
    report = check_tool.check(tmp_path, file_list=labels, classes=train.classes, workers=1)
    assert [label for _, label in report.good] == [2, 0, 1]


@needs_ffcv
def test_a_flat_folder_is_written_with_the_labels_of_a_list(root, tmp_path):
    (tmp_path / "flat").mkdir()
    for number, (name, label) in enumerate(FLAT.items()):
        (tmp_path / "flat" / name).write_bytes(encoded(label, number))
    classes = datasets.find(str(root)).classes
    out = tmp_path / "flat.beton"
    assert write_beton(tmp_path / "flat", out, file_list=FLAT, classes=classes, workers=1) == 3
    assert datasets.find(str(out)).labels.tolist() == [2, 0, 1]


def test_where_labels_are_missing_the_message_says_how_to_give_them(root, tmp_path):
    (tmp_path / "val_0.jpg").write_bytes(encoded(0, 0))
    with pytest.raises(ValueError, match="--val-list FILE with lines 'path label'"):
        datasets.find(str(tmp_path), name="val")
    (tmp_path / "images").mkdir()
    (tmp_path / "val_0.jpg").rename(tmp_path / "images" / "val_0.jpg")
    with pytest.raises(ValueError, match=r"Tiny ImageNet's val_annotations\.txt, give --val-list"):
        datasets.check_same_classes(datasets.find(str(root)), datasets.find(str(tmp_path)))


@pytest.mark.parametrize("what", ["fifo", "folder", "nothing"])
def test_a_list_names_regular_files(what, root, tmp_path):
    write_folder(tmp_path, (1, 1))
    path = tmp_path / "class0" / "odd.jpg"
    {"fifo": os.mkfifo, "folder": os.mkdir, "nothing": lambda path: None}[what](path)
    (tmp_path / "list.txt").write_text("class0/odd.jpg 0\nclass1/00.jpg 1\n")
    got = "nothing there" if what == "nothing" else "another kind of file"
    with pytest.raises(ValueError, match=f"an image file at '.*odd.jpg', got {got}"):
        datasets.find(str(tmp_path), file_list=str(tmp_path / "list.txt"))


ODD = [b"caf\xe9.jpg", "雪.jpg".encode(), b"a\rb.jpg", b"\xef\xbb\xbfmark.jpg", b" two  words .jpg"]


@KINDS
@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_read(kind, name, tmp_path):
    """In the folder, and through the list that ``check`` writes of it."""
    write_folder(tmp_path / "data", (1, 2))
    with open(os.fsencode(tmp_path / "data" / "class0") + b"/" + name, "wb") as file:
        file.write(encoded(0, 9))
    report = check_tool.check(tmp_path / "data", workers=1)
    assert report.fine and len(report.good) == 4
    report.write(tmp_path / "list.txt")
    for file_list in (None, str(tmp_path / "list.txt")):
        source = datasets.find(str(tmp_path / "data"), file_list=file_list)
        pictures, labels = seen(kind, source)
        assert sorted(pictures) == [(0, 0), (0, 9), (1, 0), (1, 1)] and labels == [0, 0, 1, 1]


def write_named_shard(path, names, form):
    with tarfile.open(path, "w", format=form) as archive:
        for number, name in enumerate(names):
            for suffix, content in (("jpg", encoded(number, 0)), ("cls", b"%d" % number)):
                entry = tarfile.TarInfo(f"{name}.{suffix}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize(
    "names", ["猫犬鳥魚馬", [f"{'long' * 40}{n}" for n in range(5)], ["a b", "c d", "e", "f", ".g"]]
)
def test_every_sample_of_a_shard_is_read_whatever_its_name(names, form, tmp_path):
    write_named_shard(tmp_path / "0.tar", names, form)
    pictures, labels = seen(dali, datasets.find(str(tmp_path)), num_classes=5)
    assert labels == [label for label, _ in pictures] == [0, 1, 2, 3, 4]


def test_a_shard_that_was_cut_at_a_samples_end_is_named(tmp_path):
    path = tmp_path / "0.tar"
    write_named_shard(path, "abcde", tarfile.USTAR_FORMAT)
    shard_index.write(str(path), str(tmp_path / "whole"))
    with tarfile.open(path) as archive:
        end = archive.getmembers()[6].offset
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DatasetError, match=r"0\.tar: expected a whole archive, .* samples may be"):
        seen(dali, datasets.find(str(tmp_path)), num_classes=5)
    (tmp_path / "whole").rename(tmp_path / "0.idx")
    with pytest.raises(DatasetError, match=r"0\.tar: expected the 5 samples of its index"):
        seen(dali, datasets.find(str(tmp_path)), num_classes=5)


class TestFolders:
    """What is wrong with a path is said before a pipeline is built."""

    def expect(self, message, path, **arguments):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            datasets.find(str(path), name="train", **arguments)

    def test_nothing_there(self, tmp_path):
        self.expect("train: expected a folder, .* where there is nothing", tmp_path / "missing")
        self.expect("train: expected a folder, .* where there is nothing", tmp_path / "*.tar")
        (tmp_path / "file.txt").touch()
        self.expect("train: expected a folder, .* another file", tmp_path / "file.txt")

    def test_no_classes(self, tmp_path):
        self.expect("train: expected one folder of images per class in .* got nothing", tmp_path)
        (tmp_path / "a.txt").touch()
        self.expect("got other files", tmp_path)
        (tmp_path / "a.jpg").touch()
        self.expect("got images without class folders", tmp_path)

    def test_class_without_images(self, tmp_path):
        write_folder(tmp_path, (1, 0, 2, 0))
        (tmp_path / "class1" / "a.txt").touch()
        self.expect("each of the 4 class folders .* none in 'class1', 'class3'", tmp_path)

    def test_different_classes(self, tmp_path):
        write_folder(tmp_path / "train", (1, 1, 1))
        write_folder(tmp_path / "val", (1, 1))
        (tmp_path / "val" / "class1").rename(tmp_path / "val" / "other")
        train, val = (datasets.find(str(tmp_path / name)) for name in ("train", "val"))
        message = r"val: .* 'class1', 'class2' only in .*train; 'other' only in .*val\."
        with pytest.raises(ValueError, match=message):
            datasets.check_same_classes(train, val)

    @pytest.mark.parametrize(
        "text, message",
        [
            ("class0/00.jpg 0\nclass0/01.jpg\n", "line 2 of .* got 'class0/01.jpg'"),
            ("class0/00.jpg 3\n", r"label in \[0, 3\) in line 1"),
            ("class0/00.jpg zero\n", "line 1"),
            ("\n", "an empty file"),
            ("class0/00.jpg 0\n", "none in 'class1', 'class2'"),
        ],
    )
    def test_malformed_list(self, root, tmp_path, text, message):
        (tmp_path / "list.txt").write_text(text)
        self.expect(message, root, file_list=str(tmp_path / "list.txt"))

    def test_labels_follow_the_bytes_of_the_names(self, tmp_path):
        for name in ("b", "a", "B", "é", "10", "9"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "x y.jpeg").write_bytes(encoded(0, 0))
        assert datasets.find(str(tmp_path)).classes == ("10", "9", "B", "a", "b", "é")
        assert all(re.search("x y.jpeg$", file) for file in datasets.find(str(tmp_path)).files)


def test_the_fingerprint_of_a_beton_tells_images_not_their_places(tmp_path):
    """Several processes write a file in any order; a resumed run must notice other images only."""
    images = [bytes([k]) * (50 + k) for k in range(100)]
    labels, sizes = np.arange(100), np.full((100, 2), 4, np.uint16)

    def fingerprint(images, order=range(100)):
        places, content = np.zeros((100, 2), np.uint64), b"header"
        for k in order:
            places[k] = len(content), len(images[k])
            content += images[k]
        (tmp_path / "a.beton").write_bytes(content)
        return datasets.Beton(str(tmp_path / "a.beton"), labels, sizes, places, ()).fingerprint()

    once = fingerprint(images)
    assert fingerprint(images, reversed(range(100))) == once
    assert fingerprint([b"x" * 50, *images[1:]]) != once  # the first is one that is looked at
    assert (
        len({fingerprint([*images[:k], images[k] + b"x", *images[k + 1 :]]) for k in range(100)})
        == 100
    )
    assert fingerprint(images[::-1]) != once
