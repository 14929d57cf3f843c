"""Finds out which files DALI's image decoder takes, by decoding them in processes of their own.

A file that does not decode makes a pipeline unusable, and DALI says little about why. So every
worker here decodes one file at a time, makes a new pipeline after a failure, and collects what the
libraries below DALI write to stderr. This is as fast as whole batches and needs the memory of one
image. A file that crashes the decoder ends only its worker.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from dali_msda.pipelines.data import decoding, image_formats, spawned
from dali_msda.pipelines.data.image_formats import Undecodable

CHUNK = 32  # files that a worker is sent at a time, so that it seldom waits for more


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
    share = dict(workers=workers, chunk_size=CHUNK)
    for name, reason in spawned.share_out(_serve, (root,), names, **share):
        if isinstance(reason, spawned.Ended) and name is spawned.START:
            raise RuntimeError(
                f"a decoding process ended at its start ({reason.how}); its own message stands "
                f"above. {spawned.GUARD}"
            )
        if name not in (spawned.START, spawned.END):
            ended = isinstance(reason, spawned.Ended)
            yield name, f"crashes the decoder ({reason.how})" if ended else reason


def _serve(connection: Connection, root: Path) -> None:
    """Decode the files whose names come in; this is what a worker runs.

    For each file it sends why that does not decode, or None.
    """
    with Decoder() as decoder:
        connection.send(None)
        while names := connection.recv():
            for name in names:
                try:
                    decoder.decode(root / name)
                except Undecodable as error:
                    connection.send(str(error))
                else:
                    connection.send(None)
    connection.send(None)


class Decoder:
    """The decoder of the loaders, for one file at a time; it takes a process of its own.

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
            Undecodable: If the file cannot be decoded.
        """
        try:
            data = image_formats.read_file(path)
        except OSError as error:
            reason = f"cannot be read: {error.strerror}" if error.strerror else str(error)
            raise Undecodable(reason) from error
        image = image_formats.opened(data)
        os.ftruncate(self._log.fileno(), 0)
        os.lseek(self._log.fileno(), 0, os.SEEK_SET)
        try:
            self._pipeline.feed_input("encoded", [np.frombuffer(data, np.uint8)])
            (pixels,) = self._pipeline.run()
        except RuntimeError as error:
            self._pipeline = self._make()
            reason = image_formats.described(image_formats.kind_of(data), data)
            raise Undecodable(reason + self._last_error()) from error
        pixels = pixels.at(0)
        # Missing data is filled with grey, and the torch loader must refuse the same files. So its
        # decoder judges files of which a library said something, progressive JPEGs, and those whose
        # last pixel is grey, which may be any corner here, since the picture was turned upright.
        corners = [pixels[y, x] for y in (0, -1) for x in (0, -1)]
        is_odd = image.info.get("progressive") or self._logged()
        if is_odd or any(image_formats.is_grey(corner, slack=1) for corner in corners):
            decoding.decode(path)
        return pixels

    def _logged(self) -> str:
        """What the libraries below DALI wrote about the last file."""
        return os.pread(self._log.fileno(), 65536, 0).decode("utf-8", "replace")

    def _last_error(self) -> str:
        """The last error that a decoder wrote, in brackets; nothing if there is none."""
        errors = re.findall(r"\[(?:\w+_)?(?:decoder|parser)\] (.+)", self._logged())
        return f" ({errors[-1].strip()})" if errors else ""
