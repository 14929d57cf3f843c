"""Takes compiled code along to a machine with a card, in ``.gpu/``, which git ignores.

    python -m bench.card.prebuilt sm_90

writes the CPU library, a pack with the kernels for the card, and the commit. There a plain copy of
the tree with that folder needs neither a compiler nor NVRTC.
"""

import argparse
import ctypes
import hashlib
import os
import shutil
from pathlib import Path

from bench import records
from dali_msda import build, cache
from dali_msda.backends import packs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".gpu"
PREBUILT, CACHE = FOLDER / "prebuilt", FOLDER / "cache"


def pack(kinds: list[str]) -> list[Path]:
    """Fills the folder for these kinds of code; returns the files."""
    shutil.rmtree(PREBUILT, ignore_errors=True)
    PREBUILT.mkdir(parents=True)
    library = build.library("cpu")
    copied = Path(shutil.copy(library, PREBUILT / library.name))
    digest = copied.with_name(f"{copied.name}.sha256")
    digest.write_text(f"{hashlib.sha256(copied.read_bytes()).hexdigest()}  {copied.name}\n")
    kernels = packs.write(PREBUILT / packs.file_name(), packs.compiled(kinds))
    records.COMMIT_FILE.write_text(f"{records.commit()}\n")
    return [copied, digest, kernels, records.COMMIT_FILE]


def install() -> str:
    """Puts what was taken along where this process and those that it starts look for it.

    Returns:
        What was found, in words.
    """
    library = PREBUILT / build.file_name("cpu")
    if not (library.is_file() and (PREBUILT / packs.file_name()).is_file()):
        there = PREBUILT.is_dir()
        return f"prebuilt: {'of other sources' if there else 'none'}; compiled at first use"
    os.environ["XDG_CACHE_HOME"] = str(CACHE)
    folder = cache.folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in PREBUILT.iterdir():
        shutil.copy(path, folder)
    try:
        ctypes.CDLL(str(folder / library.name))
    except OSError as error:  # of a newer C library
        (folder / library.name).unlink()
        return f"prebuilt: the library does not load here ({error}); compiled anew"
    return f"prebuilt: {library.name} and {packs.file_name()}"


def main(argv: list[str] | None = None) -> None:
    """Fills the folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.card.prebuilt", description=__doc__)
    parser.add_argument("kinds", nargs="+", metavar="KIND", help="of code, such as sm_90")
    for path in pack(parser.parse_args(argv).kinds):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
