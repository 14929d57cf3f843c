"""What holds for every test."""

import ctypes

import hypothesis
import pytest

from dali_msda import build

# Timings say nothing on a shared machine.
hypothesis.settings.register_profile("dali_msda", deadline=None)
hypothesis.settings.load_profile("dali_msda")


def has_gpu() -> bool:
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


def pytest_sessionstart():
    try:
        for name in build.LIBRARIES:
            build.library(name)
    except RuntimeError as error:  # told once, not by every test
        pytest.exit(str(error), returncode=1)


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
