"""DALI's operators for a GPU, run without one: cases.py, a process each."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dali_msda import build, cache
from tests.cuda.emulation import stub_driver
from tests.support import ROOT

PLUGIN = [*build.PLUGIN.split(), "-O1", "-shared"]


def made(name, *links):
    """A C++ source here over DALI's headers, compiled once and kept."""
    source = Path(__file__).with_name(f"{name}.cpp")
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    file = f"msda_{name}-{build.dali_version()}-{key}.so"

    def make(folder):
        scratch = folder / f".{file}"
        command = ["g++", *PLUGIN, *build.include_flags("dali"), source, *links, "-o", scratch]
        subprocess.run(command, check=True)
        return scratch.replace(folder / file)

    return cache.cached(file, make)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """The stub, the functions that run operators, and an environment with both in their places."""
    folder, stub = tmp_path_factory.mktemp("driver"), stub_driver()
    (folder / "libcuda.so.1").symlink_to(stub)
    home = build._dali_folder()
    workspace = made("dali_workspace", f"-L{home}", "-ldali", "-ldali_core")
    path = f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    return stub, workspace, folder, os.environ | {"LD_LIBRARY_PATH": path}


@pytest.mark.parametrize("case", "blend volumes targets saliency errors code".split())
def test_operators_of_a_gpu_without_one(libraries, case):
    *paths, environment = libraries
    done = subprocess.run(
        [sys.executable, "-m", "tests.with_dali.workspace.cases", case, *map(str, paths)],
        cwd=ROOT,
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
