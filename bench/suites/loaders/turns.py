"""What a turn of a loader is: an epoch, until nothing is under way any more."""

import time
from collections.abc import Callable, Iterable


def whole_epoch(batches_of_one: Iterable, wait: Callable[[], object] = lambda: None) -> None:
    """Goes through an epoch until the device has made it, and DALI what it prepares ahead.

    Args:
        batches_of_one: What yields the batches of an epoch.
        wait: Waits for the device.
    """
    epoch(batches_of_one)
    settle(0.002, wait)


def epoch(batches_of_one: Iterable) -> None:
    """Goes through an epoch."""
    for _ in batches_of_one:
        pass


def settle(pause: float, wait: Callable[[], object] = lambda: None) -> None:
    """Waits for the device until this process has hardly worked for ``pause`` seconds."""
    worked = pause
    while worked > pause / 20:
        wait()
        before = time.process_time()
        time.sleep(pause)
        worked = time.process_time() - before
