"""What holds for every test of training."""

from tests.support.limits import one_thread_of_torch  # noqa: F401
