"""What holds for every test of training."""

from tests.support.torch_threads import one_thread_of_torch  # noqa: F401
