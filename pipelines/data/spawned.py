"""Starts processes that work for this one, each at the other end of a connection.

They are not forked: a fork of a process where DALI or FFCV ran may wait for ever for threads that
the fork does not have.
"""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

CONTEXT = multiprocessing.get_context("spawn")
GUARD = 'A script that calls this needs `if __name__ == "__main__":` around the call.'


def start(target: Callable[..., object], *arguments: object) -> tuple[Connection, BaseProcess]:
    """Start a process.

    Args:
        target: What the process calls, with its end of the connection before the arguments.
        arguments: Together they must fit into a pipe (64 KiB), because otherwise this process would
            wait for ever if the new one ended before it had read them.

    Returns:
        This end of the connection, which ends when the process does, and the process.
    """
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(theirs, *arguments), daemon=True)
    # Ctrl-C is for this process, which then ends the others. They inherit the mask of signals.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()  # so that the end of the process is the end of the stream
    return ours, process


def end_of(process: BaseProcess) -> str:
    """Say how a process ended that ended by itself: by which signal, or with which exit code."""
    process.join()
    code = process.exitcode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
