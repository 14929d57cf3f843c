"""A short run of the fuzzer, and what it must notice."""

import ctypes
import time

import pytest

from tests.guards import fuzz, fuzz_calls

CALLS, FIRST = 20_000, 0


def test_no_call_crashes_hangs_or_says_something_else():
    found = fuzz.fuzz(CALLS, FIRST)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "error, wrong",
    [
        (None, None),
        (ValueError("out: expected (2, 3), got (3, 2)"), None),
        (ValueError("plan[1]: height, width: expected 5 x 5, got 6 x 5"), None),
        (TypeError("batch: expected a whole number, got 'x'"), None),
        (MemoryError(), None),
        (ValueError("cannot reshape array"), "not in the house form"),
        (TypeError("unhashable type: 'list'"), "not in the house form"),
        (KeyError("policy: expected x, got y"), "another kind"),
        (OverflowError("too large"), "another kind"),
    ],
)
def test_what_counts_as_wrong(error, wrong, tmp_path, monkeypatch):
    def call(*_):
        if error is not None:
            raise error

    monkeypatch.setattr(fuzz_calls, "call", call)
    found = fuzz.outcome(0, tmp_path)
    assert found is None if wrong is None else wrong in found


def crash(first, last, at, use_torch, report):
    at.value = first + 3
    ctypes.string_at(0)


def hang(first, last, at, use_torch, report):
    at.value = first + 5
    time.sleep(1000)


@pytest.mark.parametrize(
    "work, last, text", [(crash, 4, "--seed 3: crashes (SIGSEGV)"), (hang, 6, "--seed 5: hangs")]
)
def test_crashes_and_hangs_are_told_with_their_seed(work, last, text, monkeypatch):
    monkeypatch.setattr(fuzz, "work", work)
    monkeypatch.setattr(fuzz, "HANGS", 2)
    assert fuzz.supervise(0, last, False) == [text]
