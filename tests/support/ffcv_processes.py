"""Processes for what uses FFCV, with a time limit: FFCV hangs where others raise.

Importing FFCV and compiling its pipelines takes seconds, so one process runs case after case. A
case that fails takes it along, and the next one begins in a new process.
"""

import atexit
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import pytest

from tests.support import ROOT

LIMIT = 300  # seconds, many times what a case takes

needs_ffcv = pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed (make ffcv)"
)


def started(module, *arguments, **environment):
    """Start a case of a module of the tests, in a process of its own."""
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


def run(module, case, *arguments):
    """Run a case of a module of the tests in the process that runs them all."""
    global _runner
    if _runner is None:
        _runner = Runner()
    try:
        _runner.run(module, case, *map(str, arguments))
    except BaseException:
        _runner.stop()
        _runner = None
        raise


class Runner:
    """A process that runs cases, one after the other."""

    def __init__(self):
        self.said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ffcv_processes", str(write)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=self.said,
            stderr=self.said,
            text=True,
            pass_fds=[write],
        )
        os.close(write)
        self.verdicts = os.fdopen(read)
        atexit.register(self.stop)

    def run(self, *case):
        """Run one; what it said is the message if it fails, dies or takes too long."""
        begin = self.said.seek(0, os.SEEK_END)
        limit = threading.Timer(LIMIT, self.process.kill)
        limit.start()
        try:
            print(json.dumps(case), file=self.process.stdin, flush=True)
            verdict = self.verdicts.readline()
        finally:
            limit.cancel()
        self.said.seek(begin)
        assert verdict == "passed\n", f"{case}: {verdict or 'it ended or hung'}\n{self.said.read()}"

    def stop(self):
        atexit.unregister(self.stop)
        self.process.kill()
        self.process.communicate()
        self.verdicts.close()
        self.said.close()


_runner = None


def _serve(verdicts):
    for line in sys.stdin:
        module, case, *arguments = json.loads(line)
        try:
            getattr(importlib.import_module(module), case)(*arguments)
            verdict = "passed"
        except BaseException:
            traceback.print_exc()
            verdict = "failed"
        sys.stdout.flush()
        print(verdict, file=verdicts, flush=True)
        _await_threads()


def _await_threads():
    """Until what the last case told to end has ended, so that the next one may count threads."""
    for _ in range(100):
        if threading.active_count() == 1:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "w") as file:
        _serve(file)
    os._exit(0)  # what Numba says while Python comes down is no matter here
