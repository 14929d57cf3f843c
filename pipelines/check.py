"""Lists every file of an image folder that the loaders cannot decode, and why.

    python -m dali_msda.pipelines.check DIR [--output LIST] [--workers N]

DIR holds one folder of images per class. A file that does not decode stops a DALI pipeline, so each
file is given to the decoder of the loaders, `fn.decoders.image` on the CPU. Whatever it takes is
accepted: CMYK, greyscale, 16 bit, a PNG named .JPEG, broken EXIF, a single pixel, and also a JPEG
whose data is damaged but complete. `--output` writes a list of all that decodes, which the loaders
take as their `file_list`.

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

from dali_msda.pipelines.data.datasets import SUFFIXES
from dali_msda.pipelines.data.decodable import try_all


@dataclass
class Report:
    """What was found in one folder of class folders.

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
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.writelines(f"{name} {label}\n" for name, label in self.good)
            os.chmod(temporary, 0o644)  # mkstemp makes it private
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def check(root: str | os.PathLike, *, workers: int | None = None, progress: bool = False) -> Report:
    """Try to decode every file of a folder of class folders.

    Starts processes by ``spawn``: a script that calls it needs ``if __name__ == "__main__":``.

    Args:
        root: Folder with one folder of images per class.
        workers: Processes that decode, at least 1; all CPUs by default.
        progress: Show a bar on stderr.

    Returns:
        The report. Labels are those of the loaders: the index of the class folder in the sorted
        list of all folders, hidden and empty ones included.

    Raises:
        ValueError: If ``workers`` is out of range, or the folder holds no class folder with images.
        NotADirectoryError: If there is no such folder.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    report, candidates = _scan(Path(root))
    results = try_all(report.root, list(candidates), workers=workers)
    bar = tqdm(results, total=len(candidates), desc="decode", unit="img", disable=not progress)
    reasons = dict(bar)
    for name, label in candidates.items():
        if reasons[name] is None:
            report.good.append((name, label))
        else:
            report.bad[name] = reasons[name]
    report.bad = dict(sorted(report.bad.items()))
    filled = {label for _, label in report.good}
    report.empty = [name for i, name in enumerate(report.classes) if i not in filled]
    return report


def _scan(root: Path) -> tuple[Report, dict[str, int]]:
    """The classes, the files that no reader takes, and path -> label of those to be decoded."""
    if not root.is_dir():
        raise NotADirectoryError(
            f"{root}: expected a folder with one folder of images per class, got "
            f"{'a file' if os.path.lexists(root) else 'nothing of that name'}"
        )
    entries = _sorted(root)
    report = Report(root, [entry.name for entry in entries if entry.is_dir()])
    for entry in entries:
        if not entry.is_dir():
            report.bad[entry.name] = _stray(entry) or "not in a class folder: the loaders skip it"
    candidates = {}
    for label, folder in enumerate(report.classes):
        for entry in _sorted(root / folder):
            name = f"{folder}/{entry.name}"
            reason = _stray(entry)
            if reason is None:
                candidates[name] = label
            else:
                report.bad[name] = reason
    if not candidates:
        raise ValueError(_no_images(report))
    return report, candidates


def _sorted(folder: Path) -> list[os.DirEntry]:
    """Entries of a folder in the order of the loaders, which compare bytes."""
    return sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))


def _stray(entry: os.DirEntry) -> str | None:
    """Why an entry is no file with the name of an image; None if it is one."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        return f"broken link to {os.readlink(entry.path)}"
    if entry.is_dir():
        return "a folder in a class folder: the loaders do not look inside"
    if not entry.is_file():
        return "not a regular file"
    if not entry.name.lower().endswith(SUFFIXES):
        return "not the name of an image: the loaders skip it"
    if "\n" in entry.name:
        return "line break in the name: no file list can hold it"
    return None


def _no_images(report: Report) -> str:
    """Text for a folder in which there is nothing to decode."""
    expected = f"{report.root}: expected one folder of images per class, got"
    if not report.classes:
        return f"{expected} {'only files' if report.bad else 'an empty folder'}"
    for folder in report.classes:
        if any(entry.is_dir() for entry in _sorted(report.root / folder)):
            return f"{expected} folders of folders. Check one of them: {report.root / folder}"
    return f"{expected} class folders without images ({len(report.classes)})"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dali_msda.pipelines.check",
        description="List every file of an image folder that the loaders cannot decode, and why.",
        epilog="Exit code: 0 if all files are fine, 1 if some are not, 2 if nothing was checked.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="one folder of images per class")
    parser.add_argument(
        "--output",
        metavar="LIST",
        type=Path,
        help="write the files that decode, as a list for the loaders",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (all CPUs)")
    args = parser.parse_args(argv)
    try:
        if args.output is not None:
            _check_output(args.output)
        report = check(args.folder, workers=args.workers, progress=True)
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
    """Raise ``ValueError`` unless a list can be written there: known now, not after an hour."""
    parent = path.parent
    got = (
        "a folder"
        if path.is_dir()
        else "a place in a folder that does not exist"
        if not parent.is_dir()
        else "a place in a folder that cannot be written to"
        if not os.access(parent, os.W_OK)
        else None
    )
    if got:
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
    """A file name in one line that the terminal takes."""
    encoding = sys.stdout.encoding or "utf-8"
    return name.replace("\n", "\\n").encode(encoding, "backslashreplace").decode(encoding)


def _one_line(error: Exception) -> str:
    """Text of an error; one of the system names the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
