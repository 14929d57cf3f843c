"""Image files by the million: what is held of each, and what DALI and torch's workers get."""

import os
import pickle
import tempfile
import tracemalloc
import zlib
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from dali_msda.pipelines.data import class_folders, datasets, image_files
from dali_msda.pipelines.data.datasets import DatasetError, ImageFolder
from dali_msda.pipelines.data.image_files import Paths
from dali_msda.pipelines.loaders import dali, dali_readers, torch_workers
from dali_msda.pipelines.loaders import torch as torch_loaders
from tests.pipelines.loader_cases import COUNTS, SMALL, assert_same_batches, epoch
from tests.support.coloured_folders import encoded, identities, write_folder

ODD = ("a/1.jpg", "a/caf\udce9.jpg", "a/雪.jpg", "a/ b\n\r.jpg ", "/else/where.jpg", "b/2.jpg")
# Bytes of a file: where its name ends, its label, a NUL. Names may have an eighth more, by which an
# array that grows is ahead.
ARRAYS, AHEAD = 8 + 8 + 1, 9 / 8


@pytest.fixture
def source(tmp_path):
    return datasets.find(str(write_folder(tmp_path / "images", COUNTS)))


def reader_arguments(source):
    return dali_readers._files(source).keys() - {"file_root"}


def test_paths_are_those_that_were_packed():
    given = [os.path.join("root", name) for name in ODD]
    paths = Paths.below("root", given)
    assert list(paths) == given and len(paths) == 6 and paths[-1] == "root/b/2.jpg"
    assert paths[1:3] == ("root/a/caf\udce9.jpg", "root/a/雪.jpg")
    assert list(Paths.below("root/", ["root/x", "other/x"])) == [
        "root/x",
        os.path.abspath("other/x"),
    ]
    assert list(Paths.of([])) == []
    with pytest.raises(IndexError):
        paths[6]
    with pytest.raises(ValueError, match=r"labels: expected one for each of 6 files, got .*\(5,\)"):
        ImageFolder("root", ("a",), given, [0] * 5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 6, 7])
def test_a_fingerprint_is_that_of_all_lines_at_once(chunk, monkeypatch):
    """So that runs can be resumed that were started when it was made at once."""
    monkeypatch.setattr(image_files, "CHUNK", chunk)
    labels = [0, 1000, 2, 2, 0, 1]
    made = ImageFolder("root", ("a",), [os.path.join("root", name) for name in ODD], labels)
    lines = [*(name.lstrip("/") for name in ODD), *map(str, labels)]
    assert made.fingerprint() == zlib.crc32(os.fsencode("\n".join(lines)))


def test_what_is_held_of_a_file_is_its_name_and_a_few_numbers(tmp_path):
    (tmp_path / "one").write_bytes(b"")
    names = [
        f"n{label:08}/n{label:08}_{number}.JPEG" for label in range(4) for number in range(999)
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.link(tmp_path / "one", tmp_path / name)
    allowed = AHEAD * sum(map(len, names)) + ARRAYS * len(names) + 4096
    (tmp_path / "list.txt").write_text("".join(f"{name} {name[:9]}\n" for name in names))
    for given in (None, str(tmp_path / "list.txt")):
        datasets.find(str(tmp_path), file_list=given)  # imports what it takes
        tracemalloc.start()
        try:
            source = datasets.find(str(tmp_path), file_list=given)
            held, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(source.files) == len(names) and held < allowed
        assert most < (2.5 if given is None else 12) * allowed


def test_workers_that_are_not_forked_share_what_they_are_told():
    """Else each would be sent all paths: 60 MB for ImageNet's."""
    names = [f"/images/{number}.jpg" for number in range(5000)]
    source = ImageFolder("/images", ("a",), names, [0] * len(names))
    dataset = torch_workers.RandomCrops(source, "", 0, (0.1, 1.0), {0: 8}, 1)
    once = ForkingPickler.dumps(dataset)
    assert len(once) < 4096
    place = dataset._names.data_ptr()
    theirs, again = pickle.loads(once), pickle.loads(ForkingPickler.dumps(dataset))
    assert dataset._names.data_ptr() == place  # it was moved once, not for each worker
    assert (
        [theirs.path(number) for number in range(5000)] == names == [*map(again.path, range(5000))]
    )
    again._labels[7] = 5  # in one memory
    assert theirs._labels[7] == dataset._labels[7] == 5 and source.labels[7] == 0


def test_dali_reads_from_a_list_what_it_reads_from_arguments(source, monkeypatch):
    """The same order in each epoch; and a state of either is one for the other."""
    make = lambda: dali.TrainingLoader(source, **SMALL, num_shards=2, shard_id=1)  # noqa: E731
    with make() as loader:
        assert reader_arguments(source) == {"file_list"}
        listed = [epoch(loader) for _ in range(3)]
    with make() as loader:
        next(iter(loader))
        state = loader.state_dict()
    monkeypatch.setattr(dali_readers, "NOT_IN_LISTS", b"")  # is found in all names
    assert reader_arguments(source) == {"files", "labels"}
    with make() as loader:
        for each in listed:
            assert_same_batches(epoch(loader), each)
        loader.load_state_dict(state)
        assert_same_batches(epoch(loader), listed[0][1:])


def test_a_list_for_dali_has_no_name_and_ends_with_its_source(source, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    os.mkdir(tempfile.tempdir)
    with dali.TrainingLoader(source, **SMALL) as loader:
        next(iter(loader))
        assert os.listdir(tempfile.tempdir) == []
    one = dali_readers._list(source)
    assert dali_readers._list(source) is one and not one.closed
    full = lambda: open("/dev/full", "wb")  # noqa: E731, SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    other = datasets.find(source.root)
    with pytest.raises(OSError, match="temporary: expected room for a list of 34 files, got No sp"):
        dali.TrainingLoader(other, **SMALL)


@pytest.mark.parametrize("name", [b"line\nbreak.jpg", b"space.jpg ", b"tab.jpg\t", b"ok 7.jpg"])
def test_names_that_no_list_can_hold_reach_dali(name, source, tmp_path):
    """In a folder of relative path, too, and beside a name that is not UTF-8 they are refused."""
    place = os.fsencode(source.root) + b"/class0/"
    for number, each in enumerate((name, b"caf\xe9.jpg")):
        with open(place + each, "wb") as file:
            file.write(encoded(0, 20 + number))
    listed = {f"class{label}/00.jpg": label for label in range(3)}
    listed[f"class0/{os.fsdecode(name)}"] = 0
    made = datasets.find(os.path.relpath(source.root), file_list=listed)
    assert reader_arguments(made) == ({"file_list"} if name[:2] == b"ok" else {"files", "labels"})
    with dali.EvaluationLoader(made, resize=28, **SMALL) as loader:
        ((images, labels),) = loader
    assert identities(images) == [(0, 0), (1, 0), (2, 0), (0, 20)] and labels.tolist() == [
        0,
        1,
        2,
        0,
    ]
    made = datasets.find(source.root, file_list={**listed, "class0/caf\udce9.jpg": 0})
    if name[:2] == b"ok":
        assert reader_arguments(made) == {"file_list"}
    else:
        with pytest.raises(DatasetError, match="expected a name without line breaks") as caught:
            dali.EvaluationLoader(made, resize=28, **SMALL)
        assert repr(made.files[3]) in str(caught.value)


def test_a_folder_whose_path_is_not_utf_8_is_refused_by_dali(source, tmp_path):
    os.rename(source.root, os.fsencode(tmp_path) + b"/caf\xe9")
    moved = datasets.find(str(tmp_path / "caf\udce9"))
    with pytest.raises(DatasetError, match="expected a folder whose path is UTF-8"):
        dali.TrainingLoader(moved, **SMALL)
    with torch_loaders.TrainingLoader(moved, **SMALL, threads=1) as loader:
        assert len(next(iter(loader))) == 2


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize("kind", [dali, torch_loaders], ids=["dali", "torch"])
def test_labels_out_of_range_are_named_beforehand(kind, label, source):
    odd = ImageFolder(source.root, source.classes, source.files, [label, *source.labels[1:]])
    with pytest.raises(DatasetError, match=rf"00\.jpg: .* a label in \[0, 3\), got {label}"):
        kind.TrainingLoader(odd, **SMALL)


def test_folders_inside_class_folders_are_counted_with_their_class(tmp_path):
    for name in (
        "b/z/2.jpg",
        "b/1.JPG",
        "a/3.png",
        "a/no.txt",
        "a/.hid/4.jpg",
        "c/5.webp",
        "6.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c" / "4.jpg").symlink_to(tmp_path / "a" / "3.png")
    found = class_folders.scan(str(tmp_path))
    assert list(found.files) == ["a/3.png", "b/1.JPG", "b/z/2.jpg", "c/4.jpg", "c/5.webp"]
    np.testing.assert_array_equal(found.labels, [0, 1, 1, 2, 2])
    assert found.hidden == ["a/.hid"] and found.skipped.keys() == {"a/.hid", "a/no.txt", "6.jpg"}
    assert torch.from_numpy(found.labels).dtype == torch.int64
