"""The folder of many names, the processes that start over it, and those that train together."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import cases
from bench.scale import distributed, folder, process, rank, start
from tests.bench.small_cases import ROOT

MAKES = """
import os, signal
from bench.scale import folder
print(folder.linked(50, 4), flush=True)
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_folder_has_its_names_and_is_removed_however_the_process_ends(end):
    with subprocess.Popen(
        [sys.executable, "-c", MAKES + "input()\n" + end],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as made:  # fmt: skip
        root = Path(made.stdout.readline().strip())
        files = [sorted(each.iterdir()) for each in sorted(root.iterdir())]
        assert [len(each) for each in files] == [12, 13, 12, 13]
        assert len({path.stat().st_ino for each in files for path in each}) == folder.JPEGS
        assert files[1][0].name.startswith(files[1][0].parent.name + "_")
        made.communicate("\n")
    until = time.monotonic() + 30
    while root.parent.exists() and time.monotonic() < until:
        time.sleep(0.02)  # another process removes it
    assert not root.parent.exists() and root.parent.parent == folder.BUILD


def test_a_disk_without_room_is_a_reason_to_skip(tmp_path, monkeypatch):
    room = os.statvfs(tmp_path)
    folder._expect_room(tmp_path, 10, 2)
    with pytest.raises(cases.Missing, match="MB of free disk"):
        folder._expect_room(tmp_path, room.f_bavail * room.f_frsize, 2)
    few = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 10**4, 50, 49, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: few)
    with pytest.raises(cases.Missing, match="expected 1048 free inodes, got 49"):
        folder._expect_room(tmp_path, 10_000, 1000)


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_place", lambda: tmp_path)
    from tests.support.coloured_folders import encoded

    (tmp_path / "jpegs/train/a").mkdir(parents=True)
    (tmp_path / "jpegs/train/a/1.jpg").write_bytes(encoded(0, 0))
    folder.linked.cache_clear()
    yield folder.linked(24, 4)
    folder.linked.cache_clear()


def told(main, order, lines, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", json.dumps(order)])
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n" * lines))
    main()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_start_tells_seconds_and_megabytes(images, monkeypatch, capsys):
    order = {"loader": "torch", "folder": str(images), "rank": 1, "ranks": 2, "batch": 4}
    order |= {"threads": 1, "started": 0.0}
    seconds, megabytes = told(process.main, order, 1, monkeypatch, capsys)
    assert seconds.pop("python_s") > 1e9 and all(0 <= each < 60 for each in seconds.values())
    assert list(seconds) == ["import_s", "find_s", "open_s", "batch_s", "state_s"]
    assert megabytes["peak_mb"] > megabytes["main_mb"] > 10 and megabytes["workers_mb"] > 1


def test_what_many_names_take_beyond_few():
    common = {"python_s": 0.1, "import_s": 1.0, "find_s": 0.5, "open_s": 0.25, "batch_s": 0.125}
    common["state_s"] = 9.0
    few = {**common, "main_mb": 100.0, "workers_mb": 50.0, "peak_mb": 120.0}
    many = {**common, "find_s": 2.0, "main_mb": 130.0, "workers_mb": 60.0, "peak_mb": 200.0}
    first = dict.fromkeys(many, 1e6)  # the turn that warms up
    found = start.figures([first, many, many], [first, few, few])
    assert found["first_batch_s"] == 3.48 and found["find_s"] == 2 and found["state_s"] == 9
    assert found["beyond_mb"] == 40 and found["peak_beyond_mb"] == 80 and found["main_mb"] == 130


def test_a_rank_sees_each_image_once_an_epoch(images, monkeypatch, capsys, tmp_path):
    import torch.distributed as dist

    order = {"loader": "torch", "folder": str(images), "rank": 0, "ranks": 1, "batch": 6}
    order |= {"threads": 1, "size": 24, "meeting": f"file://{tmp_path}/store"}
    assert not dist.is_initialized()
    answers = told(rank.main, order, 2, monkeypatch, capsys)
    assert answers == [{"seen": [6, 6, 6, 6]}] * 2 and not dist.is_initialized()


def test_processes_that_see_other_images_are_no_comparison(monkeypatch):
    answers = {count: f"import sys\nfor _ in sys.stdin: print('{{\"seen\": {[count] * 16}}}')"
               for count in (22, 23)}  # fmt: skip
    shares = iter((22, 23, 22, 22, 0))
    popen = subprocess.Popen

    def fake(command, **how):
        return popen([sys.executable, "-uc", answers.get(next(shares), "1 / 0")], **how)

    monkeypatch.setattr(subprocess, "Popen", fake)
    case = {"loader": "torch", "batch": 4, "size": 24}
    distributed.Group(2, Path("none"), case).epoch()
    with pytest.raises(cases.Mismatch, match="2 processes: expected 45 images of each class, got"):
        distributed.Group(2, Path("none"), case).epoch()
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        distributed.Group(1, Path("none"), case).epoch()
    assert np.lcm.reduce(distributed.COUNTS) * distributed.CLASSES // 4 <= distributed.IMAGES
