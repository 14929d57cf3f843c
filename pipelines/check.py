"""Lists every file of an image folder that the loaders cannot decode, and why.

    python -m dali_msda.pipelines.check DIR [--output LIST] [--workers N]

DIR holds one folder of images per class; or `--list` names its files and their labels. A file that
does not decode stops a pipeline. So each file must be in the table of formats and sizes that all
loaders take (data/image_formats.py), and `fn.decoders.image`, the loaders' decoder, must decode it
on the CPU. CMYK, greyscale, 16 bit, a PNG named .JPEG, broken EXIF and a single pixel are fine. A
JPEG that lacks a part of its picture is not, although the decoder takes it and fills the part with
grey. `--output` writes a list of all files that are fine, which the loaders take as `file_list`.

Exit code: 0 if all files are fine, 1 if some are not, 2 if the command cannot work as given.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dali_msda.pipelines.data import class_folders, datasets, file_lists
from dali_msda.pipelines.data.decodable import try_all


@dataclass
class Report:
    """What was found in a folder of images.

    Attributes:
        root: The folder.
        classes: Names of the class folders, sorted as the loaders sort them; a label is an index.
        good: Paths relative to the root, and labels, of the files that decode, in order.
        bad: Path relative to the root -> reason, for every other file.
        empty: Class folders in which no file decodes.
    """

    root: Path
    classes: list[str]
    good: list[tuple[str, int]] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether every file decodes and no class is empty."""
        return not (self.bad or self.empty)

    def write(self, path: str | os.PathLike) -> None:
        """Write the good files as lines "path label": a file list for the loaders and for DALI.

        A path may hold spaces: the label stands after the last one. The list appears whole or not
        at all.
        """
        path = Path(path)
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            os.close(descriptor)
            try:
                file_lists.write(temporary, self.good)
                os.chmod(temporary, 0o644)  # mkstemp makes it private
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise OSError(f"{path}: expected to write the list, got {error.strerror}") from error


def check(
    root: str | os.PathLike,
    *,
    file_list: file_lists.FileList | None = None,
    classes: Sequence[str] | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Report:
    """Try to decode every file of a folder of class folders, or every file of a list.

    Starts processes by ``spawn``: a script that calls it needs ``if __name__ == "__main__":``.

    Args:
        root: Folder with one folder of images per class.
        file_list: As for :func:`dali_msda.pipelines.data.datasets.find`: only these files.
        classes: As there: what the labels of the list stand for.
        workers: Processes that decode, at least 1; by default one for each CPU.
        progress: Show a bar on stderr.

    Returns:
        The report. Labels are those of the loaders: the index of the class folder in the sorted
        list of all folders, empty ones included, hidden ones not.

    Raises:
        ValueError: If ``workers`` is out of range, or the folder holds no class folder with images.
        NotADirectoryError: If there is no such folder.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    root = Path(root)
    if not root.is_dir():
        raise NotADirectoryError(
            f"{root}: expected a folder with one folder of images per class, got "
            f"{'a file' if os.path.lexists(root) else 'nothing of that name'}"
        )
    if file_list is None:
        report, files = _all_files(root)
    else:
        report, files = _listed_files(root, file_list, classes)
    results = try_all(root, [name for name, _ in files], workers=workers)
    reasons = dict(tqdm(results, total=len(files), desc="decode", unit="img", disable=not progress))
    for name, label in files:
        if reasons[name] is None:
            report.good.append((name, label))
        else:
            report.bad[name] = reasons[name]
    report.bad = dict(sorted(report.bad.items()))
    filled = {label for _, label in report.good}
    report.empty = [name for i, name in enumerate(report.classes) if i not in filled]
    return report


def _all_files(root: Path) -> tuple[Report, list[tuple[str, int]]]:
    """A report of what no reader takes, and the files to be decoded."""
    found = class_folders.scan(str(root))
    if not found.files:
        expected = f"{root}: expected one folder of images per class, got"
        if found.classes:
            raise ValueError(f"{expected} class folders without images ({len(found.classes)})")
        got = "only files; if a file tells their labels, give --list FILE" * bool(found.skipped)
        raise ValueError(f"{expected} {got or 'an empty folder'}")
    class_folders.expect_no_splits(str(root), found)
    report = Report(root, list(found.classes), bad=found.skipped)
    files = []
    for name, label in zip(found.files, found.labels.tolist(), strict=True):
        if "\n" in name:
            report.bad[name] = "line break in the name: no file list can hold it"
        else:
            files.append((name, label))
    return report, files


def _listed_files(
    root: Path, file_list: file_lists.FileList, classes: Sequence[str] | None
) -> tuple[Report, list[tuple[str, int]]]:
    """An empty report, and the files of a list."""
    source = datasets.find(str(root), name="folder", file_list=file_list, classes=classes)
    if not isinstance(source, datasets.ImageFolder):
        raise ValueError(f"{root}: expected a folder of images, got shards")
    names = [os.path.relpath(file, root) for file in source.files]
    return Report(root, list(source.classes)), list(zip(names, source.labels.tolist(), strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dali_msda.pipelines.check",
        description="List every file of an image folder that the loaders cannot decode, and why.",
        epilog="Exit code: 0 if all files are fine, 1 if some are not, 2 if nothing was checked.",
    )
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, help="one folder of images per class")
    add(
        "--output",
        metavar="LIST",
        type=Path,
        help="write the files that decode, as a list for the loaders",
    )
    add("--list", dest="file_list", help="check only these files: lines 'path label'")
    add("--classes-of", metavar="DIR", help="class folders that the list's labels mean")
    add("--workers", type=int, metavar="N", help="processes (all CPUs)")
    args = parser.parse_args(argv)
    try:
        if args.output is not None:
            _check_output(args.output)
        classes = class_folders.scan(args.classes_of).classes if args.classes_of else None
        options = dict(file_list=args.file_list, classes=classes, workers=args.workers)
        report = check(args.folder, **options, progress=True)
        if args.output is not None:
            report.bad.pop(os.path.relpath(args.output, args.folder), None)  # of an earlier run
            report.write(args.output)
    except (ValueError, OSError) as error:
        parser.error(_one_line(error))
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    _show(report)
    if args.output is not None:
        print(f"{args.output}: {len(report.good)} files")
    return 0 if report.fine else 1


def _check_output(path: Path) -> None:
    """Raise ``ValueError`` unless a list can be written there: now, not after an hour."""
    wrong = {
        "a folder": path.is_dir(),
        "a place in a folder that does not exist": not path.parent.is_dir(),
        "a place in a folder that cannot be written to": not os.access(path.parent, os.W_OK),
    }
    for got, is_so in wrong.items():
        if is_so:
            raise ValueError(f"--output: expected a file to write, got {path}, {got}")


def _show(report: Report) -> None:
    """Print the report: problems first, then one line that sums up."""
    for name, reason in report.bad.items():
        print(f"{_printable(str(report.root / name))}: {reason}")
    for name in report.empty:
        print(
            f"{_printable(str(report.root / name))}: expected images of this class, got none that "
            f"decodes. Fill the folder, or remove it: it has label {report.classes.index(name)}"
        )
    print(
        f"{report.root}: {len(report.good)} files of {len(report.classes)} classes decode, "
        f"{len(report.bad)} do not, {len(report.empty)} classes are empty"
    )


def _printable(name: str) -> str:
    """A file name as one line, in characters that the terminal can show."""
    encoding = sys.stdout.encoding or "utf-8"
    line = name.replace("\n", "\\n").replace("\r", "\\r")
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _one_line(error: Exception) -> str:
    """The text of an error; for an error of the system it names the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a temporary file'}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
