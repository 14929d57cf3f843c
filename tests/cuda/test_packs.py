"""Packed code of the GPU's kernels: what a library takes from a file beside it, and what not."""

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dali_msda import build
from dali_msda.backends import cpu_library, nvrtc, packs
from dali_msda.commands import build as build_command
from dali_msda.commands import cli
from tests.cuda.machine_code import reader

SM_90, SM_120, PTX = b"\x7fELF of 9.0", b"\x7fELF of 12.0", b"//\n.version 9.0\n.target sm_120\0"
CODES = {
    ("blend", "sm_90"): SM_90,
    ("blend", "sm_120"): SM_120,
    ("blend", "compute_120"): PTX,
    ("mask", "sm_90"): b"\x7fELF of the mask",
}
COMPILER = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64
)


class Place:
    """A library in a folder of its own, the pack beside it, and what it takes from there."""

    def __init__(self, folder):
        self.library = Path(shutil.copy(build.library("cpu"), folder / "libmsda_cpu.so"))
        self.file, self.code = folder / packs.file_name(), reader(self.library, folder)
        self.lib = ctypes.CDLL(str(self.library))

    def offer(self, compile_code):
        """Sets what stands for NVRTC; None for nothing."""
        self.compiler = COMPILER(compile_code or 0)
        self.lib.msda_set_compiler(self.compiler)


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def place(shared_place):
    packs.write(shared_place.file, CODES)
    yield shared_place
    shared_place.offer(None)
    shared_place.file.unlink(missing_ok=True)


# Which code.


@pytest.mark.parametrize(
    "kinds, arch, best",
    [
        ("sm_80 sm_90 compute_90", "sm_90", "sm_90"),
        ("sm_80 sm_86 sm_90 compute_90", "sm_89", "sm_86"),  # the nearest below
        ("sm_89 sm_80 compute_80", "sm_86", "sm_80"),  # none above
        ("sm_90 sm_100 compute_120", "sm_103", "sm_100"),
        ("sm_120 compute_120", "sm_121", "sm_120"),
        ("sm_80 compute_86", "sm_89", "sm_80"),  # machine code before any PTX
        ("compute_90 sm_90 compute_90", "sm_90", "sm_90"),
        ("sm_90 compute_90 compute_75", "sm_100", "compute_90"),  # another major version
        ("sm_90 compute_120", "sm_100", ""),
        ("sm_75 sm_80 compute_75", "sm_70", ""),
        ("sm_70 sm_75 sm_80 compute_80", "sm_72", ""),  # Tegra: its own or PTX
        ("sm_80 sm_86 compute_80", "sm_87", "compute_80"),
        ("sm_80 sm_86", "sm_88", ""),
        ("sm_87 sm_88", "sm_89", ""),  # nor what was made for one
        ("sm_87", "sm_87", "sm_87"),
        ("sm_100 compute_90", "sm_101", "compute_90"),
        ("sm_100 sm_101", "sm_103", "sm_100"),
        ("sm_110 compute_110", "sm_110", "sm_110"),
        ("", "sm_90", ""),
    ],
)
def test_the_best_kind_of_code(kinds, arch, best):
    answer = ctypes.create_string_buffer(64)
    names = kinds.encode(), arch.encode()
    cpu_library.library().msda_best_kind(*names, answer, ctypes.c_int64(len(answer)))
    assert answer.value.decode() == best


@pytest.mark.parametrize(
    "arch, code", [("sm_90", SM_90), ("sm_91", SM_90), ("sm_120", SM_120), ("sm_121", SM_120),
                   ("sm_130", PTX)],
)  # fmt: skip
def test_a_library_takes_the_code_of_its_pack(place, arch, code):
    assert place.code("blend", arch) == code


def test_no_code_for_a_device(place):
    with pytest.raises(RuntimeError, match=rf"^{place.file}: no code of blend for sm_80; `python "):
        place.code("blend", "sm_80")
    with pytest.raises(RuntimeError, match=r"no code of mask for sm_130; .* --arch sm_130"):
        place.code("mask", "sm_130")
    place.file.unlink()
    with pytest.raises(
        RuntimeError, match=rf"^{place.file}: not found; `python -m dali_msda build"
    ):
        place.code("blend", "sm_90")


def test_what_the_pack_lacks_is_compiled(place, tmp_path):
    asked = []

    def compile_code(source, arch, answer, room):
        asked.append((source, arch))
        (tmp_path / "code").write_bytes(b"\x7fELF compiled")
        ctypes.memmove(answer, str(tmp_path / "code").encode(), len(str(tmp_path / "code")))
        return 1

    place.offer(compile_code)
    assert place.code("blend", "sm_90") == SM_90 and not asked
    assert place.code("blend", "sm_80") == b"\x7fELF compiled"
    place.file.unlink()
    assert place.code("blend", "sm_90") == b"\x7fELF compiled"
    assert asked == [(b"blend", b"sm_80"), (b"blend", b"sm_90")]


# What is no pack, or not a whole one.


def test_every_cut_is_noticed(place):
    whole = place.file.read_bytes()
    for size in range(len(whole)):
        place.file.write_bytes(whole[:size])
        with pytest.raises(RuntimeError, match=rf"^{place.file}: .*; remove it"):
            place.code("blend", "sm_90")
    place.file.write_bytes(whole + b"x")
    with pytest.raises(RuntimeError, match=r"damaged: expected \d+ bytes; remove it, and reinst"):
        place.code("blend", "sm_90")


def test_no_damaged_byte_becomes_code(place):
    """A changed byte is an error, or lies in what was not asked for."""
    whole, refused = place.file.read_bytes(), 0
    for at in range(len(whole)):
        place.file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        try:
            assert place.code("blend", "sm_90") == SM_90
        except RuntimeError as error:
            refused += str(error).startswith(f"{place.file}: ")
    title, code = len(packs.TITLE) + 18, len(SM_90)
    assert refused > title + code


def test_a_damaged_pack_is_not_passed_over(place):
    place.offer(lambda *_: pytest.fail("compiled"))
    place.file.write_bytes(place.file.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="damaged: its end is missing; remove it"):
        place.code("blend", "sm_90")


def test_files_of_others_are_refused(place, monkeypatch):
    place.file.write_text("#!/bin/sh\n")
    with pytest.raises(RuntimeError, match=f"^{place.file}: no pack of the GPU's kernels; remove"):
        place.code("blend", "sm_90")
    monkeypatch.setattr(build, "kernels_key", lambda: "0123456789abcdef")
    packs.write(place.file, CODES)
    with pytest.raises(
        RuntimeError, match=r"expected kernels of the sources \w{16}, got 0123456789a"
    ):
        place.code("blend", "sm_90")


@pytest.mark.parametrize(
    "name", ["cuda/blend.cu", "cuda/blend.cuh", "cuda/group.cuh", "msda/plan.h"]
)
def test_other_sources_have_another_pack_and_library(tmp_path, monkeypatch, name):
    pack, library = packs.file_name(), build.file_name("cpu")
    monkeypatch.setattr(build, "KERNELS", Path(shutil.copytree(build.KERNELS, tmp_path / "other")))
    assert (packs.file_name(), build.file_name("cpu")) == (pack, library)
    with open(tmp_path / "other" / name, "a") as file:
        file.write("// changed\n")
    assert packs.file_name() != pack and build.file_name("cpu") != library


# A driver older than the code.

OLD_DRIVER = 'extern "C" int cuDriverGetVersion(int* version) { *version = 12040; return 0; }\n'
ASK = """
import ctypes, sys
from pathlib import Path
driver = ctypes.CDLL(sys.argv[1])
from tests.cuda.machine_code import reader
code = reader(Path(sys.argv[2]), Path(sys.argv[3]))
for arch in ("sm_90", "sm_100", "sm_120"):
    try:
        print(code("blend", arch)[:4])
    except RuntimeError as error:
        print(error)
"""


def test_code_that_is_too_new_for_the_driver(place, tmp_path):
    """Machine code of a newer major version; PTX of any newer version."""
    (tmp_path / "old.cpp").write_text(OLD_DRIVER)
    driver = tmp_path / "libcuda.so.1"
    command = ["g++", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", tmp_path / "old.cpp"]
    subprocess.run([*command, "-o", driver], check=True)
    text = b"// Cuda compilation tools, release %d.%d, V\n.version 8.5\n\0"
    packs.write(
        place.file,
        {
            ("blend", "sm_90"): b"\x7fELF" + text % (13, 0),
            ("blend", "sm_100"): b"\x7fELF" + text % (12, 9),
            ("blend", "compute_120"): text % (12, 9),
        },
    )
    command = [sys.executable, "-c", ASK, driver, place.library, tmp_path]
    done = subprocess.run(map(str, command), capture_output=True, text=True)
    newer, same, ptx = done.stdout.splitlines()
    assert newer.startswith(
        f"{place.file}: the code was compiled by CUDA 13.0, and the driver serves CUDA 12.4; `pyth"
    )
    assert same == r"b'\x7fELF'"
    assert "the code was compiled by CUDA 12.9, and the driver serves CUDA 12.4" in ptx


def test_nvrtc_says_in_its_code_which_one_it_is():
    """In machine code and in PTX, where a library looks for it."""
    words = f"Cuda compilation tools, release {nvrtc.spoken_version()},".encode()
    assert words in nvrtc.kept("mask", "sm_90").read_bytes()
    assert words in nvrtc.compiled("mask", "compute_90")


# Writing and reading.


def test_what_the_doctor_asks(place, monkeypatch):
    monkeypatch.setattr(cpu_library, "library", lambda: place.lib)
    monkeypatch.setattr(nvrtc, "sources", lambda: {"blend": Path()})
    assert packs.kind_in_library("sm_121") == (packs.State.HAS_CODE, "sm_120")
    assert packs.kind_in_library("sm_130") == (packs.State.HAS_CODE, "compute_120")
    none = f"{place.file}: no code of blend for sm_80"
    assert packs.kind_in_library("sm_80") == (packs.State.WITHOUT, none)
    place.file.write_text("#!/bin/sh\n")
    with pytest.raises(RuntimeError, match="no pack of the GPU's kernels"):
        packs.kind_in_library("sm_90")
    place.file.unlink()
    assert packs.kind_in_library("sm_90") == (packs.State.MISSING, f"{place.file}: not found")


def test_what_was_written_is_read(place):
    assert packs.read(place.file) == CODES
    assert packs.read(place.file.with_name("missing")) == {}


@pytest.mark.parametrize("damage", ["cut", "longer", "title", "byte"])
def test_damage_is_not_read(place, damage):
    whole = place.file.read_bytes()
    place.file.write_bytes(
        {"cut": whole[:-1], "longer": whole + b"x", "title": whole[1:],
         "byte": whole[:-1] + b"x"}[damage]
    )  # fmt: skip
    with pytest.raises(RuntimeError, match=f"^{place.file}: damaged, or made from other sources;"):
        packs.read(place.file)


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Libraries and code that cost nothing, for the command that puts one beside the other."""
    folder = tmp_path / "lib"
    folder.mkdir()
    (tmp_path / "code").write_bytes(b"\x7fELF")
    monkeypatch.setattr(build, "build", lambda name, force: folder / f"libmsda_{name}.so")
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "of a wheel")
    monkeypatch.setattr(nvrtc, "kept", lambda source, kind: tmp_path / "code")
    build.PREBUILT.mkdir()
    return folder


def test_build_puts_the_kernels_beside_the_libraries(pretended, capsys):
    assert cli.main(["build", "--arch", "sm_90", "sm_80"]) == 0
    (file,) = pretended.iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == str(file)
    every = {(source, arch) for arch in ("sm_90", "sm_80") for source in nvrtc.sources()}
    assert packs.read(file).keys() == every and file.name == packs.file_name()
    assert {"blend", "field", "targets", "saliency"} <= set(nvrtc.sources())

    assert cli.main(["build", "--arch", "sm_75"]) == 0  # adds to what is there
    assert packs.read(file).keys() == every | {(source, "sm_75") for source in nvrtc.sources()}
    assert cli.main(["build"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(file)


def test_build_takes_along_what_the_wheel_brings(pretended, capsys):
    """A plugin for another DALI lies in the cache, without the wheel's pack."""
    assert cli.main(["build"]) == 0
    assert not list(pretended.iterdir())
    packs.write(build.PREBUILT / packs.file_name(), CODES)
    assert cli.main(["build", "--arch", "sm_75"]) == 0
    assert packs.read(pretended / packs.file_name()).items() > CODES.items()


def test_a_folder_that_cannot_be_written(pretended):
    with pytest.raises(RuntimeError, match="cannot be written .*; add --force, which puts the"):
        build_command.pack_beside(pretended / "missing", ["sm_90"])


def test_a_release_holds_code_for_every_card():
    """Of desktops and servers: for a Tegra there is PTX, or the compiler."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    kinds = re.search(r"^ARCHS = (.*)$", makefile, re.M)[1].split()
    newest = kinds[-2].replace("sm_", "compute_")
    wanted = {f"sm_{number}" for number in (75, 80, 86, 89, 90, 100, 120)}
    assert {*kinds} == wanted | {newest} and kinds[-1] == newest
    assert wanted <= {*nvrtc.archs()}


def test_a_wheel_is_made_with_the_nvrtc_that_the_package_names(pretended, monkeypatch, capsys):
    packs.main(str(pretended), "sm_90")
    assert re.search(r"\.pack: 0\.0 MiB, sm_90$", capsys.readouterr().out.strip())
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 1))
    with pytest.raises(
        RuntimeError, match=r"^NVRTC: expected version 13\.0\.88, got 13\.1; run `pip"
    ):
        packs.main(str(pretended), "sm_90")


# The size of a block, made smaller for measurements.

BLOCK = """
#include <cstdio>

#include "cuda/host/most_threads.h"

int main() {
  std::printf("%d %d %d", msda::gpu::most_threads(0), msda::gpu::most_threads(256),
              msda::gpu::most_threads(32));
}
"""


@pytest.mark.parametrize(
    "value, printed", [(None, "0 256 32"), ("64", "64 64 32"), ("0", "0 256 32"), ("x", "0 256 32")]
)
def test_blocks_can_be_made_smaller(tmp_path, value, printed):
    (tmp_path / "block.cpp").write_text(BLOCK)
    command = ["g++", f"-I{build.KERNELS}", tmp_path / "block.cpp", "-o", tmp_path / "block"]
    subprocess.run(command, check=True)
    environment = {} if value is None else {"DALI_MSDA_MOST_THREADS": value}
    done = subprocess.run([tmp_path / "block"], env=environment, capture_output=True, text=True)
    assert done.stdout == printed
