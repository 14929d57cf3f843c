"""A folder with one folder of images per class, read as torchvision's ``ImageFolder`` reads it.

Images in folders inside a class folder belong to the class. Unlike torchvision, this passes over
folders whose names begin with a dot, because editors and notebooks leave such folders behind.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

# What `fn.readers.file` takes for an image; other files in a class folder are passed over.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pnm", ".ppm", ".pgm", ".pbm"),
    *(".jp2", ".webp"),
)


class ClassFolders(NamedTuple):
    """What was found.

    Attributes:
        classes: Names of the class folders, sorted by their bytes; a label is an index into them.
        files: Path relative to the root, and label, of each file with the name of an image.
        skipped: For everything else, its path relative to the root, and why it is skipped.
        hidden: The skipped folders whose names begin with a dot.
    """

    classes: tuple[str, ...]
    files: list[tuple[str, int]]
    skipped: dict[str, str]
    hidden: list[str]


def scan(root: str) -> ClassFolders:
    """Find the classes and their files; the order is the same on every machine."""
    found = ClassFolders((), [], {}, [])
    classes = []
    for entry in _sorted(root):
        if entry.is_dir() and not _is_hidden(entry, entry.name, found):
            classes.append(entry.name)
        elif not entry.is_dir():
            reason = why_skipped(entry) or "not in a class folder: the loaders skip it"
            found.skipped[entry.name] = reason
    for label, folder in enumerate(classes):
        places = dict(_places(root, folder, found, ()))
        for place in sorted(places, key=os.fsencode):  # as torchvision sorts them
            for entry in places[place]:
                path = f"{place}/{entry.name}"
                if reason := why_skipped(entry):
                    found.skipped[path] = reason
                else:
                    found.files.append((path, label))
    return found._replace(classes=tuple(classes))


def expect_no_splits(root: str, found: ClassFolders) -> None:
    """Raise ``ValueError`` for a folder of training and validation images, not classes."""
    nested = all(path.count("/") > 1 for path, _ in found.files)
    if found.files and nested and {"train", *found.classes} <= {"train", "val", "valid", "test"}:
        raise ValueError(
            f"{root}: expected one folder of images per class, got folders of folders. Check one "
            f"of them: {os.path.join(root, found.classes[-1])}"
        )


def why_skipped(entry: os.DirEntry) -> str | None:
    """Why an entry is no file with the name of an image; None if it is one."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        return f"broken link to {os.readlink(entry.path)}"
    if not entry.is_file():
        return "not a regular file"
    if not entry.name.lower().endswith(SUFFIXES):
        return "not the name of an image: the loaders skip it"
    return None


def _places(
    root: str, place: str, found: ClassFolders, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, list[os.DirEntry]]]:
    """Each folder in a class folder, that one included, and the files in it."""
    status = os.stat(os.path.join(root, place))
    here = (status.st_dev, status.st_ino)
    if here in above:
        found.skipped[place] = "a link to a folder above it"
        return
    files = []
    for entry in _sorted(os.path.join(root, place)):
        inside = f"{place}/{entry.name}"
        if not entry.is_dir():
            files.append(entry)
        elif not _is_hidden(entry, inside, found):
            yield from _places(root, inside, found, (*above, here))
    yield place, files


def _is_hidden(entry: os.DirEntry, path: str, found: ClassFolders) -> bool:
    if not entry.name.startswith("."):
        return False
    found.skipped[path] = "a hidden folder: the loaders skip it"
    found.hidden.append(path)
    return True


def _sorted(folder: str) -> list[os.DirEntry]:
    """Entries of a folder in the order of their bytes, since the system's order is arbitrary."""
    return sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
