"""Writes and checks indexes of WebDataset shards, which tell where in an archive each sample lies.

DALI's reader can find the samples by itself, but it knows only the oldest tar headers. Names that
are long or not ASCII, as Python's ``tarfile`` writes them by default (PAX), make it merge samples.
"""

import os
import re
import tarfile
from collections.abc import Sequence

from dali_msda.pipelines.data.errors import DatasetError

_REMEDY = (
    "Copy or write the archive again; if it is whole, make an index beside it with DALI's wds2idx."
)


def write(archive: str, path: str) -> None:
    """Write the index of an archive, in the form of DALI's ``wds2idx``, version 1.2.

    Raises:
        DatasetError: If the archive is no tar file, is compressed, or was cut off.
    """
    samples: list[list[str]] = []
    last = None
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, dot, extension = file[1:].partition(".")  # a leading dot is part of the name
                if not (member.isreg() and dot and extension):
                    continue
                words = (extension, member.offset_data, member.size, member.name)
                line = " ".join(re.sub(r"\s", "_", str(word)) for word in words)
                if (sample := (folder, file[0], stem)) != last:
                    samples.append([])
                samples[-1].append(line)
                last = sample
            end = tar.offset
    except (tarfile.TarError, EOFError) as error:
        raise DatasetError(
            f"{archive}: expected a whole .tar archive that is not compressed, got one that "
            f"cannot be read: {error}. {_REMEDY}"
        ) from error
    with open(archive, "rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:
            raise DatasetError(
                f"{archive}: expected a whole archive, which ends in blocks of zeros, got one that "
                f"ends in a file: samples may be missing. {_REMEDY}"
            )
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as index:
        index.write(f"v1.2 {len(samples)}\n")
        index.writelines(" ".join(parts) + "\n" for parts in samples)


def expect_whole(archive: str, index: str) -> None:
    """Raise :class:`DatasetError` unless an archive holds all that its index counts."""
    size = os.path.getsize(archive)
    with open(index, encoding="utf-8", errors="surrogateescape") as file:
        version, *counts = file.readline().split() or [""]
        lines = [line.split() for line in file if line.strip()]
    each = 4 if version == "v1.2" else 3  # words of each part of a sample
    if version not in ("v1.1", "v1.2") or len(counts) != 1 or not _is_table(lines, each):
        raise DatasetError(f"{index}: expected an index as DALI's wds2idx writes it, got another")
    end = max((_end(line, each) for line in lines), default=0)
    if int(counts[0]) != len(lines) or end > size:
        raise DatasetError(
            f"{archive}: expected the {counts[0]} samples of its index, {index}, got fewer. "
            "Copy the archive again, or make the index anew with DALI's wds2idx."
        )


def _is_table(lines: Sequence[list[str]], each: int) -> bool:
    return all(
        len(line) % each == 0 and all(word.isdecimal() for k in (1, 2) for word in line[k::each])
        for line in lines
    )


def _end(line: Sequence[str], each: int) -> int:
    """Where the last part of a sample ends, in bytes."""
    parts = zip(line[1::each], line[2::each], strict=True)
    return max(int(start) + int(length) for start, length in parts)
