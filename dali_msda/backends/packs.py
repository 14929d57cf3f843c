"""Packs: code of the GPU's kernels that was compiled beforehand, in one file for a library.

``kernels/cuda/code/code_pack.h`` says what the file looks like. The library reads it; here it is
written, by ``make release`` for a wheel and by ``python -m dali_msda build --arch`` for users.

    python -m dali_msda.backends.packs FOLDER KIND...
"""

from __future__ import annotations

import ctypes
import enum
import os
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

from dali_msda import build
from dali_msda.backends import cpu_library, nvrtc

TITLE = "dali_msda kernels 1"

Codes = dict[tuple[str, str], bytes]  # by source and kind


def file_name() -> str:
    """Returns the name of the file that goes with the libraries of these sources."""
    return f"msda_kernels-{build.kernels_key()}.pack"


def compiled(kinds: Iterable[str]) -> Codes:
    """Returns every source in these kinds of code, such as ``"sm_90"``, from NVRTC or the cache."""
    return {
        (name, kind): nvrtc.kept(name, kind).read_bytes()
        for kind in kinds
        for name in nvrtc.sources()
    }


def write(file: Path, codes: Codes) -> Path:
    """Writes a pack, which appears whole or not at all."""
    lines = [f"{TITLE} {build.kernels_key()}"]
    for (source, kind), code in codes.items():
        check = zlib.crc32(code, zlib.crc32(f"{source} {kind}\n".encode()))
        lines.append(f"{source} {kind} {len(code)} {check:08x}")
    scratch = file.with_name(f".{file.name}-{os.getpid()}")
    scratch.write_bytes("\n".join([*lines, "", ""]).encode() + b"".join(codes.values()))
    return scratch.replace(file)


def read(file: Path) -> Codes:
    """Returns what is in a pack: nothing if there is no such file.

    Raises:
        RuntimeError: If it is damaged, or made from other sources.
    """
    if not file.is_file():
        return {}
    head, _, rest = file.read_bytes().partition(b"\n\n")
    title, *lines = head.decode(errors="replace").split("\n")
    codes: Codes = {}
    if title == f"{TITLE} {build.kernels_key()}":
        for source, kind, size, check in map(str.split, lines):
            code, rest = rest[: int(size)], rest[int(size) :]
            if zlib.crc32(code, zlib.crc32(f"{source} {kind}\n".encode())) == int(check, 16):
                codes[source, kind] = code
    if not codes or len(codes) != len(lines) or rest:
        raise RuntimeError(f"{file}: damaged, or made from other sources; remove it")
    return codes


class State(enum.IntEnum):
    """What the pack beside the library holds for a device: ``MsdaPacked`` of cuda/code/code.h."""

    DAMAGED = -1
    MISSING = 0
    WITHOUT = 1
    TOO_NEW = 2
    HAS_CODE = 3


def kind_in_library(arch: str) -> tuple[State, str]:
    """Returns what a kind of device runs from the pack beside the library.

    Returns:
        The state, and the kind of code or else why there is none.

    Raises:
        RuntimeError: If the pack is damaged, or made from other sources.
    """
    answer, source = ctypes.create_string_buffer(4096), next(iter(nvrtc.sources()))
    library = cpu_library.library()
    names = source.encode(), arch.encode()
    state = State(library.msda_packed_kind(*names, answer, ctypes.c_int64(len(answer))))
    text = answer.value.decode(errors="replace")
    if state is State.DAMAGED:
        raise RuntimeError(text)
    return state, text


def main(folder: str, *kinds: str) -> None:
    """Writes a wheel's pack, with the version of NVRTC that the package names.

    Raises:
        RuntimeError: If another one is installed, or it does not know a kind of device.
    """
    pinned = nvrtc.PACKAGE.split("==")[1]
    if not pinned.startswith(f"{nvrtc.spoken_version()}."):
        raise RuntimeError(
            f"NVRTC: expected version {pinned}, got {nvrtc.spoken_version()}; run "
            f"`pip install {nvrtc.PACKAGE}`"
        )
    file = write(Path(folder, file_name()), compiled(kinds))
    print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB, {' '.join(kinds)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
