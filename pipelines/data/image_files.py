"""Image files and their labels, which may be millions.

Their paths lie in two arrays, since an object for each takes three times their bytes. Processes
that are forked share arrays, too; objects they would copy by and by, because an object counts its
references where it lies.
"""

import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 16  # names that become objects at a time


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Image files and their labels.

    Attributes:
        root: The folder, with one folder per class, or with the files of a list.
        classes: Names of the classes, as a rule those of the class folders, sorted by their bytes.
            A label is an index into them.
        files: Paths of the images; any sequence of them is packed into :class:`Paths`.
        labels: One label per file, int64 ``(N,)``; any sequence of them becomes that.
    """

    root: str
    classes: tuple[str, ...]
    files: "Paths"
    labels: np.ndarray

    def __post_init__(self):
        if not isinstance(self.files, Paths):
            object.__setattr__(self, "files", Paths.below(self.root, self.files))
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64))
        if self.labels.shape != (len(self.files),):
            raise ValueError(
                f"labels: expected one for each of {len(self.files)} files, got an array of shape "
                f"{self.labels.shape}"
            )

    def fingerprint(self) -> int:
        """A number that tells other files, labels and orders apart, wherever the folder lies."""
        names = ([name.lstrip(b"/") for name in chunk] for chunk, _ in self.chunks())
        labels = ([b"%d" % label for label in chunk] for _, chunk in self.chunks())
        return checksum(itertools.chain(names, labels))

    def chunks(self) -> Iterator[tuple[list[bytes], list[int]]]:
        """Names of files without their folder, and labels, some thousands at a time."""
        for at in range(0, len(self.labels), CHUNK):
            yield self.files.encoded(at, at + CHUNK), self.labels[at : at + CHUNK].tolist()


@dataclass(frozen=True, eq=False)
class MultilabelFolder(ImageFolder):
    """Image files with any number of labels each.

    To a loader each set of labels that occurs is a class, ``files[i]`` having the set
    ``sets[labels[i]]``. What it yields, mixed or not, are numbers of sets; :meth:`rows` makes
    multi-hot rows of them, which mix as the sets do, since mixing labels is linear.

    Attributes:
        names: Names of the classes.
        sets: Sets of labels, each an index into the names.
    """

    names: tuple[str, ...]
    sets: tuple[tuple[int, ...], ...]

    def rows(self) -> np.ndarray:
        """Multi-hot rows of the sets, float32 ``(sets, classes)``."""
        rows = np.zeros((len(self.sets), len(self.names)), np.float32)
        for row, labels in zip(rows, self.sets, strict=True):
            row[list(labels)] = 1.0
        return rows

    def fingerprint(self) -> int:
        """See :class:`ImageFolder`."""
        parts = [str(super().fingerprint()), *self.names, *map(str, self.sets)]
        return checksum([map(os.fsencode, parts)])


@dataclass(frozen=True, eq=False)
class Paths(Sequence[str]):
    """Paths of files: names below a folder, or absolute names.

    Attributes:
        names: The bytes of the names, a NUL after each, which no name can hold; uint8.
        ends: Where the NULs are, int64 ``(N,)``.
        folder: What the names follow: a folder and a slash, or nothing.
    """

    names: np.ndarray
    ends: np.ndarray
    folder: str

    @classmethod
    def of(cls, names: Iterable[bytes], folder: str = "") -> "Paths":
        """Pack names below a folder."""
        packed = bytearray()
        for name in names:
            packed += name + b"\0"
        array = np.frombuffer(packed, np.uint8)
        return cls(array, np.flatnonzero(array == 0), os.path.join(folder, ""))

    @classmethod
    def below(cls, folder: str, paths: Iterable[str]) -> "Paths":
        """Pack paths, of which most begin with a folder, which is then held once."""
        start = os.path.join(folder, "")
        names = (
            path[len(start) :] if path.startswith(start) else os.path.abspath(path)
            for path in paths
        )
        return cls.of(map(os.fsencode, names), folder)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        places = range(len(self))[index]
        if isinstance(index, slice):
            return tuple(self[place] for place in places)
        name = os.fsdecode(*self.encoded(places, places + 1))
        return name if name.startswith("/") else self.folder + name

    def encoded(self, first: int, last: int) -> list[bytes]:
        """Names from the first up to the last, without the folder; at least one."""
        start = self.ends[first - 1] + 1 if first else 0
        return self.names[start : self.ends[min(last, len(self)) - 1]].tobytes().split(b"\0")


def checksum(chunks: Iterable[Iterable[bytes]]) -> int:
    """CRC of lines, of which some come at a time."""
    found = 0
    for number, chunk in enumerate(chunks):
        found = zlib.crc32(b"\n" * bool(number) + b"\n".join(chunk), found)
    return found
