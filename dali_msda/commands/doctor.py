"""``python -m dali_msda doctor``: what is installed, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, create_string_buffer
from pathlib import Path
from typing import NamedTuple

from dali_msda import build
from dali_msda.backends import cpu, nvrtc, packs
from dali_msda.cache import folder as cache_folder
from dali_msda.commands import cuda_driver as driver


class Finding(NamedTuple):
    """A line of the report: what was found and, if something is wrong, what mends it."""

    name: str
    found: str
    remedy: str = ""


def package() -> Finding:
    """This package and its interpreter."""
    where = "checkout" if build.IN_CHECKOUT else "installed"
    version = importlib.metadata.version("dali_msda") if not build.IN_CHECKOUT else "sources"
    python = f"Python {platform.python_version()}, NumPy {importlib.metadata.version('numpy')}"
    return Finding("dali_msda", f"{version} in {build.PACKAGE} ({where}); {python}")


def compiler() -> Finding:
    """The C++ compiler, which an installed wheel does not need."""
    name = (os.environ.get("CXX") or "g++").split()[0]
    if shutil.which(name) is None:
        remedy = "apt-get install g++ (Debian, Ubuntu) / dnf install gcc-c++ (Fedora, RHEL)"
        return Finding("C++", f"{name}: not found", remedy)
    answer = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
    return Finding("C++", answer.splitlines()[0] if answer else name)


def cpu_library() -> Finding:
    """The CPU backend, compiled."""
    path = build.library("cpu")
    return Finding("CPU backend", f"{path}, for {cpu.isas()[-1]}")


def plugin() -> Finding:
    """DALI and the operators made for it."""
    version = build.dali_version()
    file = build.file_name("dali")
    path = build.find(file)
    if path is None:
        found = f"{version}; its operators are compiled when they are first used"
        return Finding("DALI", found, "python -m dali_msda build, to do it now")
    return Finding("DALI", f"{version}; operators in {path}")


def compiler_of_kernels() -> Finding:
    """NVRTC and the devices that it compiles for."""
    major, minor = nvrtc.version()
    return Finding("NVRTC", f"{major}.{minor}, for {nvrtc.archs()[0]} to {nvrtc.archs()[-1]}")


def cuda_driver() -> Finding:
    """The driver and the version of CUDA that it serves."""
    number = c_int()
    driver.call("cuDriverGetVersion", byref(number))
    serves = number.value // 1000, number.value % 1000 // 10
    file = Path("/proc/driver/nvidia/version")
    text = file.read_text() if file.is_file() else ""
    version = re.search(r"\d+\.\d+(\.\d+)?", text)
    found = f"{version[0] if version else 'version unknown'}, serves CUDA {serves[0]}.{serves[1]}"
    try:
        if nvrtc.version()[0] > serves[0]:
            remedy = f"pip install 'nvidia-cuda-nvrtc-cu{serves[0]}', or a newer driver"
            return Finding("driver", f"{found}, which is older than NVRTC", remedy)
    except RuntimeError:
        pass  # NVRTC has its own line
    return Finding("driver", found)


def code_for(arch: str) -> tuple[str, str]:
    """Which code of the kernels a kind of device runs, and what mends it if there is none."""
    state = None
    try:
        state, packed = packs.kind_in_library(arch)
        if state is packs.State.HAS_CODE:
            return f"kernels: compiled beforehand, {_told(packed, arch)}", ""
        kind = nvrtc.kind_for(arch)
    except RuntimeError as error:
        reason, _, remedy = str(error).partition("; ")
        if state is packs.State.TOO_NEW:
            reason, remedy = packed, "a newer driver, or NVRTC of the driver's version of CUDA"
        return f"kernels: none ({reason})", remedy
    there = all(build.find(nvrtc.file_name(name, kind)) for name in nvrtc.sources())
    when = "compiled, in the cache" if there else "compiled by NVRTC at first use"
    why = "" if state is packs.State.MISSING else f" ({packed})"
    return f"kernels: {when}, {_told(kind, arch)}{why}", ""


def _told(kind: str, arch: str) -> str:
    if kind.startswith("compute_"):
        return f"PTX of {kind}, which the driver compiles"
    return f"machine code of {kind}" + ("" if kind == arch else f", which {arch} runs")


def devices() -> list[Finding]:
    """Each GPU, and which code of the kernels it would run."""
    count = c_int()
    try:
        driver.library()
    except RuntimeError:  # the driver has its own line
        return [Finding("GPU", "none")]
    driver.call("cuDeviceGetCount", byref(count))
    found = []
    for index in range(count.value):
        name, memory, handle = create_string_buffer(128), c_size_t(), c_int()
        driver.call("cuDeviceGet", byref(handle), index)
        driver.call("cuDeviceGetName", name, 128, handle)
        driver.call("cuDeviceTotalMem_v2", byref(memory), handle)
        arch = driver.device(index).arch
        about = f"{name.value.decode()}, {arch}, {memory.value / 2**30:.0f} GiB"
        code, remedy = code_for(arch)
        found.append(Finding(f"GPU {index}", f"{about}; {code}", remedy))
    return found or [Finding("GPU", "none")]


def library(name: str, distributions: tuple[str, ...], remedy: str) -> Callable[[], Finding]:
    """A check of an optional Python package, which is not imported."""

    def look() -> Finding:
        for distribution in distributions:
            try:
                version = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
            return Finding(name, version)
        return Finding(name, "not installed", remedy)

    return look


def cache() -> Finding:
    """Where compiled code is kept."""
    folder, kept = cache_folder(), [0, 0]
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix in {".so", ".cubin", ".ptx", ".pack"}:
                kept[0] += 1
                kept[1] += path.stat().st_size
    above = next(path for path in (folder, *folder.parents) if path.exists())
    found = f"{folder}, {kept[0]} files, {kept[1] / 2**20:.1f} MiB"
    if os.access(above, os.W_OK) and above.is_dir():
        return Finding("cache", found)
    return Finding("cache", f"{found}, cannot be written", "export XDG_CACHE_HOME=<a folder>")


CHECKS: list[tuple[str, Callable[[], Finding | list[Finding]], str]] = [
    # name, check, what mends it if the check itself fails
    ("dali_msda", package, ""),
    ("C++", compiler, ""),
    ("CPU backend", cpu_library, "apt-get install g++"),
    ("DALI", plugin, ""),
    ("NVRTC", compiler_of_kernels, f"pip install {nvrtc.PACKAGE}"),
    ("driver", cuda_driver, "NVIDIA's driver, for a GPU; without it the CPU does everything"),
    ("GPU", devices, "install a newer driver"),
    (
        "CuPy",
        library("CuPy", ("cupy-cuda13x", "cupy-cuda12x", "cupy"), "pip install cupy-cuda13x"),
        "",
    ),
    ("torch", library("torch", ("torch",), "pip install torch"), ""),
    ("FFCV", library("FFCV", ("ffcv",), "python -m dali_msda.pipelines.install_ffcv"), ""),
    ("cache", cache, ""),
]


NEEDED = {"CPU backend"}  # without these nothing works


def findings() -> list[Finding]:
    """Every line of the report; a check that fails is a line, too."""
    lines: list[Finding] = []
    for name, check, remedy in CHECKS:
        try:
            found = check()
        except (RuntimeError, ImportError) as error:
            found = Finding(name, str(error).splitlines()[0], remedy)
        lines += found if isinstance(found, list) else [found]
    return lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``python -m dali_msda doctor``: none."""


def main(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        RuntimeError: If something is missing without which nothing works.
    """
    lines = findings()
    for line in lines:
        print(f"{line.name:12} {line.found}")
        if line.remedy:
            print(f"{'':12} -> {line.remedy}")
    if missing := [line.name for line in lines if line.name in NEEDED and line.remedy]:
        raise RuntimeError(f"{', '.join(missing)}: missing; see above")
