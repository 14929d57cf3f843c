"""Writes a folder of images into a .beton file for FFCV's loader.

    python -m dali_msda.pipelines.write_beton DIR OUT [--max-resolution 500 --write-mode jpg]

DIR holds one folder of images per class; labels are the indices of the sorted folder names, as for
all loaders here. The file has two fields, `image` and `label`. It appears whole or not at all:
until it is done, its name is .OUT.unfinished.

Files are decoded as the other loaders decode them. So whatever `python -m
dali_msda.pipelines.check` takes is written, CMYK, greyscale and 16 bit included. The first file
that cannot be decoded ends the command with its name. `--list` then names the files to write, as
`check --output` lists them.
"""

import argparse
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from dali_msda.pipelines.data import class_folders, datasets, file_lists

MODES = ("raw", "jpg", "smart", "proportion")


def write_beton(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    file_list: file_lists.FileList | None = None,
    classes: Sequence[str] | None = None,
    write_mode: str = "raw",
    max_resolution: int | None = None,
    jpeg_quality: int = 90,
    smart_threshold: int | None = None,
    compress_probability: float = 0.5,
    workers: int | None = None,
    chunk_size: int = 100,
    progress: bool = False,
) -> int:
    """Write a folder of class folders, or the files of a list, into a .beton.

    Starts processes by ``spawn``: a script that calls it needs ``if __name__ == "__main__":``.

    Args:
        folder: Folder with one folder of images per class.
        out: The file to write; its name ends in ".beton".
        file_list: As for :func:`dali_msda.pipelines.data.datasets.find`: only these files.
        classes: As there: what the labels of the list stand for.
        write_mode: "raw" for pixels; "jpg"; "smart" for JPEGs of those images whose pixels take
            more than ``smart_threshold`` bytes; "proportion" for JPEGs of a random part.
        max_resolution: Longest side, in pixels, to which larger images are shrunk.
        jpeg_quality: Quality of the images that become JPEGs, from 1 to 100.
        smart_threshold: Bytes of pixels above which "smart" makes a JPEG; for "smart" only.
        compress_probability: Probability that an image becomes a JPEG, for "proportion" only.
        workers: Processes; by default one for each CPU.
        chunk_size: Files that a process takes at a time.
        progress: Show a bar on stderr.

    Returns:
        The number of images.

    Raises:
        ValueError: If an argument is out of range, the folder holds no images, or a file cannot be
            decoded or stored; the text names the file.
        OSError: If nothing can be read or written there.
        ImportError: If FFCV is not installed.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    _expect_counts(
        workers=workers,
        chunk_size=chunk_size,
        max_resolution=1 if max_resolution is None else max_resolution,
        smart_threshold=1 if smart_threshold is None else smart_threshold,
    )
    _check_mode(write_mode, jpeg_quality, smart_threshold, compress_probability)
    out = Path(out)
    if out.suffix != ".beton":
        raise ValueError(f"out: expected a name that ends in .beton, got {str(out)!r}")
    source = datasets.find(os.fspath(folder), name="folder", file_list=file_list, classes=classes)
    if not isinstance(source, datasets.ImageFolder):
        raise ValueError(f"folder: expected one of class folders, got shards, {str(folder)!r}")

    from dali_msda.pipelines.data.beton_writer import RGBImageField, Writer

    field = RGBImageField(
        write_mode,
        smart_threshold=smart_threshold,
        jpeg_quality=jpeg_quality,
        compress_probability=compress_probability,
    )
    options = dict(max_resolution=max_resolution, workers=workers, chunk_size=chunk_size)
    total = len(source.files)
    with (
        _whole_or_not_at_all(out) as unfinished,
        tqdm(total=total, desc="write", unit="img", disable=not progress) as bar,
    ):
        Writer(unfinished, field, **options).write(source, bar.update)
    return total


def _expect_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")


def _check_mode(mode: str, quality: int, threshold: int | None, probability: float) -> None:
    if mode not in MODES:
        raise ValueError(f"write_mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if not 1 <= quality <= 100:
        raise ValueError(f"jpeg_quality: expected a number in [1, 100], got {quality}")
    if not 0 <= probability <= 1:
        raise ValueError(f"compress_probability: expected a number in [0, 1], got {probability}")
    if (mode == "smart") != (threshold is not None):
        raise ValueError(
            "smart_threshold: expected bytes with write_mode 'smart', and with no other mode, got "
            f"{threshold} with {mode!r}"
        )


@contextlib.contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """Yield a path beside a file to write to; at the end it takes the file's name, or is removed.

    A run that was killed leaves that path as it is, and the next run begins it anew.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    with open(unfinished, "ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"out: expected a file that nobody writes, got {str(path)!r}, which another "
                "process is writing"
            ) from None
        try:
            yield unfinished
            os.fsync(held.fileno())  # the name must not reach the disk before the contents
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dali_msda.pipelines.write_beton",
        description="Write a folder of images into a .beton file for FFCV's loader.",
    )
    parser.add_argument("folder", metavar="DIR", help="one folder of images per class")
    parser.add_argument("out", metavar="OUT", help="the file to write, NAME.beton")
    add = parser.add_argument
    add("--list", dest="file_list", help="write only these files (from pipelines.check --output)")
    add("--classes-of", metavar="DIR", help="class folders that the list's labels mean")
    add("--write-mode", choices=MODES, default="raw", help="how images are stored (raw)")
    add("--max-resolution", type=int, metavar="N", help="longest side, in pixels (any)")
    add("--jpeg-quality", type=int, metavar="N", default=90, help="of images stored as JPEG (90)")
    add("--smart-threshold", type=int, metavar="BYTES", help="smart: larger images become JPEGs")
    add(
        "--compress-probability",
        type=float,
        metavar="P",
        default=0.5,
        help="proportion: share of images that become JPEGs (0.5)",
    )
    add("--workers", type=int, metavar="N", help="processes (all CPUs)")
    add("--chunk-size", type=int, metavar="N", default=100, help="files a process takes (100)")
    arguments = vars(parser.parse_args(argv))
    classes_of = arguments.pop("classes_of")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        classes = class_folders.scan(classes_of).classes if classes_of else None
        total = write_beton(**arguments, classes=classes, progress=True)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments['out']}: {total} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
