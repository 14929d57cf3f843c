"""Lists of image files with their labels, for folders that do not tell labels by class folders."""

import itertools
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dali_msda.pipelines.data.image_files import Paths

FileList = str | os.PathLike | Mapping[str, int | str]
NO_LABEL = "-"  # what a list of several labels has where there is none


class Lines(NamedTuple):
    """What a list says, which may be of millions of files.

    Attributes:
        files: Path of each file.
        texts: The text of its label. Texts that are alike are one object.
        numbers: Lines of the file where these stand; none if the list is a mapping.
        path: Where the list lies.
    """

    files: list[str]
    texts: list[str]
    numbers: array
    path: str

    def place(self, index: int) -> str:
        """Where an entry stands, for messages."""
        if not self.numbers:
            return f"for {self.files[index]!r}"
        return f"in line {self.numbers[index]} of {self.path!r}"


def read(
    file_list: FileList, root: str, own: Sequence[str], given: Sequence[str] | None, name: str
) -> tuple[tuple[str, ...], Paths, list[int]]:
    """Read a list.

    Args:
        file_list: See :func:`dali_msda.pipelines.data.datasets.find`.
        root: Folder that the paths start from.
        own: Class folders in the root.
        given: Classes that the labels stand for where not all files lie in class folders; if None,
            the labels themselves tell them.
        name: What messages call the root: "train", "val".

    Returns:
        Classes, paths and labels.

    Raises:
        ValueError: If a line or a file is not as expected.
    """
    lines = _lines(file_list, name)
    folders = frozenset(own)
    inside = bool(own) and all(file.split("/", 1)[0] in folders for file in lines.files)
    if inside:
        classes = tuple(own)
    elif given is not None:
        classes = tuple(given)
    else:
        classes = _told_by(set(lines.texts))
    labels = _labels(zip(itertools.count(), lines.texts), lines, classes, name)
    files = lines.files
    if not inside and len(own) == 1 and not os.path.exists(os.path.join(root, files[0])):
        files = [os.path.join(own[0], file) for file in files]  # as Tiny ImageNet's val/images
    return classes, _paths(files, root, name), labels


def read_sets(
    file_list: FileList, root: str, given: Sequence[str] | None, name: str
) -> tuple[tuple[str, ...], Paths, list[tuple[int, ...]]]:
    """Read a list whose lines have any number of labels, "path cat,dog", or "-" for none.

    Args:
        file_list: As for :func:`read`; so are the others.
        root: Folder that the paths start from.
        given: Classes that the labels stand for; if None, the labels themselves tell them.
        name: What messages call the root.

    Returns:
        Classes, paths and the labels of each, in rising order.

    Raises:
        ValueError: If a line or a file is not as expected.
    """
    lines = _lines(file_list, name)
    texts = [() if text == NO_LABEL else tuple(text.split(",")) for text in lines.texts]
    classes = tuple(given) if given is not None else _told_by({one for row in texts for one in row})
    rows = ((index, one) for index, row in enumerate(texts) for one in row)
    labels = iter(_labels(rows, lines, classes, name))
    sets = [tuple(sorted({next(labels) for _ in row})) for row in texts]
    return classes, _paths(lines.files, root, name), sets


def write(path: str, lines: Iterable[tuple[str, int]]) -> None:
    """Write paths and labels, one pair per line."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        stream.writelines(f"{name} {label}\n" for name, label in lines)


def _labels(
    texts: Iterable[tuple[int, str]], lines: Lines, classes: Sequence[str], name: str
) -> list[int]:
    """Labels of texts, with each of which comes the index of the entry that it is from."""
    numbers = {folder: label for label, folder in enumerate(classes)}
    labels = []
    for index, text in texts:
        label = int(text) if text.isdecimal() else numbers.get(text, -1)
        if not 0 <= label < len(classes):
            raise ValueError(
                f"{name}_list: expected 'path label' with a label in [0, {len(classes)}) "
                f"{lines.place(index)}, or with the name of a class, got {text!r}"
            )
        labels.append(label)
    return labels


def _lines(file_list: FileList, name: str) -> Lines:
    if isinstance(file_list, Mapping):
        lines = Lines(list(file_list), list(map(str, file_list.values())), array("q"), "")
    else:
        lines = Lines([], [], array("q"), str(file_list))
        for number, file, text in _lines_of_file(file_list, name):
            lines.files.append(file)
            lines.texts.append(sys.intern(text))
            lines.numbers.append(number)
    if not lines.files:
        raise ValueError(
            f"{name}_list: expected lines 'path label', got an empty file {file_list!r}"
        )
    return lines


def _lines_of_file(path: str | os.PathLike, name: str) -> Iterator[tuple[int, str, str]]:
    """Number, path and label of each line that is not empty."""
    # A path may hold a carriage return, which is the end of a line only before a line feed.
    options = dict(encoding="utf-8-sig", errors="surrogateescape", newline="\n")
    with open(path, **options) as lines:
        for number, line in enumerate(lines, 1):
            text = line.removesuffix("\n").removesuffix("\r")
            if not text.strip():
                continue
            file, _, label = text.rpartition(" ")
            if not file and "\t" in text:  # Tiny ImageNet: name, class, box
                file, label = text.split("\t")[:2]
            if not (file and label):
                raise ValueError(
                    f"{name}_list: expected 'path label' in line {number} of {str(path)!r}, got "
                    f"{text!r}"
                )
            yield number, file, label


def _told_by(labels: set[str]) -> tuple[str, ...]:
    """The classes, where only labels tell them: all names in order, or all numbers."""
    if labels and all(label.isdecimal() for label in labels):
        return tuple(map(str, range(max(map(int, labels)) + 1)))
    return tuple(sorted(labels, key=os.fsencode))


def _paths(files: Sequence[str], root: str, name: str) -> Paths:
    """Paths below a root. ``ValueError`` unless all are files; a pipe would be waited for."""
    regular: dict[str, set[str]] = {}
    for file in files:
        base = file.rpartition("/")[2]
        folder = file[: len(file) - len(base)]
        if folder not in regular:
            place = os.path.join(root, folder)
            entries = os.scandir(place) if os.path.isdir(place) else ()
            regular[folder] = {entry.name for entry in entries if entry.is_file()}
        if base not in regular[folder]:
            path = os.path.join(root, file)
            got = "another kind of file" if os.path.exists(path) else "nothing there"
            got = "a broken link" if os.path.islink(path) and not os.path.exists(path) else got
            raise ValueError(f"{name}_list: expected an image file at {path!r}, got {got}")
    return Paths.of(map(os.fsencode, files), root)
