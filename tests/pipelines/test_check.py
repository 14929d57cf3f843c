"""The check tool on hostile files: what it says must be what the loaders then meet."""

import os
import re
import signal
import subprocess
import sys

import pytest
from nvidia.dali import fn, pipeline_def

from dali_msda.pipelines import check as tool
from dali_msda.pipelines.data import decodable
from dali_msda.pipelines.data.datasets import find
from tests.support.hostile_files import BAD, GOOD, JPEG, encode, picture, write_hostile
from tests.support.limits import full_disk  # noqa: F401


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return write_hostile(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def report(hostile):
    return tool.check(hostile, workers=2)


def write_class(folder, *names, data=JPEG):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(data)


def read(root, path=None):
    """(path, label) of each sample that DALI's own reader finds, by a list or in the folders."""

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline():
        options = {"file_list": str(path)} if path else {}
        encoded, label = fn.readers.file(name="r", file_root=str(root), **options)
        return fn.get_property(encoded, key="source_info"), label, fn.decoders.image(encoded)

    pipe = pipeline()
    pipe.build()
    for _ in range(pipe.reader_meta("r")["epoch_size"]):
        source, label, _ = pipe.run()
        yield bytes(source.at(0)).decode(), int(label.at(0)[0])


def test_accepts_whatever_decodes(report):
    accepted = {name for name, label in report.good}
    others = {"bad/still_good.jpg", "bad/folder.jpg/inside.jpg"}
    assert accepted == {f"good/{name}" for name in GOOD} | others


@pytest.mark.parametrize("name", BAD)
def test_names_the_reason(report, name):
    assert report.bad[f"bad/{name}"].startswith(BAD[name][1])


def test_reports_what_is_no_file(report):
    others = set(report.bad) - {f"bad/{name}" for name in BAD}
    hidden = "bad/folder.jpg/.checkpoints"
    assert others == {hidden, "bad/link.jpg", "bad/pipe.jpg", "stray.jpg"}
    assert report.bad["bad/link.jpg"] == "broken link to nowhere"
    assert report.bad[hidden] == "a hidden folder: the loaders skip it"
    assert report.bad["bad/pipe.jpg"] == "not a regular file"
    assert "skip" in report.bad["stray.jpg"]


def test_tells_where_a_jpeg_stops(report):
    assert "Stopped at line" in report.bad["bad/truncated.jpg"]


def test_list_is_what_dali_and_the_loaders_read(hostile, report, tmp_path):
    path = tmp_path / "list of files.txt"
    report.write(path)
    assert list(read(hostile, path)) == report.good
    found = find(str(hostile), file_list=str(path))
    assert [os.path.relpath(file, hostile) for file in found.files] == [n for n, _ in report.good]
    assert list(found.labels) == [label for _, label in report.good]
    assert list(found.classes) == report.classes


def test_labels_are_those_of_the_folder_reader(tmp_path):
    """Empty folders take a label, too, and folders sort by bytes."""
    for folder in ("b", "Z", "a", "é", "c d"):
        write_class(tmp_path / folder, "x.jpg")
    (tmp_path / "a-empty").mkdir()
    report = tool.check(tmp_path, workers=1)
    assert dict(read(tmp_path)) == dict(report.good)
    assert report.empty == ["a-empty"]
    assert not report.fine


def test_class_whose_files_all_fail_is_empty(tmp_path):
    write_class(tmp_path / "a", "x.jpg")
    write_class(tmp_path / "b", "y.jpg", data=JPEG[:200])
    assert tool.check(tmp_path, workers=1).empty == ["b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    write_class(tmp_path / "a", "x.jpg", "y.jpg")
    (tmp_path / "a" / "x.jpg").chmod(0)
    assert "Permission denied" in tool.check(tmp_path, workers=1).bad["a/x.jpg"]


def serve_and_die(connection, root):
    """A worker that a file kills, as a fault in a decoder would."""
    connection.send(None)
    for name in connection.recv():
        if "deadly" in name:
            os.kill(os.getpid(), signal.SIGSEGV)
        connection.send(None)


def test_crash_of_the_decoder_is_one_line(monkeypatch):
    monkeypatch.setattr(decodable, "_serve", serve_and_die)
    monkeypatch.setattr(decodable, "CHUNK", 4)
    names = ["a", "deadly 1", "b", "deadly 2", "c", "d", "deadly 3"]
    reasons = dict(decodable.try_all("unused", names, workers=2))
    assert list(filter(reasons.get, names)) == ["deadly 1", "deadly 2", "deadly 3"]
    assert reasons["deadly 1"] == "crashes the decoder (SIGSEGV)"


def die_at_once(connection, root):
    sys.exit(3)


def test_worker_that_cannot_start(monkeypatch):
    monkeypatch.setattr(decodable, "_serve", die_at_once)
    with pytest.raises(RuntimeError, match="at its start .exit code 3."):
        list(decodable.try_all("unused", ["a"], workers=1))


def test_command_lists_and_writes(hostile, tmp_path, capsys):
    path = tmp_path / "list.txt"
    assert tool.main([str(hostile), "--output", str(path), "--workers", "1"]) == 1
    out = capsys.readouterr().out
    assert f"{hostile}/bad/empty.jpg: empty file\n" in out
    assert f"{hostile}/bad/two\\nlines.jpg: line break" in out
    assert f"{len(GOOD) + 2} files of 2 classes decode" in out
    assert len(path.read_text().splitlines()) == len(GOOD) + 2
    assert list(tmp_path.iterdir()) == [path]


def test_command_on_a_fine_folder_twice(tmp_path):
    """The list of the first run, inside the folder, is no stray file of the second."""
    write_class(tmp_path / "a", "x.jpg")
    for _ in range(2):
        assert tool.main([str(tmp_path), "--output", str(tmp_path / "list.txt")]) == 0


@pytest.mark.parametrize(
    "make, arguments, message",
    [
        (lambda root: None, ["missing"], "missing: expected a folder .* got nothing"),
        (lambda root: (root / "f").write_text(""), ["f"], "f: expected a folder .* got a file"),
        (lambda root: (root / "e").mkdir(), ["e"], "e: expected .* got an empty folder"),
        (lambda root: write_class(root / "d/a"), ["d"], "got class folders without images"),
        (lambda root: write_class(root / "d", "x.jpg"), ["d"], "got only files"),
        (
            lambda root: write_class(root / "d/train/a", "x.jpg"),
            ["d"],
            "Check one of them: d/train",
        ),
        (lambda root: write_class(root / "d/a"), ["d", "--workers", "0"], "workers: expected"),
        (lambda root: write_class(root / "d/a"), ["d", "--output", "d"], "--output: expected"),
        (lambda root: write_class(root / "d/a"), ["d", "--output", "no/l"], "does not exist"),
    ],
    ids=["missing", "file", "empty", "no images", "no classes", "splits", "workers", "dir", "out"],
)
def test_usage_errors(tmp_path, monkeypatch, capsys, make, arguments, message):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    with pytest.raises(SystemExit) as error:
        tool.main(arguments)
    assert error.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_interrupt_writes_nothing(tmp_path):
    write_class(tmp_path / "d/a", "0.jpg", data=encode(picture(3000, 3000)))
    for number in range(1, 200):
        os.link(tmp_path / "d/a/0.jpg", tmp_path / f"d/a/{number}.jpg")
    command = [sys.executable, "-m", "dali_msda.pipelines.check", "d", "--output", "list.txt"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    seen = b""
    while b"1/200" not in seen:  # the bar: it decodes
        seen += process.stderr.read(64)
        assert process.poll() is None, seen
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 130
    assert rest.decode().endswith("interrupted: nothing was written\n")
    assert "Traceback" not in rest.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, full_disk):  # noqa: F811
    report = tool.Report(tmp_path, ["a"], good=[(f"a/{number}.jpg", 0) for number in range(999)])
    with pytest.raises(OSError, match=r"list\.txt: expected to write the list, got File too large"):
        report.write(tmp_path / "list.txt")
    assert not list(tmp_path.iterdir())
