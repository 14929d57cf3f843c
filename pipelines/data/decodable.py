"""Which files DALI's image decoder takes, asked of the decoder itself, in processes of their own.

A file that does not decode makes a pipeline unusable, and DALI says little about why. Here every
worker decodes one file at a time (as fast as whole batches, and it needs the memory of one image),
makes a new pipeline after a failure, and collects what the libraries below DALI write to stderr. A
file that crashes the decoder ends its worker only.
"""

import contextlib
import itertools
import os
import re
import stat
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dali_msda.pipelines.data import spawned

CHUNK = 32  # files on their way to a worker: enough to hide the round trip
READY = ""  # stands for a file in the first answer of a worker


def try_all(root: Path, names: Sequence[str], *, workers: int) -> Iterator[tuple[str, str | None]]:
    """Try to decode files, in parallel.

    Args:
        root: Folder that the names start from.
        names: Files, relative to the root.
        workers: Processes that decode, at least 1.

    Yields:
        Each name and why it does not decode, or None if it does, in the order of completion.

    Raises:
        RuntimeError: If a worker cannot start.
    """
    chunks = iter([names[start : start + CHUNK] for start in range(0, len(names), CHUNK)])
    pool: dict[Connection, tuple[BaseProcess, deque[str]]] = {}

    def launch(chunk: Sequence[str]) -> None:
        connection, process = spawned.start(_serve, root)
        pool[connection] = process, deque([READY, *chunk])
        connection.send(list(chunk))

    try:
        for chunk in itertools.islice(chunks, workers):
            launch(chunk)
        while pool:
            for connection in wait(list(pool)):
                process, pending = pool[connection]
                name = pending.popleft()
                try:
                    reason = connection.recv()
                except (EOFError, OSError):
                    reason = _death(process, name)
                    del pool[connection]
                    if rest := pending or next(chunks, None):
                        launch(rest)
                else:
                    if not pending and (chunk := next(chunks, None)):
                        pending.extend(chunk)
                        connection.send(chunk)
                    elif not pending:
                        del pool[connection]
                        connection.close()  # the process ends
                if name is not READY:
                    yield name, reason
    finally:
        for process, _ in pool.values():
            process.kill()


def _death(process: BaseProcess, name: str) -> str:
    """Text for a file at which its worker died."""
    end = spawned.end_of(process)
    if name is READY:
        raise RuntimeError(
            f"a decoding process ended at its start ({end}); its own message stands above. "
            + spawned.GUARD
        )
    return f"crashes the decoder ({end})"


def _serve(connection: Connection, root: Path) -> None:
    """Body of a worker: for each name that comes in, sends back a reason or None."""
    with Decoder() as decoder, contextlib.suppress(EOFError):
        connection.send(None)
        while True:
            for name in connection.recv():
                try:
                    decoder.decode(root / name)
                except Undecodable as error:
                    connection.send(str(error))
                else:
                    connection.send(None)


class Undecodable(Exception):
    """A file that the loaders cannot decode. The text says why."""


class Decoder:
    """The decoder of the loaders, for one file at a time, in a process of its own.

    As a context manager it collects what the libraries below DALI write to stdout and stderr.
    """

    def __init__(self):
        from nvidia.dali import fn, pipeline_def, types

        @pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
        def decode():
            encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
            return fn.decoders.image(encoded, device="cpu", output_type=types.RGB)

        self._make = decode
        self._pipeline = decode()

    def __enter__(self):
        self._log = tempfile.TemporaryFile()
        os.dup2(self._log.fileno(), 1)
        os.dup2(self._log.fileno(), 2)
        return self

    def __exit__(self, *_):
        self._log.close()

    def decode(self, path: str | os.PathLike) -> np.ndarray:
        """Decode a file.

        Returns:
            Pixels in RGB, uint8 ``(H, W, 3)``, turned upright as the file says.

        Raises:
            Undecodable: If that is not possible.
        """
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise Undecodable("not a regular file")  # a pipe would be waited for
            data = np.fromfile(path, np.uint8)
        except OSError as error:
            raise Undecodable(f"cannot be read: {error.strerror}") from error
        if not data.size:
            raise Undecodable("empty file")
        os.ftruncate(self._log.fileno(), 0)
        os.lseek(self._log.fileno(), 0, os.SEEK_SET)
        try:
            self._pipeline.feed_input("encoded", [data])
            (pixels,) = self._pipeline.run()
        except RuntimeError as error:
            self._pipeline = self._make()
            raise Undecodable(_describe(data.tobytes()) + _last_error(self._log)) from error
        return pixels.at(0)


# Kind -> first bytes, and whether the data reaches its own end.
KINDS = {
    "JPEG": (b"\xff\xd8\xff", lambda data: data.endswith(b"\xff\xd9")),
    "PNG": (b"\x89PNG\r\n\x1a\n", lambda data: b"IEND" in data[-16:]),
    "WebP": (b"RIFF", lambda data: len(data) >= int.from_bytes(data[4:8], "little")),
    "BMP": (b"BM", lambda data: len(data) >= int.from_bytes(data[2:6], "little")),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", lambda data: data.endswith(b"\xff\xd9")),
    "TIFF": (b"II*\0", lambda data: True),
    "TIFF (big-endian)": (b"MM\0*", lambda data: True),
}


def _describe(data: bytes) -> str:
    """What is wrong with bytes that do not decode, as far as they tell."""
    if data.startswith(b"GIF8"):
        return "GIF: the decoder does not take this format"
    for kind, (start, is_whole) in KINDS.items():
        if data.startswith(start):
            return f"damaged {kind}" if is_whole(data) else f"truncated {kind}"
    return f"not an image: it starts with {data[:8]!r}"


def _last_error(log: BinaryIO) -> str:
    """The last error that a decoder wrote, in brackets; nothing if there is none."""
    text = os.pread(log.fileno(), 65536, 0).decode("utf-8", "replace")
    errors = re.findall(r"\[(?:\w+_)?(?:decoder|parser)\] (.+)", text)
    return f" ({errors[-1].strip()})" if errors else ""
