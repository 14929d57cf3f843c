"""A folder with as many names as ImageNet's, all of them links to a few JPEGs.

It takes 60 MB of the disk and half a minute of the case, and is removed when the benchmark ends,
however that ends.
"""

import atexit
import functools
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.cases import Missing

BUILD = Path(__file__).parents[2] / "build" / "bench"
JPEGS = 48  # of the demo's photographs; a file system may refuse more than 65,000 links to one
BYTES_A_NAME, BYTES_A_CLASS = 128, 8192  # in folders: more than any file system takes
# A process of its own, since this one may be killed. It is no member of its group, to which Ctrl-C
# goes.
REMOVER = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1])"


@functools.cache
def linked(names: int, classes: int) -> Path:
    """Make a folder of class folders with so many names, as evenly as it goes.

    Raises:
        Missing: If the disk has no room, or no links.
    """
    place = _place()
    _expect_room(place, names, classes)
    root = place / f"{names}-{classes}"
    originals = itertools.cycle(sorted(map(str, (place / "jpegs").glob("train/*/*.jpg"))))
    try:
        for label in range(classes):
            name = f"n{10_000_000 + 7 * label}"  # as long as ImageNet's
            folder = root / name
            folder.mkdir(parents=True)
            count = names * (label + 1) // classes - names * label // classes
            for number, original in zip(range(count), originals, strict=False):
                os.link(original, f"{folder}/{name}_{7 * number}.JPEG")
    except OSError as error:
        raise Missing(f"{place}: links to files: {error.strerror}") from error
    return root


@functools.cache
def _place() -> Path:
    """A folder with the JPEGs, which is removed when this process has ended."""
    try:
        from dali_msda.pipelines.data import demo_data
    except ImportError as error:
        raise Missing(f"pipelines: {error}; `pip install -e .` brings them") from error
    BUILD.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="scale-", dir=BUILD))
    remover = subprocess.Popen(
        [sys.executable, "-c", REMOVER, str(place)], stdin=subprocess.PIPE, start_new_session=True
    )
    atexit.register(remover.communicate)  # closes its input, and waits for it
    try:
        demo_data.make(place / "jpegs", per_class=JPEGS // len(demo_data.PHOTOGRAPHS))
    except FileNotFoundError as error:  # a wheel that has the photographs is not installed
        raise Missing(str(error)) from error
    return place


def _expect_room(place: Path, names: int, classes: int) -> None:
    """Raise Missing if the disk cannot take as many names."""
    free = os.statvfs(place)
    wanted = names * BYTES_A_NAME + classes * BYTES_A_CLASS
    got = free.f_bavail * free.f_frsize
    if got < wanted:
        raise Missing(f"{place}: expected {wanted >> 20} MB of free disk, got {got >> 20}")
    if free.f_files and free.f_favail < classes + JPEGS:  # 0 files: the system does not count them
        raise Missing(f"{place}: expected {classes + JPEGS} free inodes, got {free.f_favail}")
