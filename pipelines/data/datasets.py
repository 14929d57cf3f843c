"""What lies on the disk: a folder of class folders with images, WebDataset shards, or a .beton.

Everything that can be wrong with a path is found here, before a pipeline is built, because a reader
that meets an empty folder or a stray class says little about it.
"""

import glob
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# What `fn.readers.file` takes for an image; everything else in a class folder is passed over.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pnm", ".ppm", ".pgm", ".pbm"),
    *(".jp2", ".webp"),
)
SHOWN = 5  # names in an error message


class DatasetError(RuntimeError):
    """Files of the dataset that cannot be used. The text names them."""


@dataclass(frozen=True)
class ImageFolder:
    """Image files and their labels.

    Attributes:
        root: The folder, with one folder per class.
        classes: Names of the class folders, sorted by their bytes; a label is an index into them.
        files: Paths of the images.
        labels: One label per file.
    """

    root: str
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]

    def fingerprint(self) -> int:
        """A number that differs for other files, labels or order, wherever the folder lies."""
        names = [file.removeprefix(self.root).lstrip("/") for file in self.files]
        return _checksum([*names, *map(str, self.labels)])


@dataclass(frozen=True)
class Shards:
    """WebDataset archives: ``NAME.jpg`` and ``NAME.cls`` for each sample, the label in digits.

    Attributes:
        paths: The ``.tar`` files, sorted.
        indexes: One index file (DALI's ``wds2idx.py``) per archive, or nothing: DALI then reads
            the archives once before the first batch to find the samples.
    """

    paths: tuple[str, ...]
    indexes: tuple[str, ...] = ()

    def fingerprint(self) -> int:
        """A number that differs for other archives, judged by name and size."""
        return _checksum([f"{os.path.basename(p)} {os.path.getsize(p)}" for p in self.paths])


@dataclass(frozen=True, eq=False)
class Beton:
    """FFCV's file of images and labels, as ``python -m dali_msda.pipelines.write_beton`` writes it.

    Attributes:
        path: The file.
        labels: One label per image, int64 ``(N,)``.
        sizes: Height and width of the images as they are stored, ``(N, 2)``.
        fields: Names of all that the file holds of a sample.
    """

    path: str
    labels: np.ndarray
    sizes: np.ndarray
    fields: tuple[str, ...]

    def fingerprint(self) -> int:
        """A number that differs for other labels, sizes or order, whoever wrote the file."""
        return zlib.crc32(self.sizes.tobytes(), zlib.crc32(self.labels.tobytes()))


Source = ImageFolder | Shards | Beton


def find(path: str, *, name: str = "path", file_list: str | None = None) -> Source:
    """Find the images that a loader shall read, and check all that can be checked by name.

    Args:
        path: A folder with one folder of images per class, a folder of ``.tar`` files, one
            ``.tar`` file, or a glob pattern of them. An archive's index, if it has one, is the
            file of the same name that ends in ``.idx``. Or a ``.beton`` file.
        name: What messages call the path: "train", "val".
        file_list: Text file of lines "path label", the path relative to ``path``, as
            ``python -m dali_msda.pipelines.check`` writes it; only these files are read. The
            classes are still the folders in ``path``.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it holds no images, or a class has none, or the list is malformed.
        ImportError: If it is a ``.beton`` and FFCV is not installed.
    """
    if path.endswith(".beton") and os.path.isfile(path):
        if file_list is not None:
            raise ValueError(f"{name}_list: expected none with a .beton file, got {file_list!r}")
        from dali_msda.pipelines.data.beton_reader import read

        return Beton(path, *read(path, name))
    if not os.path.isdir(path):
        archives = _archives(path)
        if not archives:
            got = "another file" if os.path.exists(path) else "where there is nothing"
            raise FileNotFoundError(
                f"{name}: expected a folder, .tar shards as a file or a glob pattern, or a .beton, "
                f"got {path!r}, {got}."
            )
    else:
        archives = _archives(os.path.join(glob.escape(path), "*.tar"))
    if archives:
        if file_list is not None:
            raise ValueError(
                f"{name}_list: expected none with .tar shards, got {file_list!r}. A file list "
                "names files in a folder of class folders."
            )
        return _shards(archives, name)
    return _folder(path, name, file_list)


def check_same_classes(train: Source, val: Source) -> None:
    """Raise ``ValueError`` unless a label means the same class in both; only folders tell."""
    folders = isinstance(train, ImageFolder) and isinstance(val, ImageFolder)
    if not folders or train.classes == val.classes:
        return
    missing = sorted(set(train.classes) - set(val.classes))
    extra = sorted(set(val.classes) - set(train.classes))
    parts = [f"{_some(missing)} only in {train.root}"] * bool(missing)
    parts += [f"{_some(extra)} only in {val.root}"] * bool(extra)
    raise ValueError(
        f"val: expected the class folders of train, got {'; '.join(parts)}. Labels are the indices "
        "of the sorted folder names, so the two would not agree."
    )


def _checksum(lines: Sequence[str]) -> int:
    return zlib.crc32(os.fsencode("\n".join(lines)))


def _archives(pattern: str) -> list[str]:
    found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern)
    return sorted(path for path in found if path.endswith(".tar"))


def _shards(archives: Sequence[str], name: str) -> Shards:
    indexes = [os.path.splitext(path)[0] + ".idx" for path in archives]
    missing = [path for path in indexes if not os.path.isfile(path)]
    if not missing:
        return Shards(tuple(archives), tuple(indexes))
    if len(missing) < len(archives):
        raise ValueError(
            f"{name}: expected an index for each of the {len(archives)} shards or for none, got "
            f"none for {_some(missing)}. Make them with DALI's wds2idx, or remove the others."
        )
    return Shards(tuple(archives))


def _folder(root: str, name: str, file_list: str | None) -> ImageFolder:
    entries = sorted(os.scandir(root), key=lambda entry: os.fsencode(entry.name))
    classes = tuple(entry.name for entry in entries if entry.is_dir())
    if not classes:
        images = any(_is_image(entry) for entry in entries)
        got = "images without class folders" if images else "other files" if entries else "nothing"
        raise ValueError(
            f"{name}: expected one folder of images per class in {root!r}, got {got}. Give the "
            "folder above the class folders."
        )
    if file_list is None:
        files, labels = _listed_folders(root, classes)
    else:
        files, labels = _listed_file(file_list, root, len(classes), name)
    filled = set(labels)
    empty = [folder for label, folder in enumerate(classes) if label not in filled]
    if empty:
        raise ValueError(
            f"{name}: expected images in each of the {len(classes)} class folders of {root!r}, got "
            f"none in {_some(empty)}. Remove the folder or fill it; images end in "
            f"{', '.join(SUFFIXES[:3])}, ..."
        )
    return ImageFolder(root, classes, tuple(files), tuple(labels))


def _is_image(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and entry.is_file()


def _listed_folders(root: str, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    files, labels = [], []
    for label, folder in enumerate(classes):
        found = [entry.path for entry in os.scandir(os.path.join(root, folder)) if _is_image(entry)]
        files += sorted(found, key=os.fsencode)  # the order of a directory differs by machine
        labels += [label] * len(found)
    return files, labels


def _listed_file(path: str, root: str, classes: int, name: str) -> tuple[list[str], list[int]]:
    files, labels = [], []
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            file, _, label = line.rstrip("\r\n").rpartition(" ")
            if not line.strip():
                continue
            if not (file and label.isdecimal() and int(label) < classes):
                raise ValueError(
                    f"{name}_list: expected 'path label' with a label in [0, {classes}) in line "
                    f"{number} of {path!r}, got {line.strip()!r}"
                )
            files.append(os.path.join(root, file))
            labels.append(int(label))
    if not files:
        raise ValueError(f"{name}_list: expected lines 'path label', got an empty file {path!r}")
    return files, labels


def some(names: Sequence[str]) -> str:
    """The first few of several names, and how many more there are, for a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _some(names: Sequence[str]) -> str:
    return some([repr(name) for name in names])
