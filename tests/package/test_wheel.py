"""The wheel, made from the real sources."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy
import pytest

from dali_msda import build
from dali_msda.backends import nvrtc, packs
from tests.cuda.machine_code import reader
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
def checkout(tmp_path_factory):
    """A copy of the checkout, and an environment in which its wheel is built at once.

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
    return copy, os.environ | {"CXX": str(compiler)}


def built(checkout, folder, **environment):
    copy, quick = checkout
    command = f"pip wheel . --no-build-isolation --no-deps --no-index --wheel-dir {folder}".split()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        capture_output=True,
        text=True,
        env=quick | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (copy / folder).iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(checkout):
    lib = checkout[0] / f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    write(lib / "dali_msda/stale.py", "# of an older build\n")
    path = built(checkout, "dist")
    assert (lib / "dali_msda/build.py").is_file()  # the stale file was in its way
    return path


def test_the_tag_names_the_machine_that_is_compiled_for():
    code = (
        "import runpy, setuptools\n"
        "setuptools.setup = lambda **how: print(*how['cmdclass']['bdist_wheel'].get_tag(None))\n"
        "runpy.run_path('setup.py')"
    )
    for machine in ("x86_64", "aarch64"):
        told = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"DALI_MSDA_MACHINE": machine},
            capture_output=True,
            text=True,
        )
        assert told.stdout.split() == ["py3", "none", f"linux_{machine}"], told.stderr


def test_wheel_contents(wheel):
    machine = sysconfig.get_platform().replace("-", "_")
    assert re.fullmatch(rf"dali_msda-[\d.]+-py3-none-{machine}\.whl", wheel.name)
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


def test_only_numpy_is_needed(wheel):
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(content.read(name).decode())
    needs = metadata.get_all("Requires-Dist")
    assert [need for need in needs if "extra ==" not in need] == ["numpy"]
    for package, extra in build.DALI.items():
        assert f'{package}<2.5,>=1.53; extra == "{extra}"' in needs
    assert {"torch", "gpu", "headers"} <= set(metadata.get_all("Provides-Extra"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed") / "site"
    command = "pip install --no-deps --no-index --target".split()
    subprocess.run([sys.executable, "-m", *command, folder, wheel], check=True)
    return folder


def test_without_dali_everything_else_works(site, tmp_path):
    """With NumPy alone beside the package."""
    home = Path(numpy.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (home / name).exists():
            (tmp_path / name).symlink_to(home / name)
    code = f"""
import sys
sys.path += {[str(site), str(tmp_path)]}
import numpy as np
import dali_msda as msda
images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)
print(msda.mix(images, labels, msda.CutMix(), num_classes=4, seed=0, step=0)[1].sum())
try:
    import dali_msda.dali
except ImportError as error:
    print(error)
"""
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, env={"PATH": ""}, capture_output=True, text=True)
    assert done.stdout == (
        "4.0\nnvidia.dali: not installed; run `pip install 'dali_msda[dali]'`, or with CUDA 12 "
        "`pip install 'dali_msda[dali-cuda12]'`\n"
    ), done.stderr


def test_installed_wheel_works_without_the_checkout(site, tmp_path):
    code = """
import dali_msda as msda, dali_msda.pipelines
from dali_msda import build
plan = msda.draw(msda.CutMix(), 8, 32, 32, seed=0, step=0)
print(len(plan), msda.__file__, dali_msda.pipelines.__path__[0])
print(*map(build.library, build.LIBRARIES))
"""
    environment = {
        "PATH": "",  # no compiler
        "PYTHONPATH": str(site),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    length, *paths = done.stdout.split()
    assert length == "8"
    assert all(path.startswith(f"{site}{os.sep}") for path in paths)
    assert not done.stderr


def test_a_wheel_with_the_gpus_kernels_needs_no_compiler(checkout, tmp_path):
    """Its library, without Python's help, has code for a card, its successors and later ones.

    All of the PTX would take long; that of a small kernel is added to the machine code.
    """
    path = built(checkout, "released", DALI_MSDA_ARCHS="sm_90")
    zipfile.ZipFile(path).extractall(tmp_path)
    lib = tmp_path / "dali_msda/_lib"
    assert {file.name for file in lib.iterdir()} == {
        packs.file_name(), *(build.file_name(name) for name in build.LIBRARIES)
    }  # fmt: skip
    code = reader(lib / build.file_name("cpu"), tmp_path)
    for source in nvrtc.sources():
        machine_code = nvrtc.kept(source, "sm_90").read_bytes()
        assert code(source, "sm_90") == code(source, "sm_92") == machine_code
    with pytest.raises(
        RuntimeError, match=rf"^{lib}/.*\.pack: no code of blend for sm_80; `python "
    ):
        code("blend", "sm_80")
    ptx = {("mask", "compute_90"): nvrtc.kept("mask", "compute_90").read_bytes()}
    packs.write(lib / packs.file_name(), packs.read(lib / packs.file_name()) | ptx)
    assert b"\n.target sm_90" in code("mask", "sm_130")
    assert code("mask", "sm_91") == nvrtc.kept("mask", "sm_90").read_bytes()
