"""Keeps compiled code in the user's cache for later processes.

A file's name carries a key over all that goes into it, so that a file of the right name is the
right file; a digest beside it tells whether it is whole. Code is taken only from where nobody but
the user and root can have put it.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def cached(file: str, make: Callable[[Path], Path], *, force: bool = False) -> Path:
    """Returns the intact file of this name, which ``make(folder)`` makes if need be.

    The name says what the content is: a file that does not match its digest is made again, and of
    several processes one makes it. A cache that cannot be written is replaced by a temporary
    folder, with a line on stderr.

    Raises:
        RuntimeError: If others could put code into the cache, or if there is no room in it.
    """
    found = None if force else find(file)
    if found is None:
        with _locked(file) as place:
            found = None if force else find(file)  # another process may just have made it
            if found is None:
                print(f"dali_msda: compiling {place}", file=sys.stderr, flush=True)
                found = _kept(place, make)
    return found


def _kept(place: Path, make: Callable[[Path], Path]) -> Path:
    """Makes a file and its digest in their places, where each appears whole or not at all."""
    try:
        with tempfile.TemporaryDirectory(prefix=".building-", dir=place.parent) as scratch:
            made, digest = make(Path(scratch)), Path(scratch, "digest")
            made.chmod(0o755)
            digest.write_text(f"{hashlib.sha256(made.read_bytes()).hexdigest()}  {place.name}\n")
            digest.replace(_digest_file(place))
            return made.replace(place)
    except OSError as error:
        raise RuntimeError(
            f"{place} could not be made ({error}); make room there, or set XDG_CACHE_HOME "
            "to a folder of yours elsewhere"
        ) from error


def find(file: str) -> Path | None:
    """Returns the intact file of this name, if there is one."""
    for path in (folder() / file, _substitute() / file):
        with contextlib.suppress(OSError):
            if not _open_to_others(path):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                if _digest_file(path).read_text().split()[:1] == [digest]:
                    return path
    return None


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def folder() -> Path:
    """Returns the user's cache, a folder per C library: machines that share a home may differ."""
    for base in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if os.path.isabs(base):
            return Path(base, "dali_msda", os.confstr("CS_GNU_LIBC_VERSION").replace(" ", "-"))
    return _substitute()  # a user without a home


def _substitute() -> Path:
    """The folder for compiled code if the user's cache cannot be written."""
    return Path(tempfile.gettempdir(), f"dali_msda-{os.getuid()}")


def _open_to_others(path: Path) -> str:
    """How somebody else could have put code at this path; an empty text if nobody could.

    Whoever can write the path or a folder above it, up to the user's home, could; links are
    followed. Root is trusted. A sticky folder such as /tmp is safe: nobody can replace in it what
    belongs to another user.
    """
    home = Path(os.path.expanduser("~"))
    for place in itertools.chain.from_iterable(
        itertools.takewhile(lambda place: place != home.parent, [start, *start.parents])
        for start in (path, path.resolve())
    ):
        about = place.lstat()
        if about.st_uid not in (0, os.getuid()):
            return f"{place} belongs to another user, number {about.st_uid}"
        shared = stat.S_ISLNK(about.st_mode) or (
            stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
        )
        if about.st_mode & 0o022 and not shared:
            return f"{place} can be written by others; `chmod go-w {place}` mends that"
    return ""


@contextlib.contextmanager
def _locked(file: str) -> Iterator[Path]:
    """The place for a file, locked so that no other process makes the same file."""
    try:
        place = _place(folder() / file)
    except OSError as error:
        place = _substitute() / file
        print(
            f"dali_msda: cannot write to the cache ({error}), using {place.parent}", file=sys.stderr
        )
        try:
            _place(place)
        except OSError as worse:
            raise RuntimeError(
                f"{place.parent} cannot be written either ({worse}); set XDG_CACHE_HOME to a "
                "folder of yours with room in it"
            ) from worse
    with open(_lock_file(place), "w") as held:
        with contextlib.suppress(OSError):  # some network file systems cannot lock
            fcntl.flock(held, fcntl.LOCK_EX)
        yield place


def _place(path: Path) -> Path:
    """Makes the folder for a file, which nobody else may be able to write, and the file's lock."""
    for above in list(path.parents)[::-1]:
        if not above.exists():
            above.mkdir(mode=0o700, exist_ok=True)
    if how := _open_to_others(path.parent):
        raise RuntimeError(
            f"the cache for compiled code is not safe: {how}; or set XDG_CACHE_HOME to a folder "
            "that only you can write"
        )
    _lock_file(path).touch()
    return path


def _lock_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
