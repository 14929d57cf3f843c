"""The compiler's door, with sources of a few lines, and the wheel, with the real ones."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import uuid
import zipfile
from pathlib import Path

import pytest

from dali_msda import build
from dali_msda.commands import cli

ROOT = Path(__file__).parents[2]
CPU = '#include "cpu/api.h"\nextern "C" int answer() { return kAnswer; }\n'
ROWS = "int MSDA_ISA() { return 0; }\n"
SHIPPED = {".py", ".h", ".cpp", ".cu", ".cuh", ".cc", ".yaml"}
PLUGIN = (
    '#include "cpu/api.h"\nint dali_answer();\nextern "C" int both() { return dali_answer(); }\n'
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A checkout with tiny sources and a cache of its own."""
    write(tmp_path / "kernels/cpu/api.h", "constexpr int kAnswer = 42;\n")
    write(tmp_path / "kernels/cpu/api.cpp", CPU)
    write(tmp_path / "kernels/cpu/simd/blend_rows.cpp", ROWS)
    write(tmp_path / "dali_msda/dali/native/plan_op.cc", PLUGIN)
    monkeypatch.setattr(build, "KERNELS", tmp_path / "kernels")
    monkeypatch.setattr(build, "NATIVE", tmp_path / "dali_msda/dali/native")
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "dali_msda/_lib")
    monkeypatch.setattr(build, "IN_CHECKOUT", True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def dali(tree, monkeypatch):
    """Installs a pretended DALI of a given version: metadata, headers, two libraries."""
    monkeypatch.syspath_prepend(tree / "site")

    def install(version):
        shutil.rmtree(tree / "site", ignore_errors=True)
        info = tree / f"site/nvidia_dali_cuda130-{version}.dist-info/METADATA"
        write(info, f"Metadata-Version: 2.1\nName: nvidia-dali-cuda130\nVersion: {version}\n")
        write(tree / "site/nvidia/dali/include/dali.h", "")
        for header in build.CUDA_HEADERS:
            write(tree / "site/nvidia/cu13/include" / header, "")
        source = write(tree / "dali.cc", f"int dali_answer() {{ return {version[0]}; }}\n")
        for name in ("dali", "dali_core"):
            target = tree / f"site/nvidia/dali/lib{name}.so"
            subprocess.run(["g++", "-shared", "-fPIC", source, "-o", target], check=True)

    return install


def answer(path):
    return ctypes.CDLL(str(path)).answer()


def test_compiled_once_per_content(tree, capsys):
    first = build.library("cpu")
    assert answer(first) == 42
    assert first.is_relative_to(tree / "cache/dali_msda")
    assert capsys.readouterr().err == f"dali_msda: compiling {first}\n"
    assert build.library("cpu") == first
    assert capsys.readouterr().err == ""

    write(tree / "kernels/cpu/api.h", "constexpr int kAnswer = 43;\n")  # a header counts too
    second = build.library("cpu")
    assert (answer(second), answer(first)) == (43, 42)


def test_forced_build_replaces_the_file(tree, capsys):
    before = build.library("cpu").stat().st_ino
    assert build.build("cpu", force=True).stat().st_ino != before
    assert capsys.readouterr().err.count("compiling") == 2


@pytest.mark.parametrize("damage", ["empty", "half", "one bit", "no digest", "gone"])
def test_damaged_entry_is_rebuilt(tree, damage):
    path = build.library("cpu")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "no digest":
        path.with_name(f"{path.name}.sha256").unlink()
    else:
        bad = {"empty": b"", "half": content[: len(content) // 2]}
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        path.unlink()  # not in place: the file may be mapped
        path.write_bytes(bad.get(damage, flipped))
    assert build.library("cpu") == path
    assert answer(path) == 42


def test_processes_at_once_make_one_good_file(tree):
    code = (
        "import sys, pathlib; from dali_msda import build; "
        "build.KERNELS = pathlib.Path(sys.argv[1]); print(build.library('cpu'))"
    )
    command = [sys.executable, "-c", code, str(tree / "kernels")]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    outputs = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert len({out for out, _ in outputs}) == 1
    assert sum("compiling" in err for _, err in outputs) == 1
    path = Path(outputs[0][0].strip())
    assert answer(path) == 42
    assert not list(path.parent.glob(".*"))  # nothing half-written is left


def test_failed_compilation_shows_the_error_and_leaves_nothing(tree):
    write(tree / "kernels/cpu/api.cpp", "int answer() { return forty_two; }\n")
    with pytest.raises(RuntimeError, match=r"error: 'forty_two' was not declared"):
        build.library("cpu")
    assert {path.suffix for path in (tree / "cache").rglob("*") if path.is_file()} <= {".lock"}


def test_edit_during_compilation_is_not_cached(tree, monkeypatch):
    run = build._run

    def run_slowly(command):
        run(command)
        new = write(tree / f"{uuid.uuid4()}.h", "constexpr int kAnswer = 43;\n")
        new.replace(
            tree / "kernels/cpu/api.h"
        )  # whole, for those that are being compiled beside it

    monkeypatch.setattr(build, "_run", run_slowly)
    with pytest.raises(RuntimeError, match="the sources changed while they were compiled"):
        build.library("cpu")
    assert answer(build.library("cpu")) == 43


def test_missing_compiler(tree, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tree))
    with pytest.raises(RuntimeError, match=r"^g\+\+: not found; .*apt-get install g\+\+"):
        build.library("cpu")


def test_unwritable_cache_has_a_private_substitute(tree, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(write(tree / "file", "no folder")))
    path = build.library("cpu")
    assert path.parent.parent == tree / "tmp"
    assert path.parent.stat().st_mode & 0o077 == 0
    assert f"cannot write to the cache ([Errno 20] Not a directory: '{tree}/file" in (
        capsys.readouterr().err
    )
    assert build.library("cpu") == path
    assert capsys.readouterr().err == ""  # found there without a word

    path.parent.chmod(0o777)  # others could have put their code there
    with pytest.raises(RuntimeError, match="is not private; set XDG_CACHE_HOME"):
        build.library("cpu")


def test_relative_cache_and_missing_home(tree, monkeypatch):
    monkeypatch.chdir(tree)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
    monkeypatch.setenv("HOME", str(tree / "home"))
    assert build.library("cpu").is_relative_to(tree / "home/.cache")
    monkeypatch.setenv("HOME", "")  # as for a user id without an account
    assert build.library("cpu").is_absolute()


def test_wrong_name(tree):
    with pytest.raises(ValueError, match="name: expected one of cpu, dali, got 'gpu'"):
        build.library("gpu")


def test_prebuilt_library_is_used(tree, monkeypatch):
    monkeypatch.setattr(build, "IN_CHECKOUT", False)
    built = build.compile_into(build.PREBUILT, "cpu")
    monkeypatch.setenv("PATH", "")  # no compiler needed
    assert build.library("cpu") == built


def test_plugin_for_another_dali(tree, dali, monkeypatch, capsys):
    monkeypatch.setattr(build, "IN_CHECKOUT", False)
    dali("2.4.0")
    built = build.compile_into(build.PREBUILT, "dali")
    assert built.name.startswith("libmsda_dali-2.4.0-")
    assert build.library("dali") == built

    dali("3.1.0")
    with pytest.raises(
        RuntimeError, match=r"built for DALI 2\.4\.0, but DALI 3\.1\.0 is installed"
    ) as e:
        build.library("dali")
    assert "`python -m dali_msda build`" in str(e.value)

    assert cli.main(["build"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path.is_relative_to(tree / "cache")
    assert build.library("dali") == path
    ctypes.CDLL(str(tree / "site/nvidia/dali/libdali.so"), ctypes.RTLD_GLOBAL)
    assert "3.1.0" in path.name


def test_plugin_of_other_sources(tree, dali, monkeypatch):
    monkeypatch.setattr(build, "IN_CHECKOUT", False)
    dali("2.4.0")
    with pytest.raises(RuntimeError, match=r"came without a plugin for DALI 2\.4\.0; run `python"):
        build.library("dali")
    build.compile_into(build.PREBUILT, "dali")
    write(tree / "dali_msda/dali/native/plan_op.cc", PLUGIN + "// changed\n")
    with pytest.raises(RuntimeError, match="is not made from this package's sources; run `python"):
        build.library("dali")


def test_missing_dali_and_headers(tree, dali, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(sys, "path", [str(tree)])
        with pytest.raises(
            RuntimeError, match="not installed; run `pip install nvidia-dali-cuda130"
        ):
            build.library("dali")
    dali("2.4.0")
    monkeypatch.setattr(sys, "path", [str(tree / "site")])
    monkeypatch.setenv("CUDA_HOME", str(tree))
    shutil.rmtree(tree / "site/nvidia/cu13/include/crt")
    with pytest.raises(RuntimeError, match=r"crt/host_config.h: .* nvidia-cuda-crt==13\.0\.88"):
        build.library("dali")
    shutil.rmtree(tree / "site/nvidia/dali/include")
    with pytest.raises(RuntimeError, match=r"include: DALI's headers are missing"):
        build.library("dali")


def test_command_line_fails_in_one_message(tree, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tree))
    monkeypatch.delenv("CXX", raising=False)
    assert cli.main(["build"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("dali_msda build: g++: not found")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["no-such-command"])


def test_instruction_sets_are_linked_in_their_order():
    """The linker keeps the first copy of an inline function: it must be one that all can run."""
    levels = [re.search(r"-march=x86-64(\S*)", unit.flags)[1] for unit in build.units("dali")]
    assert levels == sorted(levels)
    assert set(levels) == {"", "-v3", "-v4"}
    assert not any("native" in unit.flags for unit in build.units("dali"))


@pytest.mark.skipif(not shutil.which("objdump"), reason="no objdump")
def test_prefetches_are_in_the_code():
    """A compiler may leave them out: they change nothing that it knows of."""
    code = subprocess.run(
        ["objdump", "-dC", "--no-show-raw-insn", build.library("cpu")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for walk in ("rgb_to_planes", "rgb_to_pixels", "copy_bytes", "Walk::block<"):
        functions = re.findall(rf"<[^\n]*{walk}.*?\n\n", code, re.DOTALL)
        assert any("prefetcht1" in text for text in functions), walk


def test_one_set_of_cuda_headers():
    text = (ROOT / "pyproject.toml").read_text()
    for package in build.CUDA_HEADERS.values():
        assert text.count(f'"{package}"') == 2  # to build the wheel, and as the extra


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the checkout.

    Its libraries are not optimised, which takes minutes: that is done for all other tests.
    """
    copy, compiler = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("bin") / "quick"
    write(compiler, f'#!/bin/sh\nexec {os.environ.get("CXX", "g++")} "$@" -O0\n')
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
