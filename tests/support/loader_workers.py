"""Errors in the workers of torch's DataLoader."""

import contextlib
import traceback

import pytest


@contextlib.contextmanager
def raises_in_worker(kind, match):
    """As ``pytest.raises``; the loader's iterator, and with it the workers, end here.

    The garbage collector, which may take its queues first, would wait five seconds for each.
    """
    with pytest.raises(kind, match=match) as caught:
        yield
    traceback.clear_frames(caught.tb)
