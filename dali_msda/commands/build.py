"""``python -m dali_msda build``: compiles libraries and GPU code before they are needed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dali_msda import build
from dali_msda.backends import packs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``python -m dali_msda build``."""
    parser.add_argument("--force", action="store_true", help="compile even what is there already")
    parser.add_argument(
        "--arch",
        nargs="+",
        default=[],
        help="compile the GPU's kernels, too, for these kinds of devices, such as sm_90, or as PTX "
        "for all from compute_90 on; they are put beside the libraries, for processes without "
        "Python or NVRTC",
    )


def main(args: argparse.Namespace) -> None:
    """Builds the libraries and the kernels of each ``--arch``; prints where everything is.

    Without DALI there is no plugin to build, which it says.
    """
    folders = []
    for name in build.LIBRARIES:
        try:
            path = build.build(name, force=args.force)
        except ImportError as error:
            print(f"no plugin is built: {error}", file=sys.stderr)
            continue
        print(path)
        folders.append(path.parent)
    for folder in dict.fromkeys(folders):
        if file := pack_beside(folder, args.arch):
            print(file)


def pack_beside(folder: Path, archs: list[str]) -> Path | None:
    """Puts the GPU's kernels where the libraries in a folder look for them.

    Args:
        folder: The folder.
        archs: Kinds of devices, ``"sm_90"`` for compute capability 9.0, or kinds of PTX.

    Returns:
        The file: it holds what was there, what the package brings and what was asked for. None if
        that is nothing.

    Raises:
        RuntimeError: If NVRTC cannot compile the kernels, or the folder cannot be written.
    """
    file = folder / packs.file_name()
    known = packs.read(file)
    codes = packs.read(build.PREBUILT / file.name) | known
    codes |= packs.compiled(archs)
    try:
        return packs.write(file, codes) if codes != known else file if known else None
    except OSError as error:
        raise RuntimeError(
            f"{file} cannot be written ({error.strerror}); add --force, which puts the libraries "
            "into your cache and the kernels beside them"
        ) from error
