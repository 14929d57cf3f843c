"""``python -m dali_msda build``: compiles libraries and GPU code before they are needed."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from dali_msda import build
from dali_msda.backends import nvrtc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``python -m dali_msda build``."""
    parser.add_argument("--force", action="store_true", help="compile even what is there already")
    parser.add_argument(
        "--arch",
        nargs="+",
        default=[],
        help="compile the GPU's kernels, too, for these kinds of devices, such as sm_90; they are "
        "put beside the DALI operators, for processes without Python",
    )


def main(args: argparse.Namespace) -> None:
    """Builds both libraries and the kernels of each ``--arch``; prints where everything is."""
    for name in build.LIBRARIES:
        print(build.build(name, force=args.force))
    for arch in args.arch:
        for path in kernels_beside(build.library("dali"), arch):
            print(path)


def kernels_beside(plugin: Path, arch: str) -> list[Path]:
    """Puts the kernels for one kind of device where the operators look for them.

    Args:
        plugin: The library with the operators.
        arch: Kind of the device, ``"sm_90"`` for compute capability 9.0.

    Returns:
        ``<plugin without .so>.<arch>.<source>.cubin`` for each source.

    Raises:
        RuntimeError: If NVRTC cannot compile them, or the plugin's folder cannot be written.
    """
    files = []
    for source in nvrtc.sources():
        code = nvrtc.cubin(source, arch)
        file = plugin.with_name(f"{plugin.stem}.{arch}.{source}.cubin")
        scratch = file.with_name(f".{file.name}-{os.getpid()}")
        try:
            shutil.copyfile(code, scratch)
            files.append(scratch.replace(file))
        except OSError as error:
            raise RuntimeError(
                f"{file} cannot be written ({error.strerror}); add --force, which puts the "
                "operators into your cache and the kernels beside them"
            ) from error
    return files
