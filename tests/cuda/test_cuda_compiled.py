"""What NVRTC makes of the GPU's entry points: machine code for every card, read without one."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from dali_msda import build
from dali_msda.backends import cpu_library, nvrtc
from tests.cuda.ptx.library import cubin_of, source_of

ARCHS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
# At most so many registers a thread and bytes of shared memory a block on any of them. 64 registers
# let 1024 threads share a multiprocessor, 128 let 512; what a compiler adds to its own is below 1
# KiB of shared memory.
BOUNDS = {
    "msda_blend_uint8_uint8": (64, 0),
    "msda_blend_uint8_float32": (64, 0),
    "msda_blend_uint8_float16": (64, 0),
    "msda_blend_uint8_bfloat16": (64, 0),
    "msda_blend_float32_float32": (64, 0),
    "msda_blend_float32_float16": (64, 0),
    "msda_blend_float32_bfloat16": (64, 0),
    "msda_values_uint8_uint8": (64, 0),
    "msda_values_uint8_float32": (64, 0),
    "msda_values_uint8_float16": (64, 0),
    "msda_values_uint8_bfloat16": (64, 0),
    "msda_values_float32_float32": (64, 0),
    "msda_values_float32_float16": (64, 0),
    "msda_values_float32_bfloat16": (64, 0),
    "msda_pairs_uint8": (64, 0),
    "msda_pairs_float32": (64, 0),
    "msda_mask_float32": (48, 0),
    "msda_field_masks": (64, 11 * 1024),
    "msda_saliency_uint8": (64, 8 * 1024 + 64),
    "msda_saliency_float32": (64, 8 * 1024 + 64),
    "msda_targets_dense_int64": (64, 0),
    "msda_targets_dense_int32": (64, 0),
    "msda_targets_dense_float32": (64, 0),
    "msda_targets_compact_int64": (32, 0),
    "msda_targets_compact_int32": (32, 0),
    "msda_puzzle_pool_uint8": (64, 2192),
    "msda_puzzle_pool_float32": (64, 2192),
    "msda_puzzle_masks": (64, 21 * 1024),
    "msda_puzzle_weights": (32, 0),
    "msda_puzzle_blend_uint8_uint8": (64, 4096),
    "msda_puzzle_blend_uint8_float32": (64, 4096),
    "msda_puzzle_blend_uint8_float16": (64, 4096),
    "msda_puzzle_blend_uint8_bfloat16": (64, 4096),
    "msda_puzzle_blend_float32_float32": (64, 4096),
    "msda_puzzle_blend_float32_float16": (64, 4096),
    "msda_puzzle_blend_float32_bfloat16": (64, 4096),
}
# These take up to 80 registers before sm_90, which would spill with 64.
WIDE = {f"msda_blend_uint8_{out}" for out in ("uint8", "float16", "bfloat16")}
USAGE = r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)"
PLAIN = ("blend", "mask", "pairs", "values")  # sources without either
# Sources of which each card takes up to 25 s to compile. Some cards stand for the others: sm_90 has
# the front end of those before it, and sm_120 that of sm_100.
LATER = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_100")
SLOW = ("blend", "field")
EVERY = pytest.mark.parametrize(
    "name, arch",
    [
        pytest.param(
            name,
            arch,
            marks=pytest.mark.every_card if name in SLOW and arch in LATER else (),
        )
        for name in nvrtc.sources()
        for arch in ARCHS
    ],
)


def entries(name):
    """Entry points of a source."""
    return {entry for entry in BOUNDS if source_of(entry) == name}


def cuobjdump(*arguments):
    folders = [str(root / "bin") for root in build.cuda_roots()]
    path = os.pathsep.join([*folders, os.environ["PATH"]])  # it calls nvdisasm
    tool = shutil.which("cuobjdump", path=path)
    assert tool, "cuobjdump: not found; pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def instructions(file):
    """How often each function of a file has each machine instruction."""
    found, name = {}, None
    for line in cuobjdump("-sass", file).splitlines():
        if start := re.search(r"Function : (\w+)", line):
            name = start[1]
            found[name] = Counter()
        elif step := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", line):
            found[name][step[1]] += 1
    return found


def number_of(code, start, width=""):
    return sum(n for step, n in code.items() if step.startswith(start) and width in step)


@EVERY
def test_registers_and_memory_stay_within_bounds(name, arch):
    usage = re.findall(USAGE, cuobjdump("-res-usage", cubin_of(name, arch)))
    assert {entry for entry, *_ in usage} == entries(name) != set()
    for entry, *numbers in usage:
        registers, stack, shared, local = map(int, numbers)
        print(f"{arch:8} {entry:30} {registers:4} registers {shared:6} bytes of shared memory")
        assert stack == local == 0, f"{entry} spills"
        most = BOUNDS[entry]
        allowed = 80 if entry in WIDE and int(arch[3:]) < 90 else most[0]
        assert registers <= allowed and shared <= most[1] + bool(most[1]) * 1024


@EVERY
def test_machine_code(name, arch):
    """No local memory, no subnormal flushed; the blend moves 16 or 8 bytes at a time."""
    found = instructions(cubin_of(name, arch))
    assert set(found) == entries(name)
    for entry, code in found.items():
        assert sum(code.values()) > 20
        assert not number_of(code, "LDL") and not number_of(code, "STL"), f"{entry} spills"
        if name in PLAIN:  # division and square root have steps of their own that do
            assert not any(number_of(code, step, ".FTZ") for step in ("FADD", "FMUL", "FFMA"))
        if name == "blend":  # 16 bytes a plane, or 8 where registers are short; loads to match
            bytes_in, bytes_out = (
                {"uint8": 1, "float32": 4}.get(t, 2) for t in entry.split("_")[2:]
            )
            wide = ".128" if bytes_out == 4 or (bytes_in == 1 and bytes_out == 2) else ".64"
            assert number_of(code, "STG", wide) >= 4
            load = ".128" if bytes_in == 4 else ".64" if bytes_out < 4 else ""
            assert number_of(code, "LDG", load) >= 4


def test_a_multiply_and_an_add_are_not_contracted(tmp_path, monkeypatch):
    """Every rounding stands in the source; the CPU backend is compiled so, too."""
    write = tmp_path / "cuda/sum.cu"
    write.parent.mkdir()
    write.write_text(
        'extern "C" __global__ void both(float* a) { a[0] = a[1] * a[2] + a[3]; }\n'
        'extern "C" __global__ void fused(float* a) { a[0] = fmaf(a[1], a[2], a[3]); }\n'
    )
    monkeypatch.setattr(build, "KERNELS", tmp_path)
    (tmp_path / "sum.cubin").write_bytes(nvrtc.compiled("sum", "sm_90"))
    found = instructions(tmp_path / "sum.cubin")
    assert number_of(found["fused"], "FFMA") == 1
    assert number_of(found["both"], "FMUL") == number_of(found["both"], "FADD") == 1
    assert not number_of(found["both"], "FFMA")


# ------------------------------------------------------------------------------------------- cache


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A checkout with one tiny kernel and a cache of its own."""
    cpu_library.library()  # of the real sources
    (tmp_path / "kernels/msda").mkdir(parents=True)
    (tmp_path / "kernels/cuda").mkdir()
    (tmp_path / "kernels/msda/answer.h").write_text("constexpr int kAnswer = 42;\n")
    source = '#include "msda/answer.h"\nextern "C" __global__ void f(int* a) { *a = kAnswer; }\n'
    (tmp_path / "kernels/cuda/tiny.cu").write_text(source)
    monkeypatch.setattr(build, "KERNELS", tmp_path / "kernels")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_compiled_once_per_content(tree, capsys):
    first = nvrtc.cubin("tiny", "sm_90")
    assert first.read_bytes()[:4] == b"\x7fELF"
    assert first.is_relative_to(tree / "cache/dali_msda")
    assert capsys.readouterr().err == f"dali_msda: compiling {first}\n"
    assert nvrtc.cubin("tiny", "sm_90") == first
    assert capsys.readouterr().err == ""
    (tree / "kernels/msda/answer.h").write_text("constexpr int kAnswer = 43;\n")
    second = nvrtc.cubin("tiny", "sm_90")
    assert second != first != nvrtc.cubin("tiny", "sm_80")
    assert second.read_bytes() != first.read_bytes()


def test_a_card_that_nvrtc_does_not_know_gets_what_it_runs(tree, monkeypatch):
    """An older NVRTC: machine code of a lower minor version, or else PTX."""
    monkeypatch.setattr(nvrtc, "archs", lambda: ("sm_75", "sm_80", "sm_90", "sm_100"))
    assert nvrtc.cubin("tiny", "sm_103") == nvrtc.cubin("tiny", "sm_100")
    newest = nvrtc.cubin("tiny", "sm_120")
    assert b"\n.target sm_100" in newest.read_bytes() and newest.suffix == ".ptx"
    assert nvrtc.cubin("tiny", "sm_990") == newest
    assert b"\n.target sm_80" in nvrtc.cubin("tiny", "sm_87").read_bytes()  # Tegra


def test_another_version_of_nvrtc_compiles_anew(tree, monkeypatch):
    """After a step back, for an older driver, the newer one's code is not taken."""
    first = nvrtc.cubin("tiny", "sm_90")
    monkeypatch.setattr(nvrtc, "version", lambda: (12, 4))
    second = nvrtc.cubin("tiny", "sm_90")
    assert second != first and "-nvrtc12.4-" in second.name


@pytest.mark.parametrize("damage", [b"", None], ids=["empty", "cut"])
def test_damaged_entry_is_rebuilt(tree, damage):
    path = nvrtc.cubin("tiny", "sm_90")
    content = path.read_bytes()
    path.write_bytes(content[:-1] if damage is None else damage)
    assert nvrtc.cubin("tiny", "sm_90") == path
    assert path.read_bytes() == content


def test_a_cache_that_others_can_write_is_not_trusted(tree):
    path = nvrtc.cubin("tiny", "sm_90")
    (tree / "cache").chmod(0o777)
    with pytest.raises(RuntimeError, match=f"not safe: {tree}/cache can be written by others"):
        nvrtc.cubin("tiny", "sm_90")
    (tree / "cache").chmod(0o755)
    assert nvrtc.cubin("tiny", "sm_90") == path


def test_unwritable_cache_has_a_private_substitute(tree, monkeypatch, capsys):
    (tree / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree / "file"))
    path = nvrtc.cubin("tiny", "sm_90")
    assert path.parent.parent == tree / "tmp" and path.parent.stat().st_mode & 0o077 == 0
    assert "cannot write to the cache" in capsys.readouterr().err


def test_an_edit_during_compilation_is_not_kept(tree, monkeypatch):
    compiled = nvrtc.compiled

    def slowly(name, arch):
        code = compiled(name, arch)
        (tree / "kernels/msda/answer.h").write_text("constexpr int kAnswer = 43;\n")
        return code

    monkeypatch.setattr(nvrtc, "compiled", slowly)
    with pytest.raises(RuntimeError, match="the sources changed while they were compiled"):
        nvrtc.cubin("tiny", "sm_90")
    assert not list((tree / "cache").rglob("*.cubin"))


def test_errors_say_what_to_do(tree, monkeypatch):
    with pytest.raises(ValueError, match="name: expected one of tiny, got 'blend'"):
        nvrtc.cubin("blend", "sm_90")
    with pytest.raises(RuntimeError, match=r"^sm_60: expected sm_75 or newer; NVRTC \d+\.\d+ comp"):
        nvrtc.cubin("tiny", "sm_60")
    with pytest.raises(RuntimeError, match=r"sm_999: NVRTC \d+\.\d+ knows sm_75, .*--upgrade"):
        nvrtc.kept("tiny", "sm_999")
    (tree / "kernels/cuda/tiny.cu").write_text("void f() { forty_two; }\n")
    with pytest.raises(RuntimeError, match=r'NVRTC failed on .*tiny\.cu for sm_90:\n.*"forty_two"'):
        nvrtc.cubin("tiny", "sm_90")
    monkeypatch.setattr(build, "cuda_roots", lambda: [Path("/nowhere")])
    monkeypatch.setattr("ctypes.CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    nvrtc.library.cache_clear()
    with pytest.raises(
        RuntimeError, match=r"^NVRTC: not found; run `pip install nvidia-cuda-nvrtc"
    ):
        nvrtc.library()


def test_one_version_of_cuda():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert text.count(f'"{nvrtc.PACKAGE}"') == 2  # to use it, and to test it
