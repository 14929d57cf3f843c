"""The operations of ``dali_msda.ffcv`` in FFCV's loader: tests/ffcv_cases.py, a process each."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dali_msda.pipelines import install_ffcv

CASES = Path(__file__).with_name("ffcv_cases.py")
LIMIT = 300  # seconds, many times what a case takes: FFCV hangs where others raise

needs_ffcv = pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed (make ffcv)"
)


def started(*arguments, **environment):
    command = [sys.executable, str(CASES), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def expect_success(*processes):
    try:
        for process in processes:
            said, _ = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("ffcv")
    expect_success(started("write", made))
    return made


@needs_ffcv
@pytest.mark.parametrize("order", ["RANDOM", "SEQUENTIAL", "QUASI_RANDOM"])
def test_images_and_labels_share_the_plan(folder, order):
    expect_success(started("orders", folder, order))


@needs_ffcv
@pytest.mark.parametrize(
    "case",
    "policies photographs formats flips resume ends doors masses".split(),
)
def test_case(folder, case):
    expect_success(started(case, folder))


@needs_ffcv
def test_without_tbb(folder):
    expect_success(started("orders", folder, "RANDOM", NUMBA_THREADING_LAYER="omp"))


@needs_ffcv
def test_two_processes(folder):
    (folder / "rendezvous").unlink(missing_ok=True)
    expect_success(*(started("distributed", folder, rank) for rank in (0, 1)))


@needs_ffcv
def test_import_leaves_torch_its_threads():
    code = "import torch; torch.set_num_threads(3); import dali_msda.ffcv; "
    code += "print(torch.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


HIDES = """
import sys
class Hides:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError("hidden", name=name)
sys.meta_path.insert(0, Hides())
import dali_msda
import dali_msda.ffcv
"""


@pytest.mark.parametrize("name", ["ffcv", "numba"])
def test_without_ffcv_the_import_says_what_to_do(name):
    done = subprocess.run(
        [sys.executable, "-c", HIDES.format(name=name)], capture_output=True, text=True
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ffcv: expected FFCV 1.0.2, got")
    assert "dali_msda.pipelines.install_ffcv" in last


@pytest.mark.parametrize(
    "has, expected",
    [((), "Fedora"), (("apt-get",), "sudo apt-get"), (("apt-get", "sudo"), "sudo apt-get")],
)
def test_installer_says_what_takes_root(monkeypatch, has, expected):
    monkeypatch.setattr(install_ffcv.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(install_ffcv.shutil, "which", lambda tool: tool if tool in has else None)
    asks = subprocess.CompletedProcess([], 1)  # sudo -n: it would ask for a password
    monkeypatch.setattr(install_ffcv.subprocess, "run", lambda *_, **__: asks)
    assert install_ffcv.missing() == ["g++", "pkg-config", "libturbojpeg", "OpenCV"]
    with pytest.raises(SystemExit, match=f"libturbojpeg, OpenCV is missing.*{expected}"):
        install_ffcv.install_system_packages(install_ffcv.missing())


def test_installer_leaves_what_works(monkeypatch, capsys):
    def run(*command, **_):
        raise AssertionError(command)

    monkeypatch.setattr(install_ffcv, "works", lambda: "")
    monkeypatch.setattr(install_ffcv.subprocess, "run", run)
    install_ffcv.main()
    assert "already" in capsys.readouterr().out
