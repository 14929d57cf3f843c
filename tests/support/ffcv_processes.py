"""Processes of their own for what uses FFCV, with a time limit: it hangs where others raise."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.support import ROOT

LIMIT = 300  # seconds, many times what a case takes

needs_ffcv = pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed (make ffcv)"
)


def started(module, *arguments, **environment):
    """Start a case of a module of the tests."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def expect_success(*processes):
    """Wait for processes; what they said is the message if one fails."""
    try:
        for process in processes:
            said, _ = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
