"""The compiler's door, with sources of a few lines."""

import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from dali_msda import build
from dali_msda.commands import cli
from tests.package.sources import PLUGIN, answer, write

ROOT = Path(__file__).parents[2]


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
            subprocess.run(
                ["g++", "-shared", "-fPIC", f"-Wl,-soname,lib{name}.so", source, "-o", target],
                check=True,
            )

    return install


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


def test_unknown_machine(tree, monkeypatch):
    monkeypatch.setattr(build, "MACHINE", "riscv64")
    with pytest.raises(RuntimeError, match="machine: expected x86_64 or aarch64, got riscv64"):
        build.library("cpu")


def test_wrong_name(tree):
    with pytest.raises(ValueError, match="name: expected one of cpu, dali, got 'gpu'"):
        build.library("gpu")


def test_prebuilt_library_is_used(tree, monkeypatch):
    monkeypatch.setattr(build, "IN_CHECKOUT", False)
    built = build.compile_into(build.PREBUILT, "cpu")
    monkeypatch.setenv("PATH", "")  # no compiler needed
    assert build.library("cpu") == built


def test_plugin_for_another_dali(tree, dali, monkeypatch, capsys):
    """A package brings some; another one is compiled when it is first used."""
    monkeypatch.setattr(build, "IN_CHECKOUT", False)
    for version in ("2.3.0", "2.4.0"):
        dali(version)
        built = build.compile_into(build.PREBUILT, "dali")
        assert built.name.startswith(f"libmsda_dali-{version}-")
        assert build.library("dali") == built

    dali("3.1.0")
    with monkeypatch.context() as no_compiler:
        no_compiler.setenv("PATH", str(tree))
        no_compiler.delenv("CXX", raising=False)
        with pytest.raises(
            RuntimeError,
            match=r"^this package came with plugins for DALI 2\.3\.0, 2\.4\.0, so one for "
            r"3\.1\.0 is compiled: g\+\+: not found; .*apt-get",
        ):
            build.library("dali")
    capsys.readouterr()

    path = build.library("dali")
    assert path.is_relative_to(tree / "cache") and "3.1.0" in path.name
    assert capsys.readouterr().err.endswith(f"dali_msda: compiling {path}\n")
    assert cli.main(["build"]) == 0
    assert Path(capsys.readouterr().out.splitlines()[-1]) == path


def test_the_plugin_calls_the_one_library_of_the_kernels(tree, dali):
    """That which is loaded already, wherever it lies; else that beside itself."""
    dali("2.4.0")
    plugin, kernels = build.library("dali"), build.library("cpu")
    code = """
import ctypes, sys
for path in sys.argv[1:]:
    ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
print(*sorted(set(line.split()[-1] for line in open("/proc/self/maps") if "libmsda_cpu" in line)))
"""
    dalis = [str(tree / f"site/nvidia/dali/lib{name}.so") for name in ("dali", "dali_core")]
    elsewhere = tree / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(plugin, elsewhere), shutil.copy(kernels, elsewhere)

    def loaded(*paths):
        command = [sys.executable, "-c", code, *dalis, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert loaded(kernels, elsewhere / plugin.name) == [str(kernels)]
    assert loaded(elsewhere / plugin.name) == [str(elsewhere / kernels.name)]


def test_plugin_of_other_sources(tree, dali, monkeypatch):
    monkeypatch.setattr(build, "IN_CHECKOUT", False)
    dali("2.4.0")
    monkeypatch.setenv("CXX", "no-compiler")
    with pytest.raises(
        RuntimeError, match=r"plugins for no DALI, so one for 2\.4\.0 is compiled: no-"
    ):
        build.library("dali")
    monkeypatch.setenv("CXX", "g++")
    build.compile_into(build.PREBUILT, "dali")
    write(tree / "dali_msda/dali/native/plan_op.cc", PLUGIN + "// changed\n")
    monkeypatch.setenv("CXX", "no-compiler")
    with pytest.raises(
        RuntimeError, match="holds no dali library of this package's sources, so it"
    ):
        build.library("dali")


def test_missing_dali_and_headers(tree, dali, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(sys, "path", [str(tree)])
        with pytest.raises(
            ImportError, match=r"not installed; run `pip install 'dali_msda\[dali\]'`"
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


def test_the_plugin_takes_no_kernels_to_be_compiled(tree, dali, monkeypatch):
    dali("2.4.0")
    run, compiled = build._run, []

    def recorded(command):
        compiled.extend(Path(part).name for part in command if part.endswith((".cpp", ".cc")))
        run(command)

    monkeypatch.setattr(build, "_run", recorded)
    build.library("cpu")
    assert sorted(compiled) == ["api.cpp", *["blend_rows.cpp"] * len(build.ISAS)]
    compiled.clear()
    build.library("dali")
    assert compiled == ["plan_op.cc"]
    write(tree / "kernels/cpu/api.h", "constexpr int kAnswer = 43;\n")
    compiled.clear()
    build.library("dali")
    assert "api.cpp" in compiled and "blend_rows.cpp" in compiled


def test_instruction_sets_are_linked_in_their_order():
    """The linker keeps the first copy of an inline function: it must be one that all can run."""
    units = [*build.units("dali"), *build.units("cpu")]
    levels = [re.search(r"-march=x86-64(\S*)", unit.flags)[1] for unit in units]
    assert levels == sorted(levels)
    assert set(levels) == {"", "-v3", "-v4"}
    assert not any("native" in unit.flags for unit in units)


OLDEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}


@pytest.mark.skipif(not shutil.which("objdump"), reason="no objdump")
@pytest.mark.parametrize("name", build.LIBRARIES)
def test_old_systems_have_all_that_is_called(name):
    """As of glibc 2.28 and GCC 8, whatever the library was compiled with: manylinux_2_28."""
    command = ["objdump", "-T", build.library(name)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    called = set(re.findall(r"\((GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)\)", text))
    assert {system for system, _ in called} >= {"GLIBC", "GLIBCXX"}
    for system, version in called:
        assert tuple(map(int, version.split("."))) <= OLDEST[system], (system, version)


@pytest.mark.skipif(not shutil.which("objdump"), reason="no objdump")
def test_prefetches_are_in_the_code():
    """A compiler may leave them out: they change nothing that it knows of."""
    code = subprocess.run(
        ["objdump", "-dC", "--no-show-raw-insn", build.library("cpu")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for walk in ("rgb_to_planes", "rgb_to_pixels", "copy_bytes", "BlendThread::block<"):
        functions = re.findall(rf"<[^\n]*{walk}.*?\n\n", code, re.DOTALL)
        assert any("prefetcht1" in text for text in functions), walk


def test_the_extras_are_what_messages_name():
    text = (ROOT / "pyproject.toml").read_text()
    for package in build.CUDA_HEADERS.values():
        assert text.count(f'"{package}"') == 1
    for package, extra in build.DALI.items():
        assert f'\n{extra} = ["{package}>=' in text
