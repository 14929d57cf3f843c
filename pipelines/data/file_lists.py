"""Lists of image files with their labels, for folders that do not tell labels by class folders."""

import os
from collections.abc import Iterable, Mapping, Sequence

Line = tuple[str, str, str]  # path, label, and where that stands, for messages
FileList = str | os.PathLike | Mapping[str, int | str]
NO_LABEL = "-"  # what a list of several labels has where there is none


def read(
    file_list: FileList, root: str, own: Sequence[str], given: Sequence[str] | None, name: str
) -> tuple[tuple[str, ...], list[str], list[int]]:
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
    files = [file for file, _, _ in lines]
    inside = bool(own) and all(file.split("/", 1)[0] in own for file in files)
    if inside:
        classes = tuple(own)
    elif given is not None:
        classes = tuple(given)
    else:
        classes = _told_by({text for _, text, _ in lines})
    labels = _labels(lines, classes, name)
    if not inside and len(own) == 1 and not os.path.exists(os.path.join(root, files[0])):
        root = os.path.join(root, own[0])  # as Tiny ImageNet's val/images
    paths = [os.path.join(root, file) for file in files]
    _expect_files(paths, name)
    return classes, paths, labels


def read_sets(
    file_list: FileList, root: str, given: Sequence[str] | None, name: str
) -> tuple[tuple[str, ...], list[str], list[tuple[int, ...]]]:
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
    texts = [() if text == NO_LABEL else tuple(text.split(",")) for _, text, _ in lines]
    classes = tuple(given) if given is not None else _told_by({one for row in texts for one in row})
    rows = [
        (file, one, where)
        for (file, _, where), row in zip(lines, texts, strict=True)
        for one in row
    ]
    labels = iter(_labels(rows, classes, name))
    sets = [tuple(sorted({next(labels) for _ in row})) for row in texts]
    paths = [os.path.join(root, file) for file, _, _ in lines]
    _expect_files(paths, name)
    return classes, paths, sets


def write(path: str, lines: Iterable[tuple[str, int]]) -> None:
    """Write paths and labels, one pair per line."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        stream.writelines(f"{name} {label}\n" for name, label in lines)


def _labels(lines: Iterable[Line], classes: Sequence[str], name: str) -> list[int]:
    numbers = {folder: label for label, folder in enumerate(classes)}
    labels = []
    for _, text, where in lines:
        label = int(text) if text.isdecimal() else numbers.get(text, -1)
        if not 0 <= label < len(classes):
            raise ValueError(
                f"{name}_list: expected 'path label' with a label in [0, {len(classes)}) {where}, "
                f"or with the name of a class, got {text!r}"
            )
        labels.append(label)
    return labels


def _lines(file_list: FileList, name: str) -> list[Line]:
    """Path, label and place of each entry."""
    if isinstance(file_list, Mapping):
        lines = [(file, str(label), f"for {file!r}") for file, label in file_list.items()]
    else:
        lines = list(_lines_of_file(file_list, name))
    if not lines:
        raise ValueError(
            f"{name}_list: expected lines 'path label', got an empty file {file_list!r}"
        )
    return lines


def _lines_of_file(path: str | os.PathLike, name: str) -> Iterable[Line]:
    """Path, label and place of each line that is not empty."""
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
            where = f"in line {number} of {str(path)!r}"
            if not (file and label):
                raise ValueError(f"{name}_list: expected 'path label' {where}, got {text!r}")
            yield file, label, where


def _told_by(labels: set[str]) -> tuple[str, ...]:
    """The classes, where only labels tell them: all names in order, or all numbers."""
    if labels and all(label.isdecimal() for label in labels):
        return tuple(map(str, range(max(map(int, labels)) + 1)))
    return tuple(sorted(labels, key=os.fsencode))


def _expect_files(paths: Sequence[str], name: str) -> None:
    """Raise ``ValueError`` unless all paths are regular files; a pipe would be waited for."""
    regular: dict[str, set[str]] = {}
    for path in paths:
        folder, file = os.path.split(path)
        if folder not in regular:
            entries = os.scandir(folder) if os.path.isdir(folder) else ()
            regular[folder] = {entry.name for entry in entries if entry.is_file()}
        if file not in regular[folder]:
            got = "another kind of file" if os.path.exists(path) else "nothing there"
            got = "a broken link" if os.path.islink(path) and not os.path.exists(path) else got
            raise ValueError(f"{name}_list: expected an image file at {path!r}, got {got}")
