"""Shares work out among processes, each at the other end of a connection.

They are not forked: a fork of a process where DALI or FFCV ran may wait for ever for threads that
the fork does not have.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("spawn")
GUARD = 'A script that calls this needs `if __name__ == "__main__":` around the call.'


START, END = "", None  # stand in place of a piece of work for a process's first and last answer


class Ended(NamedTuple):
    """Stands in place of an answer where a process ended by itself; ``how`` says how."""

    how: str


def share_out(
    target: Callable[..., object],
    arguments: tuple,
    work: Sequence[Any],
    *,
    workers: int,
    chunk_size: int,
) -> Iterator[tuple[Any, Any]]:
    """Let processes do pieces of work, of which each is sent a few at a time.

    Args:
        target: What each process calls, with its end of a connection before the arguments. It
            sends an answer when it is ready, one for each piece of every list that it receives,
            and one when it has received an empty list.
        arguments: Together they must fit into a pipe (64 KiB), because otherwise this process would
            wait for ever if the new one ended before it had read them.
        work: All the pieces.
        workers: How many processes there are at most, at least 1.
        chunk_size: Pieces that a process is sent at a time.

    Yields:
        A piece and the answer to it, in the order of completion; ``START`` or ``END`` and the
        answer. Where a process ended, ``Ended`` is the answer, and if the caller goes on, another
        process is started for what was left to it.
    """
    chunks = deque(work[at : at + chunk_size] for at in range(0, len(work), chunk_size))
    pool: dict[Connection, tuple[BaseProcess, deque]] = {}

    def launch() -> None:
        connection, process = _start(target, *arguments)
        pool[connection] = process, deque([START])

    def give(connection: Connection, pending: deque) -> None:
        chunk = chunks.popleft() if chunks else ()
        try:
            connection.send(list(chunk))
        except BrokenPipeError:  # it ended between two pieces, as the loop below will see
            if chunk:
                chunks.appendleft(chunk)
                chunk = [START]
        pending.extend(chunk or [END])

    try:
        for _ in range(min(workers, len(chunks))):
            launch()
        while pool:
            for connection in wait(list(pool)):
                process, pending = pool[connection]
                piece = pending.popleft()
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    del pool[connection]
                    yield piece, Ended(_end_of(process))
                    if pending:
                        chunks.appendleft(list(pending))
                    if chunks:
                        launch()
                    continue
                if piece is END:
                    del pool[connection]
                elif not pending:
                    give(connection, pending)
                yield piece, answer
    finally:
        for process, _ in pool.values():
            process.kill()
            process.join()


def _start(target: Callable[..., object], *arguments: object) -> tuple[Connection, BaseProcess]:
    """Start a process; return this end of the connection, which ends when it does, and it."""
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


def _end_of(process: BaseProcess) -> str:
    """Say how a process ended that ended by itself: by which signal, or with which exit code."""
    process.join()
    code = process.exitcode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
