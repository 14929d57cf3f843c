"""One thread for PyTorch: on a busy machine its idle ones spin, and a step costs fifteen times."""

import pytest


@pytest.fixture(autouse=True)
def one_thread_of_torch():
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
