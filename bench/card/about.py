"""Which card, driver, versions and commit the results are of, without loading a library of it."""

import ctypes
import importlib.metadata
import platform
import re

from bench import records
from bench.gpu_timing import driver_version

PACKAGES = ("numpy", "torch", "cupy-cuda13x", "cupy-cuda12x", "numba", "nvidia-cuda-nvrtc")


def card() -> dict[str, object]:
    """The first GPU and its driver.

    Raises:
        RuntimeError: If there is none.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise RuntimeError("no GPU: libcuda.so.1 was not found") from error
    count, serves, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if status := driver.cuInit(0):
        raise RuntimeError(f"no GPU: the driver reports error {status}")
    driver.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        raise RuntimeError("no GPU: the driver sees none")
    name, numbers = ctypes.create_string_buffer(128), []
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDriverGetVersion(ctypes.byref(serves))
    for attribute in (75, 76):  # the compute capability's major and minor version
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    return {
        "gpu": name.value.decode(),
        "arch": "sm_{}{}".format(*numbers),
        "driver": driver_version(),
        "cuda": f"{serves.value // 1000}.{serves.value % 1000 // 10}",
    }


def everything() -> dict[str, object]:
    """What goes into every line."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"machine": card(), "versions": versions, "commit": records.commit()}


def file_name(gpu: str) -> str:
    """The name of the file of a card's results: ``nvidia-h200.jsonl``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") + ".jsonl"
