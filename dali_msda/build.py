"""Finds the C++ sources and compiles them into libraries; backends/nvrtc.py does the GPU's.

There are two shared libraries: ``cpu`` holds the kernels, ``dali`` the DALI operators, which call
the first one. A library's file name carries a key over all that goes into it: sources, flags and,
since DALI versions its symbols, the exact version of DALI. So a file of the right name is the right
file. A wheel brings ``cpu``, and ``dali`` for several versions of DALI; what is not there is
compiled when it is first used.

This module imports only the standard library, since ``setup.py`` loads it before the package is
installed; cache.py, which keeps what users compile, is imported where it is called.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

LIBRARIES = ("cpu", "dali")

PACKAGE = Path(__file__).resolve().parent
PREBUILT = PACKAGE / "_lib"  # what a wheel brings
NATIVE = PACKAGE / "dali" / "native"
# The kernels lie inside an installed package, and beside the package in a checkout.
IN_CHECKOUT = not (PACKAGE / "kernels").is_dir()
KERNELS = (PACKAGE.parent if IN_CHECKOUT else PACKAGE) / "kernels"


# No contraction and no fast-math: every rounding stands in the source. -fno-math-errno and
# -fno-trapping-math change no result; they let rintf and its like become single instructions.
# -Wmaybe-uninitialized is off since GCC 12 finds cases in its own AVX-512 header; unknown pragmas
# are those of the GPU's compilers.
FLAGS = (
    "-O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -fPIC -pthread "
    "-Wall -Wextra -Wno-maybe-uninitialized -Wno-unknown-pragmas -Werror=return-type -Werror=switch"
)
KERNEL = f"-std=c++17 {FLAGS}"
# DALI is built with the C++11 ABI. GCC 12 misjudges the small vectors in its headers.
PLUGIN = (
    f"-std=c++20 {FLAGS} -fvisibility=hidden -D_GLIBCXX_USE_CXX11_ABI=1 -Wno-free-nonheap-object"
)
OLD_SYSTEM = "-include cpu/old_glibc.h"  # to run with an older glibc than is compiled with
# The kind of machine that is compiled for. To compile for another one, set DALI_MSDA_MACHINE, and
# CXX to a cross compiler.
MACHINE = os.environ.get("DALI_MSDA_MACHINE") or platform.machine()
# kernels/cpu/simd is compiled once for each of these; the CPU backend chooses at run time. The
# first serves any machine of its kind: nothing may depend on the machine that compiles.
ISAS_OF = {
    "x86_64": (
        "-march=x86-64 -DMSDA_ISA=x86_64",
        "-march=x86-64-v3 -DMSDA_ISA=v3",
        "-march=x86-64-v4 -mprefer-vector-width=512 -DMSDA_ISA=v4",
        "-march=x86-64-v4 -mavx512vbmi -mprefer-vector-width=512 -DMSDA_ISA=v4_vbmi",
    ),
    "aarch64": ("-march=armv8-a -DMSDA_ISA=neon",),
}
ISAS = ISAS_OF.get(MACHINE, ("",))
BASELINE = ISAS[0].split(" ")[0]
# The plugin finds the kernels' library by its name, where that is loaded or else beside itself.
# Before glibc 2.34 dlopen is in a library of its own.
LINK = (
    "-shared -pthread -Wl,--no-undefined -Wl,-rpath,$ORIGIN "
    "-Wl,--push-state,--no-as-needed,-l:libdl.so.2,--pop-state"
)
# No contraction, as on the CPU. NVRTC has no warning for a switch that leaves out a case: tests
# compile the GPU's kernels with g++ too.
NVRTC_FLAGS = "-std=c++17 -fmad=false -default-device"

# The packages of DALI, each with the extra of this package that installs it.
DALI = {"nvidia-dali-cuda130": "dali", "nvidia-dali-cuda120": "dali-cuda12"}
CUDA_HEADERS = {  # what DALI's headers include, by the package that holds it; one CUDA version
    "cuda_runtime_api.h": "nvidia-cuda-runtime==13.0.96",
    "crt/host_config.h": "nvidia-cuda-crt==13.0.88",
    "nv/target": "nvidia-cuda-cccl==13.0.85",
}


class Unit(NamedTuple):
    """One translation unit: a source file and the flags that its result depends on."""

    source: Path
    flags: str


def library(name: str) -> Path:
    """Returns the path of a shared library; compiles it if need be.

    Args:
        name: ``"cpu"`` or ``"dali"``.

    Returns:
        A library in the user's cache (``$XDG_CACHE_HOME/dali_msda`` or ``~/.cache/dali_msda``), or
        else in the package, or else compiled into that cache now, with a line on stderr.

    Raises:
        ImportError: If DALI is missing.
        RuntimeError: If the package holds no such library, and the compiler is missing or fails.
    """
    if found := find(file_name(name)):
        return found
    try:
        return build(name)
    except RuntimeError as error:
        if IN_CHECKOUT:
            raise
        raise RuntimeError(f"{_why_not_there(name)}: {error}") from error


def build(name: str, *, force: bool = False) -> Path:
    """Does as :func:`library`, but always compiles into the user's cache what is not found.

    With ``force`` it compiles in any case. The cache is preferred to the package's own library.
    """
    from dali_msda import cache

    return cache.cached(file_name(name), lambda folder: compile_into(folder, name), force=force)


def compile_into(folder: Path, name: str) -> Path:
    """Compiles a library into a folder, where it appears whole or not at all.

    The plugin is linked to the kernels' library of that folder, or else to :func:`library`'s.
    """
    compiler, file, includes, others = _compiler(), file_name(name), include_flags(name), []
    if name == "dali":
        kernels, home = folder / file_name("cpu"), _dali_folder()
        others = [str(kernels if kernels.is_file() else library("cpu"))]
        others += [f"-L{home}", f"-Wl,-rpath-link,{home}", "-ldali", "-ldali_core"]

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as scratch:

        def compile_unit(unit: Unit) -> str:
            target = tempfile.mkdtemp(dir=scratch) + f"/{unit.source.stem}.o"
            where = ["-c", str(unit.source), "-o", target]
            _run([*compiler, *unit.flags.split(), *includes, *where])
            return target

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            objects = list(pool.map(compile_unit, units(name)))
        linked = Path(scratch, file)
        flags = [*LINK.split(), f"-Wl,-soname,{file}"]
        _run([*compiler, *flags, *objects, *others, "-o", str(linked)])
        if file_name(name) != file:
            raise RuntimeError("the sources changed while they were compiled; try again")
        return linked.replace(folder / file)


def units(name: str) -> list[Unit]:
    """Returns a library's translation units in link order.

    If several objects hold an inline function, the linker keeps the first copy. So units come in
    the order of their instruction sets: no function then needs a newer one than its callers.
    """
    if name not in LIBRARIES:
        raise ValueError(f"name: expected one of {', '.join(LIBRARIES)}, got {name!r}")
    if name == "dali":
        plugin = sorted(NATIVE.rglob("*.cc"))
        if not plugin:
            raise RuntimeError(f"{NATIVE}: no C++ sources; reinstall dali_msda")
        return [Unit(path, f"{PLUGIN} {OLD_SYSTEM} {BASELINE}") for path in plugin]
    kernels = [
        *sorted((KERNELS / "cpu").glob("*.cpp")),
        *sorted((KERNELS / "cpu/puzzle").glob("*.cpp")),
        *sorted((KERNELS / "cpu/comixup").glob("*.cpp")),
        *sorted((KERNELS / "cuda/code").glob("*.cpp")),
        *sorted((KERNELS / "cuda/host").rglob("*.cpp")),
    ]
    flags = f"{KERNEL} {OLD_SYSTEM} {BASELINE}"
    key = {"code_pack.cpp": f' -DMSDA_KERNELS_KEY="{kernels_key()}"'}
    vectorised = sorted((KERNELS / "cpu/simd").glob("*.cpp"))
    if not kernels:
        raise RuntimeError(f"{KERNELS}: no C++ sources; reinstall dali_msda")
    return [
        *(Unit(path, flags + key.get(path.name, "")) for path in kernels),
        *(Unit(path, f"{KERNEL} {isa}") for isa in ISAS for path in vectorised),
    ]


def kernels_key() -> str:
    """Returns a key over all that the GPU's kernels are compiled from, the compiler left out.

    Every library holds it, so that it takes the GPU's code of its own sources only.
    """
    return gpu_key((KERNELS / "cuda").rglob("*.cu"))


def gpu_key(sources: Iterable[Path], kind: str = "") -> str:
    """Returns a key over some sources of the GPU, all that they may include, and a kind of code."""
    headers = [
        *(KERNELS / "msda").rglob("*.h"),
        *(KERNELS / "cuda").glob("*.h"),
        *(KERNELS / "cuda/puzzle").glob("*.h"),
        *(KERNELS / "cuda").rglob("*.cuh"),
    ]
    digest = hashlib.sha256(f"{NVRTC_FLAGS} {kind}".encode())
    for path in (*sorted(sources), *sorted(headers)):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def include_flags(name: str) -> list[str]:
    """Returns the flags that say where things lie on this machine; no result depends on them."""
    # __FILE__, which DALI quotes in its error messages, then starts at the project's root.
    flags = [f"-I{KERNELS}", f"-I{NATIVE}", f"-ffile-prefix-map={PACKAGE.parent}/="]
    if name == "dali":
        flags += [f"-isystem{path}" for path in (_dali_folder() / "include", *_cuda_folders())]
    return flags


def file_name(name: str) -> str:
    """Returns the file name of a library: its key and, for the plugin, DALI's version.

    The compiler's version is left out of the key, since a wheel is used where it was not compiled.
    """
    digest = hashlib.sha256(LINK.encode())
    folder = KERNELS
    if name == "dali":
        folder = NATIVE
        digest.update(file_name("cpu").encode())  # which it is linked to
    parts = [*units(name), *((path, "") for path in sorted(folder.rglob("*.h")))]
    for path, flags in parts:
        content = path.read_bytes()
        digest.update(f"{path.name} {flags} {len(content)}\n".encode() + content)
    version = f"-{dali_version()}" if name == "dali" else ""
    return f"libmsda_{name}{version}-{digest.hexdigest()[:16]}.so"


def dali_version() -> str:
    """Returns the version of the installed DALI, without importing it.

    Raises:
        ImportError: If there is none. It says the command that installs one.
    """
    return _dali().version


def _dali() -> importlib.metadata.Distribution:
    for package in DALI:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.distribution(package)
    for found in importlib.metadata.distributions():  # nightly builds, other CUDA versions
        name = (found.metadata["Name"] or "").lower()
        if name.startswith("nvidia-dali-") and "plugin" not in name:
            return found
    raise ImportError(
        "nvidia.dali: not installed; run `pip install 'dali_msda[dali]'`, or with CUDA 12 "
        "`pip install 'dali_msda[dali-cuda12]'`",
        name="nvidia.dali",
    )


def _dali_folder() -> Path:
    folder = Path(str(_dali().locate_file("nvidia/dali")))
    if not (folder / "include").is_dir():
        wanted = f"{_dali().metadata['Name']}=={dali_version()}"
        raise RuntimeError(
            f"{folder}/include: DALI's headers are missing; "
            f"run `pip install --force-reinstall --no-deps {wanted}`"
        )
    return folder


def cuda_roots() -> list[Path]:
    """Where parts of CUDA may lie: the wheels' folders, the newest first, then a toolkit's."""
    wheels = [Path(entry, "nvidia") for entry in sys.path]
    roots = [root for wheel in wheels for root in sorted(wheel.glob("cu[0-9]*"))[::-1]]
    roots += [root for wheel in wheels for root in wheel.glob("cuda_*")]
    return [*roots, Path(os.environ.get("CUDA_HOME") or "/usr/local/cuda")]


def _cuda_folders() -> list[Path]:
    """Folders with the CUDA headers."""
    roots = [root / "include" for root in cuda_roots()]
    roots += [root / "cccl" for root in roots]
    folders = []
    for header in CUDA_HEADERS:
        folder = next((root for root in roots if (root / header).is_file()), None)
        if folder is None:
            wanted = " ".join(CUDA_HEADERS.values())
            raise RuntimeError(f"{header}: CUDA header not found; run `pip install {wanted}`")
        folders.append(folder)
    return list(dict.fromkeys(folders))


def _why_not_there(name: str) -> str:
    """Why an installed package holds no library that fits, so that it had to be compiled."""
    versions = sorted({path.name.split("-")[1] for path in PREBUILT.glob("libmsda_dali-*.so")})
    if name == "dali" and dali_version() not in versions:
        there = f"for DALI {', '.join(versions)}" if versions else "for no DALI"
        return f"this package came with plugins {there}, so one for {dali_version()} is compiled"
    return f"{PREBUILT} holds no {name} library of this package's sources, so it is compiled"


def _compiler() -> list[str]:
    if MACHINE not in ISAS_OF:
        raise RuntimeError(f"machine: expected {' or '.join(ISAS_OF)}, got {MACHINE}")
    compiler = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    if shutil.which(compiler[0]) is None:
        raise RuntimeError(
            f"{compiler[0]}: not found; it is the only system package needed: "
            "apt-get install g++ (Debian, Ubuntu) / dnf install gcc-c++ (Fedora, RHEL)"
        )
    return compiler


def _run(command: list[str]) -> None:
    english = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=english)
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-30:])
        how = "failed" if done.returncode > 0 else f"was ended by signal {-done.returncode}"
        raise RuntimeError(f"the compiler {how}:\n{tail}\nIt was run as: {shlex.join(command)}")
    sys.stderr.write(done.stderr)  # warnings


def find(file: str) -> Path | None:
    """Returns the intact file of this name in the cache or the package, if there is one."""
    from dali_msda import cache

    prebuilt = PREBUILT / file
    return cache.find(file) or (prebuilt if prebuilt.is_file() else None)
