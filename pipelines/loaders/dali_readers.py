"""Where a DALI pipeline starts: encoded images and labels, from a folder or from shards."""

import itertools
import re
import tempfile
import weakref
from typing import IO

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali import math as dali_math

from dali_msda.pipelines.data.datasets import DatasetError, ImageFolder, Shards

NAME = "reader"  # for `Pipeline.reader_meta` and in checkpoints
SHUFFLE_BUFFER = 4096  # samples of shards among which the next one is drawn
LABEL_DIGITS = 10
# White space at the end of a name, which DALI takes to end before it, or a line break anywhere. To
# look for white space first takes a third of the time of the other way about.
NOT_IN_LISTS = rb"\s(?:\0|(?<=\n))"
_lists: weakref.WeakKeyDictionary[ImageFolder, IO[bytes]] = weakref.WeakKeyDictionary()


def read(
    source: ImageFolder | Shards, *, training: bool, seed: int, shard_id: int, num_shards: int
) -> tuple:
    """Define the reader.

    In training all ranks shuffle the whole dataset alike for each epoch and take disjoint parts of
    the result. In evaluation the order is fixed. A rank's last batch is filled up by repeating its
    last image: without that DALI takes the rest from the next rank's part, and the parts drift.

    Shards are shuffled as whole archives and then within a buffer of 4096 samples, so write them
    shuffled in the first place.

    Args:
        source: What :func:`datasets.find` found.
        training: Whether to shuffle.
        seed: Of the shuffling; the same on all ranks.
        shard_id: Which part of the dataset this rank reads, in [0, num_shards).
        num_shards: Number of ranks.

    Returns:
        Two nodes of the graph: encoded images, and labels, integers of shape ``(1,)``.
    """
    options = dict(name=NAME, shard_id=shard_id, num_shards=num_shards, pad_last_batch=True)
    if training:
        options |= dict(shuffle_after_epoch=True, shuffle_after_epoch_seed=seed)
    else:
        options |= dict(stick_to_shard=True)
    if isinstance(source, ImageFolder):
        return fn.readers.file(**_files(source), **options)
    if training:
        options |= dict(random_shuffle=True, initial_fill=SHUFFLE_BUFFER)
    encoded, digits = fn.readers.webdataset(
        paths=list(source.paths),
        index_paths=list(source.index_files),
        ext=["jpg;jpeg;png", "cls"],
        case_sensitive_extensions=False,
        missing_component_behavior="error",
        **options,
    )
    return encoded, number(digits)


def _files(source: ImageFolder) -> dict[str, object]:
    """The files and labels, as arguments of DALI's reader.

    DALI holds what it reads from a list twice, and arguments five times, so names are arguments
    only where one of them cannot stand in a list.
    """
    files = source.files
    try:
        files.folder.encode()
    except UnicodeEncodeError:
        raise DatasetError(
            f"{files.folder!r}: expected a folder whose path is UTF-8, got another. Rename it."
        ) from None
    names = files.names.tobytes()
    unlisted = re.search(NOT_IN_LISTS, names)
    if not unlisted:
        return dict(file_root=files.folder, file_list=f"/proc/self/fd/{_list(source).fileno()}")
    try:
        arguments = names.decode().split("\0")[:-1]
    except UnicodeDecodeError:  # names that are not UTF-8 reach DALI in a list only
        number = names.count(b"\0", 0, unlisted.start())
        raise DatasetError(
            f"{files[number]!r}: expected a name without line breaks, and without white space at "
            "its end, beside names that are not UTF-8, got another. Rename it."
        ) from None
    return dict(file_root=files.folder, files=arguments, labels=source.labels.tolist())


def _list(source: ImageFolder) -> IO[bytes]:
    """A list of the files for DALI, without a name, so that nothing of it is left behind."""
    if source not in _lists:
        try:
            _lists[source] = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the source
            for names, labels in source.chunks():
                ends = np.flatnonzero(np.diff(labels)) + 1  # of files in a row of one class
                for first, last in itertools.pairwise([0, *ends.tolist(), len(labels)]):
                    end = b" %d\n" % labels[first]
                    _lists[source].write(end.join([*names[first:last], b""]))
            _lists[source].flush()
        except OSError as error:
            _lists.pop(source, None)
            raise OSError(
                f"{tempfile.gettempdir()}: expected room for a list of {len(source.files)} files, "
                f"got {error.strerror}. Set TMPDIR to another folder."
            ) from error
    return _lists[source]


def number(text):
    """Turn ASCII digits, and white space after them, into a label; anything else into -1.

    A Python callback would do it in a line, but would take the interpreter's lock in each batch.

    Args:
        text: Node of uint8 ``(length,)``; what follows the tenth character is not read.

    Returns:
        Node of int32 ``(1,)``.
    """
    text = fn.pad(text, axes=[0], shape=[LABEL_DIGITS], fill_value=ord(" "))
    text = fn.cast(fn.slice(text, start=[0], shape=[LABEL_DIGITS], axes=[0]), dtype=types.INT64)
    is_digit = fn.cast((text >= ord("0")) & (text <= ord("9")), dtype=types.INT64)
    is_space = fn.cast((text == ord(" ")) | ((text >= 9) & (text <= 13)), dtype=types.INT64)
    digits = fn.reductions.sum(is_digit, axes=[0])
    position = types.Constant(np.arange(LABEL_DIGITS, dtype=np.int64), device="cpu")
    exponent = digits - 1 - position  # negative after the last digit
    leading = is_digit * (exponent >= 0)
    power = fn.lookup_table(
        fn.cast(dali_math.max(exponent, 0), dtype=types.INT32),
        keys=list(range(LABEL_DIGITS)),
        values=[10.0**i for i in range(LABEL_DIGITS)],  # exact in float32 up to 10^10
        dtype=types.INT64,
    )
    value = fn.reductions.sum(leading * power * (text - ord("0")), axes=[0])
    known = fn.reductions.sum(leading + is_space, axes=[0])
    valid = (known == LABEL_DIGITS) & (digits > 0)
    return fn.reshape(fn.cast(value * valid + valid - 1, dtype=types.INT32), shape=[1])
