"""The operations of ``dali_msda.ffcv`` in FFCV's loader: ffcv_cases.py, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from dali_msda.pipelines import install_ffcv
from tests.support.ffcv_processes import expect_success, needs_ffcv, run, started


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("ffcv")
    run("tests.with_ffcv.ffcv_cases", "write", made)
    return made


@needs_ffcv
@pytest.mark.parametrize("order", ["RANDOM", "SEQUENTIAL", "QUASI_RANDOM"])
def test_images_and_labels_share_the_plan(folder, order):
    run("tests.with_ffcv.ffcv_cases", "orders", folder, order)


@needs_ffcv
@pytest.mark.parametrize(
    "case",
    "policies photographs damaged compiling formats flips resume midway ends doors masses filters "
    "asserts".split(),
)
def test_case(folder, case):
    run("tests.with_ffcv.ffcv_cases", case, folder)


@needs_ffcv
def test_without_tbb(folder):
    expect_success(
        started(
            "tests.with_ffcv.ffcv_cases", "orders", folder, "RANDOM", NUMBA_THREADING_LAYER="omp"
        )
    )


@needs_ffcv
def test_two_processes(folder):
    (folder / "rendezvous").unlink(missing_ok=True)
    expect_success(
        *(started("tests.with_ffcv.ffcv_cases", "distributed", folder, rank) for rank in (0, 1))
    )


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


def test_installer_says_what_it_does_before_it_does_it(monkeypatch, capsys):
    monkeypatch.setattr(install_ffcv, "works", lambda: pytest.fail("it acts"))
    for arguments, code in ((["--help"], 0), (["--elp"], 2)):
        with pytest.raises(SystemExit) as end:
            install_ffcv.main(arguments)
        assert end.value.code == code
    assert "Install ffcv==" in capsys.readouterr().out


def test_installer_leaves_what_works(monkeypatch, capsys):
    def run(*command, **_):
        raise AssertionError(command)

    monkeypatch.setattr(install_ffcv, "works", lambda: "")
    monkeypatch.setattr(install_ffcv.subprocess, "run", run)
    install_ffcv.main([])
    assert "already" in capsys.readouterr().out


@pytest.mark.parametrize("ends", ["fails", "hangs"])
def test_installer_gives_up_on_a_mirror(monkeypatch, capsys, ends):
    asked = []

    def run(command, timeout=None, **_):
        asked.append(command)
        if ends == "hangs":
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 100)

    monkeypatch.setattr(install_ffcv.os, "geteuid", lambda: 0)
    monkeypatch.setattr(install_ffcv.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(install_ffcv.subprocess, "run", run)
    how = "exit code 100" if ends == "fails" else "more than 300 s"
    with pytest.raises(SystemExit, match=f"OpenCV is missing; apt-get could not .*{how}.*apt-get"):
        install_ffcv.install_system_packages(["OpenCV"])
    verbs = [{"update", "install"} & set(command) for command in asked]
    assert verbs == [{"update"}, {"install"}]
    with pytest.raises(SystemExit, match="pip failed"):
        install_ffcv.pip_install("ffcv")


@pytest.mark.parametrize("installs", [0, 1])
def test_make_test_goes_on_without_ffcv(tmp_path, installs):
    root = Path(__file__).parents[2]
    python, calls = tmp_path / "bin" / "python", tmp_path / "calls"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\necho "$2" >>{calls}\ncase "$2" in *install_ffcv) exit {installs};; esac\n'
    )
    python.chmod(0o755)
    (tmp_path / ".dali_msda").write_text(f"{root}\n")
    command = ["make", "-C", str(root), f"VENV={tmp_path}", "test"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert calls.read_text().split() == ["dali_msda.pipelines.install_ffcv", "pytest"]
    assert ("The tests of FFCV are skipped." in done.stdout) == bool(installs)


@needs_ffcv
@pytest.mark.parametrize("case", ["standin", "waits"])
def test_behind_to_device(folder, case):
    run("tests.with_ffcv.ffcv_gpu_cases", case, folder)


@needs_ffcv
@pytest.mark.gpu
def test_on_a_gpu(folder):
    expect_success(started("tests.with_ffcv.ffcv_gpu_cases", "gpu", folder))
