"""What a test limits for its process: the size of files, and PyTorch's threads."""

import resource
import signal

import pytest


@pytest.fixture
def full_disk():
    """No file can grow past 2000 bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


@pytest.fixture(autouse=True)
def one_thread_of_torch():
    """On a busy machine PyTorch's idle threads spin, and a step costs fifteen times as much."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
