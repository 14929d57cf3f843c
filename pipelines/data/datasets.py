"""Finds a data set on the disk: a folder of class folders, WebDataset shards, or a .beton.

Whatever can be wrong with a path is found here, before a pipeline is built, because a reader that
meets an empty folder or a stray class says little about it.
"""

import functools
import glob
import os
import tempfile
import warnings
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dali_msda.pipelines.data import class_folders, file_lists, shard_index
from dali_msda.pipelines.data.class_folders import SUFFIXES
from dali_msda.pipelines.data.errors import DatasetError, first_few, quoted
from dali_msda.pipelines.data.image_files import ImageFolder, MultilabelFolder, Paths, checksum

SAMPLED, SAMPLED_BYTES = 64, 1 << 16  # images of a .beton whose first bytes are compared

__all__ = [
    "Beton",
    "DatasetError",
    "ImageFolder",
    "MultilabelFolder",
    "Shards",
    "Source",
    "find",
    "first_few",
]


@dataclass(frozen=True)
class Shards:
    """WebDataset archives: ``NAME.jpg`` and ``NAME.cls`` for each sample, the label in digits.

    Attributes:
        paths: The ``.tar`` files, sorted.
        indexes: One index file per archive, as DALI's ``wds2idx.py`` writes it. Without them the
            archives are read once before the first batch, to find the samples.
    """

    paths: tuple[str, ...]
    indexes: tuple[str, ...] = ()

    @functools.cached_property
    def index_files(self) -> tuple[str, ...]:
        """An index for each archive: the one beside it, or a temporary one that is made now.

        Raises:
            DatasetError: If an archive is no tar file or lacks samples.
        """
        if self.indexes:
            for pair in zip(self.paths, self.indexes, strict=True):
                shard_index.expect_whole(*pair)
            return self.indexes
        folder = tempfile.TemporaryDirectory(prefix="dali_msda_index_")
        weakref.finalize(self, folder.cleanup)
        made = [os.path.join(folder.name, f"{number}.idx") for number in range(len(self.paths))]
        for pair in zip(self.paths, made, strict=True):
            shard_index.write(*pair)
        return tuple(made)

    def fingerprint(self) -> int:
        """A number that tells other archives apart, by their names and sizes."""
        sizes = (f"{os.path.basename(path)} {os.path.getsize(path)}" for path in self.paths)
        return checksum([map(os.fsencode, sizes)])


@dataclass(frozen=True, eq=False)
class Beton:
    """FFCV's file of images and labels, as ``python -m dali_msda.pipelines.write_beton`` writes it.

    Attributes:
        path: The file.
        labels: One label per image, int64 ``(N,)``.
        sizes: Height and width of the images as they are stored, ``(N, 2)``.
        places: Where they begin in the file and how many bytes they take, ``(N, 2)``.
        fields: Names of all fields that the file has for a sample.
    """

    path: str
    labels: np.ndarray
    sizes: np.ndarray
    places: np.ndarray
    fields: tuple[str, ...]

    def fingerprint(self) -> int:
        """A number that tells other images, labels and orders apart, whoever wrote the file.

        Of images it knows their sizes, in pixels and bytes, and the first bytes of some.
        """
        known = (self.labels, self.sizes, self.places[:, 1])
        found = functools.reduce(lambda crc, part: zlib.crc32(part.tobytes(), crc), known, 0)
        some = np.linspace(0, len(self.labels) - 1, SAMPLED).astype(int)
        with open(self.path, "rb") as file:
            for start, length in self.places[some].tolist():
                file.seek(start)
                found = zlib.crc32(file.read(min(length, SAMPLED_BYTES)), found)
        return found


Source = ImageFolder | Shards | Beton


def find(
    path: str,
    *,
    name: str = "path",
    file_list: file_lists.FileList | None = None,
    classes: Sequence[str] | None = None,
    multilabel: bool = False,
) -> Source:
    """Find the images that a loader is to read, and check all that their names can tell.

    Args:
        path: A folder with one folder of images per class, read as torchvision's ``ImageFolder``
            reads it, but without hidden folders; a folder of ``.tar`` files, one ``.tar`` file, or
            a glob pattern of them; or a ``.beton`` file. An archive's index, if it has one, is the
            file of the same name that ends in ``.idx``.
        name: What messages call the path: "train", "val".
        file_list: Text file of lines "path label", the path relative to ``path``, as
            ``python -m dali_msda.pipelines.check`` writes it; or a mapping of paths to labels. Only
            these files are read. A label is an index or the name of a class, so that folders
            without class folders can be read: the flat validation folder of ImageNet, or that of
            Tiny ImageNet with its ``val_annotations.txt``.
        classes: Names of the classes that the labels of a list stand for, where its files do not
            all lie in class folders: for validation, the classes of the training images. By
            default the labels themselves tell the classes.
        multilabel: Whether the list, which there must be, has lines "path cat,dog", of any number
            of labels: it then makes a :class:`MultilabelFolder`.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it holds no images, or a class has none, or the list is malformed.
        ImportError: If it is a ``.beton`` and FFCV is not installed.
    """
    if multilabel:
        return _multilabel(path, name, file_list, classes)
    if path.endswith(".beton") and os.path.isfile(path):
        _expect_no_list(file_list, name, "with a .beton file")
        from dali_msda.pipelines.data.beton_reader import read

        return Beton(path, *read(path, name))
    is_folder = os.path.isdir(path)
    archives = _archives(os.path.join(glob.escape(path), "*.tar") if is_folder else path)
    if not (is_folder or archives):
        got = "another file" if os.path.exists(path) else "where there is nothing"
        raise FileNotFoundError(
            f"{name}: expected a folder, .tar shards as a file or a glob pattern, or a .beton, "
            f"got {path!r}, {got}."
        )
    found = class_folders.scan(path) if is_folder else None
    if archives and not (found and found.files):
        _expect_no_list(file_list, name, "with .tar shards")
        return _shards(archives, name)
    class_folders.expect_no_splits(path, found)
    hidden = [f"folders whose names begin with a dot: {quoted(found.hidden)}"] * bool(found.hidden)
    beside = [f"archives beside class folders: {quoted(archives)}"] * bool(archives)
    if file_list is None and (hidden or beside):
        warnings.warn(f"{name}: skipped {'; '.join(hidden + beside)}", stacklevel=2)
    if file_list is None:
        return _folder(path, name, found)
    source = ImageFolder(path, *file_lists.read(file_list, path, found.classes, classes, name))
    if classes is None:
        _expect_all_classes(source, name)
    return source


def check_same_classes(train: Source, val: Source) -> None:
    """Raise ``ValueError`` unless a label means the same class in both; only folders can tell."""
    if isinstance(train, MultilabelFolder):
        return  # those of validation were read with the classes of train
    folders = isinstance(train, ImageFolder) and isinstance(val, ImageFolder)
    if not folders or train.classes == val.classes:
        return
    missing = sorted(set(train.classes) - set(val.classes))
    extra = sorted(set(val.classes) - set(train.classes))
    parts = [f"{quoted(missing)} only in {train.root}"] * bool(missing)
    parts += [f"{quoted(extra)} only in {val.root}"] * bool(extra)
    raise ValueError(
        f"val: expected the class folders of train, got {'; '.join(parts)}. Labels are the indices "
        "of the sorted folder names, so the two would not agree. If a file tells the labels, "
        "as Tiny ImageNet's val_annotations.txt, give --val-list FILE."
    )


def number_of_classes(source: Source, num_classes: int | None) -> int:
    """The classes that a source tells, or that were given for it.

    Raises:
        ValueError: If they differ.
        DatasetError: If a file in a folder has another label.
    """
    if isinstance(source, Shards):
        if num_classes is None:
            raise ValueError(
                "num_classes: expected a number with .tar shards, got none. Give --classes N."
            )
        return num_classes
    if isinstance(source, Beton):
        least = int(source.labels.max()) + 1
        # Without a number, a single damaged label could ask for a model of any size.
        most = len(source.labels) if num_classes is None else num_classes
        if most < least:
            got = f"none, with {most} images. Give --classes N." if num_classes is None else most
            raise ValueError(
                f"num_classes: expected at least {least}, for the labels of {source.path!r}, "
                f"got {got}"
            )
        return num_classes or least
    if num_classes not in (None, len(source.classes)):
        raise ValueError(
            f"num_classes: expected {len(source.classes)}, the classes of {source.root!r}, "
            f"got {num_classes}"
        )
    count = len(source.classes)
    wrong = np.flatnonzero((source.labels < 0) | (source.labels >= count))
    if len(wrong):
        raise DatasetError(
            f"{first_few([source.files[place] for place in wrong])}: expected a label in "
            f"[0, {count}), got {source.labels[wrong[0]]}"
        )
    return count


def _multilabel(
    path: str, name: str, file_list: file_lists.FileList | None, classes: Sequence[str] | None
) -> MultilabelFolder:
    if file_list is None or not os.path.isdir(path):
        got = f"no list for {path!r}" if file_list is None else f"{path!r}, which is no folder"
        raise ValueError(
            f"{name}: expected a folder and a list of lines 'path cat,dog' for several labels an "
            f"image, got {got}"
        )
    names, files, found = file_lists.read_sets(file_list, path, classes, name)
    sets = sorted(set(found))
    numbers = {labels: number for number, labels in enumerate(sets)}
    texts = tuple(",".join(names[label] for label in labels) for labels in sets)
    labels = [numbers[labels] for labels in found]
    return MultilabelFolder(path, texts, files, labels, names, tuple(sets))


def _expect_no_list(file_list: file_lists.FileList | None, name: str, where: str) -> None:
    if file_list is not None:
        raise ValueError(
            f"{name}_list: expected none {where}, got {file_list!r}. A file list names files in a "
            "folder."
        )


def _archives(pattern: str) -> list[str]:
    found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern)
    return sorted(path for path in found if path.endswith(".tar") and os.path.isfile(path))


def _shards(archives: Sequence[str], name: str) -> Shards:
    indexes = [os.path.splitext(path)[0] + ".idx" for path in archives]
    missing = [path for path in indexes if not os.path.isfile(path)]
    if not missing:
        return Shards(tuple(archives), tuple(indexes))
    if len(missing) < len(archives):
        raise ValueError(
            f"{name}: expected an index for each of the {len(archives)} shards or for none, got "
            f"none for {quoted(missing)}. Make them with DALI's wds2idx, or remove the others."
        )
    return Shards(tuple(archives))


def _folder(root: str, name: str, found: class_folders.ClassFolders) -> ImageFolder:
    if not found.classes:
        images = any(path.lower().endswith(SUFFIXES) for path in found.skipped)
        got = "images without class folders" if images else "other files" if found.skipped else ""
        flag = f"--{name}-list" if name in ("train", "val") else "--list"
        raise ValueError(
            f"{name}: expected one folder of images per class in {root!r}, got {got or 'nothing'}. "
            "Give the folder above the class folders; or, if a file tells the labels, as of "
            f"ImageNet's flat validation folder, {flag} FILE with lines 'path label', where a "
            "label is the name of a class folder of train, or its index among them."
        )
    files = Paths(found.files.names, found.files.ends, os.path.join(root, ""))
    source = ImageFolder(root, found.classes, files, found.labels)
    _expect_all_classes(source, name)
    return source


def _expect_all_classes(source: ImageFolder, name: str) -> None:
    filled = set(np.unique(source.labels).tolist())
    empty = [folder for label, folder in enumerate(source.classes) if label not in filled]
    if empty:
        raise ValueError(
            f"{name}: expected images in each of the {len(source.classes)} class folders of "
            f"{source.root!r}, got none in {quoted(empty)}. Remove the folder or fill it; "
            f"images end in {', '.join(SUFFIXES[:3])}, ..."
        )
