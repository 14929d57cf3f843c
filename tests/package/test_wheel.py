"""The wheel, made from the real sources."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from dali_msda import build
from tests.package.sources import write

ROOT = Path(__file__).parents[2]
QUICK = """#!/bin/sh
for output; do :; done
case " $* " in
  *" -shared "*) exec cp "{cache}/${{output##*/}}" "$output" ;;
  *) exec {compiler} "$@" -E ;;
esac
"""
SHIPPED = {".py", ".h", ".cpp", ".cu", ".cuh", ".cc", ".yaml"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the checkout.

    Compiling takes minutes. Here the compiler finds all that the copy includes, and what it would
    link is taken from the cache: a library's name is a key over all that goes into it.
    """
    copy, compiler = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("bin") / "quick"
    (cache,) = {build.library(name).parent for name in build.LIBRARIES}
    write(compiler, QUICK.format(compiler=os.environ.get("CXX", "g++"), cache=cache))
    compiler.chmod(0o755)
    for name in ("dali_msda", "kernels", "pipelines"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    built = f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    write(copy / built / "dali_msda/stale.py", "# of an older build\n")
    command = "pip wheel . --no-build-isolation --no-deps --no-index --wheel-dir dist".split()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        capture_output=True,
        text=True,
        env=os.environ | {"CXX": str(compiler)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (copy / "dist").iterdir()
    assert (copy / built / "dali_msda/build.py").is_file()  # the stale file was in its way
    return path


def test_wheel_contents(wheel):
    assert re.fullmatch(r"dali_msda-[\d.]+-py3-none-linux_x86_64\.whl", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {"dali_msda", f"{wheel.name.split('-py3')[0]}.dist-info"} == top
    libraries = {f"dali_msda/_lib/{build.file_name(name)}" for name in build.LIBRARIES}
    assert {name for name in names if "/_lib/" in name} == libraries
    assert "dali_msda/stale.py" not in names

    for folder in ("dali_msda", "kernels", "pipelines"):
        inside = "dali_msda" if folder == "dali_msda" else f"dali_msda/{folder}"
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in SHIPPED:
                assert f"{inside}/{path.relative_to(ROOT / folder)}" in names


def test_installed_wheel_works_without_the_checkout(wheel, tmp_path):
    command = "pip install --no-deps --no-index --target".split()
    subprocess.run([sys.executable, "-m", *command, tmp_path / "site", wheel], check=True)
    code = """
import dali_msda as msda, dali_msda.pipelines
from dali_msda import build
plan = msda.draw(msda.CutMix(), 8, 32, 32, seed=0, step=0)
print(len(plan), msda.__file__, dali_msda.pipelines.__path__[0])
print(*map(build.library, build.LIBRARIES))
"""
    environment = {
        "PATH": "",  # no compiler
        "PYTHONPATH": str(tmp_path / "site"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    length, *paths = done.stdout.split()
    assert length == "8"
    assert all(path.startswith(f"{tmp_path}{os.sep}site") for path in paths)
    assert not done.stderr
