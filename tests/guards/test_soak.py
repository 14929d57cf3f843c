"""A few hundred batches through each door: memory, descriptors and threads stay as they are."""

import mmap
import os

import pytest

from tests.guards import soak
from tests.support.ffcv_processes import expect_success, needs_ffcv, started


@pytest.mark.parametrize(
    "door, batches", [("arrays", 1500), ("dali", 500), pytest.param("ffcv", 400, marks=needs_ffcv)]
)
def test_nothing_grows(door, batches):
    expect_success(started("tests.guards.soak", door, "--batches", batches))


def test_a_leak_is_seen(monkeypatch, tmp_path, capsys):
    kept, files = [], []

    def leaks(folder):
        while True:
            kept.append(mmap.mmap(-1, 2**20))  # the allocator may have room left for others
            kept[-1].write(b"x" * 2**20)
            yield

    def opens(folder):
        while True:
            files.append(os.dup(1))
            yield

    for door in (leaks, opens):
        monkeypatch.setitem(soak.DOORS, "leaky", door)
        assert "expected no growth" in soak.soak("leaky", 40, tmp_path)
    for file in files:
        os.close(file)
