"""What holds for every test of the evaluation."""

from tests.support.torch_threads import one_thread_of_torch  # noqa: F401
