"""What holds for every test."""

import ctypes

import pytest

from dali_msda import build

try:
    import hypothesis
except ImportError:  # the tests of a GPU do without
    pass
else:  # timings say nothing on a shared machine
    hypothesis.settings.register_profile("dali_msda", deadline=None)
    hypothesis.settings.load_profile("dali_msda")


def has_gpu() -> bool:
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


def pytest_sessionstart(session):
    # The GPU's tests run on machines without DALI.
    names = ["cpu"] if session.config.option.markexpr == "gpu" else build.LIBRARIES
    try:
        for name in names:
            build.library(name)
    except RuntimeError as error:  # told once, not by every test
        pytest.exit(str(error), returncode=1)


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
