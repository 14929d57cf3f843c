"""A folder with one folder of images per class, read as torchvision's ``ImageFolder`` reads it.

Images in folders inside a class folder belong to the class. Unlike torchvision, this passes over
folders whose names begin with a dot, because editors and notebooks leave such folders behind.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dali_msda.pipelines.data.image_files import Paths

# What `fn.readers.file` takes for an image; other files in a class folder are passed over.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pnm", ".ppm", ".pgm", ".pbm"),
    *(".jp2", ".webp"),
)
ENCODED_SUFFIXES = tuple(map(str.encode, SUFFIXES))
HIDDEN = "a hidden folder: the loaders skip it"


class ClassFolders(NamedTuple):
    """What was found.

    Attributes:
        classes: Names of the class folders, sorted by their bytes; a label is an index into them.
        files: Path relative to the root of each file with the name of an image.
        labels: Their labels, int64 ``(N,)``.
        skipped: For everything else, its path relative to the root, and why it is skipped.
    """

    classes: tuple[str, ...]
    files: Paths
    labels: np.ndarray
    skipped: dict[str, str]

    @property
    def hidden(self) -> list[str]:
        """The skipped folders whose names begin with a dot."""
        return [path for path, reason in self.skipped.items() if reason == HIDDEN]


def scan(root: str) -> ClassFolders:
    """Find the classes and their files; the order is the same on every machine."""
    skipped: dict[str, str] = {}
    classes = []
    for entry in _sorted(os.scandir(os.fsencode(root))):
        if entry.is_dir() and not _is_hidden(entry, entry.name, skipped):
            classes.append(entry.name)
        elif not entry.is_dir():
            reason = why_skipped(entry) or "not in a class folder: the loaders skip it"
            skipped[os.fsdecode(entry.name)] = reason
    counts = []
    files = Paths.of(_files(os.fsencode(root), classes, counts, skipped))
    labels = np.repeat(np.arange(len(classes)), counts)
    return ClassFolders(tuple(map(os.fsdecode, classes)), files, labels, skipped)


def expect_no_splits(root: str, found: ClassFolders) -> None:
    """Raise ``ValueError`` for a folder of training and validation images, not classes."""
    if not {"train", *found.classes} <= {"train", "val", "valid", "test"}:
        return
    if found.files and all(path.count("/") > 1 for path in found.files):
        raise ValueError(
            f"{root}: expected one folder of images per class, got folders of folders. Check one "
            f"of them: {os.path.join(root, found.classes[-1])}"
        )


def why_skipped(entry: os.DirEntry) -> str | None:
    """Why an entry is no file with the name of an image; None if it is one."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        return f"broken link to {os.fsdecode(os.readlink(entry.path))}"
    if not entry.is_file():
        return "not a regular file"
    if not entry.name.lower().endswith(ENCODED_SUFFIXES):
        return "not the name of an image: the loaders skip it"
    return None


def _files(
    root: bytes, classes: list[bytes], counts: list[int], skipped: dict[str, str]
) -> Iterator[bytes]:
    """Names of the images in each class folder; how many these are goes into ``counts``."""
    for folder in classes:
        counts.append(0)
        # In the order in which torchvision sorts the folders inside it.
        for place, files in sorted(_places(root, folder, skipped, ())):
            counts[-1] += len(files)
            yield from (b"%s/%s" % (place, file) for file in files)


def _places(
    root: bytes, place: bytes, skipped: dict[str, str], above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[bytes, list[bytes]]]:
    """Each folder in a class folder, that one included, and the images in it, sorted."""
    status = os.stat(os.path.join(root, place))
    here = (status.st_dev, status.st_ino)
    if here in above:
        skipped[os.fsdecode(place)] = "a link to a folder above it"
        return
    files, others = [], []
    with os.scandir(os.path.join(root, place)) as entries:
        for entry in entries:  # of a million files nothing is asked that the folder does not tell
            if entry.name.lower().endswith(ENCODED_SUFFIXES) and entry.is_file(
                follow_symlinks=False
            ):
                files.append(entry.name)
            else:
                others.append(entry)
    for entry in _sorted(others):
        inside = b"%s/%s" % (place, entry.name)
        if entry.is_dir():
            if not _is_hidden(entry, inside, skipped):
                yield from _places(root, inside, skipped, (*above, here))
        elif reason := why_skipped(entry):
            skipped[os.fsdecode(inside)] = reason
        else:
            files.append(entry.name)
    yield place, sorted(files)


def _is_hidden(entry: os.DirEntry, path: bytes, skipped: dict[str, str]) -> bool:
    if entry.name.startswith(b"."):
        skipped[os.fsdecode(path)] = HIDDEN
    return entry.name.startswith(b".")


def _sorted(entries: Iterator[os.DirEntry] | list[os.DirEntry]) -> list[os.DirEntry]:
    """Entries in the order of their bytes, since the system's order is arbitrary."""
    return sorted(entries, key=lambda entry: entry.name)
