"""What holds for every test."""

import ctypes
import signal

import pytest

from dali_msda import build

# Folders of tests that compile or train, the longest first.
LONG = "cuda ptx with_ffcv training pipelines methods commands package bench".split()

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


def only_gpu(config) -> bool:
    """Whether it was asked for the GPU's tests, which run on machines without DALI and others."""
    return config.option.markexpr.startswith("gpu")


def pytest_ignore_collect(collection_path, config):
    if only_gpu(config) and collection_path.match("test_*.py"):
        return "mark.gpu" not in collection_path.read_text() or None
    return None


def pytest_sessionstart(session):
    # A shell's background job ignores SIGINT, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = ["cpu"] if only_gpu(session.config) else build.LIBRARIES
    try:
        for name in names:
            build.library(name)
    except RuntimeError as error:  # told once, not by every test
        pytest.exit(str(error), returncode=1)


def pytest_collection_modifyitems(items):
    # What takes longest begins first, or one process would work alone at the end.
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.parent.name, len(LONG)))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
