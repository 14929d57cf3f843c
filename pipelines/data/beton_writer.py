"""Writes a folder of images into a .beton, FFCV's file format, with several processes.

FFCV's own ``DatasetWriter`` waits for ever when a file cannot be decoded or a process dies, and
each of its processes draws the same random numbers. So only its file format is used here. Files are
decoded as the loaders of folders decode them, the first one that cannot be decoded ends the run,
and what is drawn for a file depends on its number alone.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import NamedTuple

import cv2
import numpy as np

# isort: off
import dali_msda.ffcv  # noqa: F401  first: it says what to do where FFCV is missing
from ffcv.fields import IntField, RGBImageField
from ffcv.memory_allocator import MemoryAllocator
from ffcv.utils import align_to_page
from ffcv.writer import DatasetWriter

# isort: on
from dali_msda.pipelines.data import spawned
from dali_msda.pipelines.data.datasets import ImageFolder
from dali_msda.pipelines.data.decodable import Decoder, Undecodable

FIELDS = ("image", "label")
PR_SET_PDEATHSIG = 1  # option of prctl(2): the signal that a process gets when its parent ends


class Unwritable(ValueError):
    """A file that cannot be written. The text names it and says why."""


class Pages(NamedTuple):
    """How many pages of the file have been taken and written, by all processes together.

    FFCV's own counters serve only processes that are forked. They belong to an allocator that also
    holds a page, which is too large to hand to a new process.
    """

    taken: Synchronized[int]
    written: Synchronized[int]


class Writer:
    """Writes the images and labels of a folder into one file.

    Args:
        path: The file.
        field: How images are stored.
        max_resolution: Greatest height and width, in pixels; larger images are shrunk to it. None
            keeps every size.
        workers: Number of processes, at least 1.
        chunk_size: Files that a process takes at a time.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        field: RGBImageField,
        *,
        max_resolution: int | None,
        workers: int,
        chunk_size: int,
    ):
        self.field, self.max_resolution, self.chunk_size = field, max_resolution, chunk_size
        fields = dict(zip(FIELDS, (field, IntField()), strict=True))
        self._format = DatasetWriter(str(path), fields, num_workers=workers)

    def write(self, source: ImageFolder, progress: Callable[[int], object]) -> None:
        """Write all files; ``progress`` gets the number of files done since its last call.

        Raises:
            Unwritable: If a file cannot be written.
            OSError: If the disk is full.
        """
        layout = self._format
        layout.num_samples = len(source.files)
        layout.prepare()
        start = align_to_page(layout.data_region_start, layout.page_size)
        pages = Pages(*(spawned.CONTEXT.Value(ctypes.c_uint64, 0) for _ in Pages._fields))
        try:
            regions = self._run(source, pages, progress)
            end = start + pages.written.value * layout.page_size
            if os.path.getsize(layout.fname) != end:  # FFCV does not check how much was written
                raise OSError(f"{layout.fname}: expected {end} bytes, got fewer: the disk is full")
            layout.finalize(regions)
        finally:
            layout.metadata_sm.close()
            layout.metadata_sm.unlink()

    def _run(
        self, source: ImageFolder, pages: Pages, progress: Callable[[int], object]
    ) -> list[tuple[int, int, int]]:
        """Run the processes; return the regions of the file that they gave to the samples."""
        work = list(zip(itertools.count(), source.files, source.labels.tolist()))
        share = dict(workers=self._format.num_workers, chunk_size=self.chunk_size)
        regions = []
        for piece, answer in spawned.share_out(self._work, (pages,), work, **share):
            if isinstance(answer, spawned.Ended):
                raise Unwritable(_death(piece, answer.how))
            if isinstance(answer, str):
                raise Unwritable(answer)
            if piece is spawned.END:
                regions += answer
            elif piece is not spawned.START:
                progress(1)
        return regions

    def _work(self, connection: Connection, pages: Pages) -> None:
        """Write the files that come in; this is what each process runs.

        It sends None when it is ready and after each file, a text if a file fails, and at the end
        its regions.
        """
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no process outlives its parent
        cv2.setNumThreads(1)
        layout = self._format
        table = np.frombuffer(layout.metadata_sm.buf, layout.metadata_type)
        images, labels = (table[name] for name in layout.metadata_type.names)
        allocator = MemoryAllocator(layout.fname, layout.data_region_start, layout.page_size)
        allocator.next_page_allocated, allocator.next_page_written = pages
        with Decoder() as decoder:
            allocator.__enter__()  # no `with`: after an error, its end would wait for its turn
            connection.send(None)
            while chunk := connection.recv():
                for index, file, label in chunk:
                    allocator.set_current_sample(index)
                    np.random.seed(index)  # FFCV draws from this generator
                    try:
                        pixels = shrunk(decoder.decode(file), self.max_resolution)
                        self.field.encode(images[index : index + 1], pixels, allocator.malloc)
                    except Exception as error:
                        connection.send(self._reason(file, error))
                        os._exit(1)
                    labels[index] = label
                    connection.send(None)
            allocator.__exit__(None, None, None)
        connection.send(allocator.allocations)
        os._exit(0)  # an ordinary exit cannot close FFCV's shared memory, which `table` still views

    def _reason(self, file: str, error: Exception) -> str:
        if isinstance(error, Undecodable):
            return (
                f"{file}: expected an image, got a file that cannot be decoded: {error}. "
                "`python -m dali_msda.pipelines.check DIR --output good.txt` finds all such files "
                "and lists the others; --list good.txt then writes only those."
            )
        if "page size" in str(error):
            return (
                f"{file}: expected an image that takes at most {self._format.page_size} bytes, got "
                "a larger one. Give --max-resolution, or --write-mode jpg."
            )
        return f"{file}: expected to write it, got {type(error).__name__}: {error}"


def shrunk(pixels: np.ndarray, max_resolution: int | None) -> np.ndarray:
    """Shrink an image until no side is longer than ``max_resolution`` pixels; keep its aspect.

    FFCV's own function fails for images so narrow that no pixel of the shorter side would be left.
    """
    height, width = pixels.shape[:2]
    if max_resolution is None or max(height, width) <= max_resolution:
        return pixels
    ratio = max_resolution / max(height, width)
    size = max(1, int(width * ratio)), max(1, int(height * ratio))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _death(piece: tuple[int, str, int] | str | None, how: str) -> str:
    """Say how a process ended by itself, at a file or between files."""
    if piece in (spawned.START, spawned.END):
        return (
            f"a writing process ended ({how}) between files; its own message stands above. "
            + spawned.GUARD
        )
    return f"{piece[1]}: expected an image, got a file at which a process ended ({how})"
