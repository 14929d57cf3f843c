"""Names the files that stopped a pipeline.

DALI says that "nvImageCodec failure: '#4'" happened, but not in which file, and after that the
pipeline cannot be used any more. But its state before the batch is known. So a second pipeline,
which only reads, is put into that state and returns the encoded images of that batch, their labels
and their names. They are then looked at one by one.
"""

import os
import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np
from nvidia.dali import Pipeline, fn

import dali_msda.dali  # noqa: F401  loads the operators
from dali_msda.pipelines.data import image_formats
from dali_msda.pipelines.data.datasets import DatasetError, Shards, first_few
from dali_msda.pipelines.loaders import dali_readers

__all__ = ["Batch", "DatasetError", "decodes", "explain", "explain_shards", "raise_wrong_label"]


class Batch(NamedTuple):
    """What is known about the batch that failed.

    Attributes:
        state: Checkpoint of its pipeline, from before the batch.
        size: Number of samples.
        read: Defines the reader of its pipeline, as :func:`dali_readers.read` does.
        folder: What names of files are relative to.
        way_out: A sentence for messages: what to do about a broken file.
    """

    state: bytes
    size: int
    read: Callable[[], tuple]
    folder: str
    way_out: str


def explain(error: RuntimeError, batch: Batch, num_classes: int) -> None:
    """Raise a :class:`DatasetError` if files were the cause of an error of DALI's."""
    unread = re.search(r"File mapping failed: (.+)", str(error))
    if unread:
        raise DatasetError(
            f"{unread[1]}: expected an image, got a file that is empty or cannot be read. "
            f"{batch.way_out}"
        ) from error
    if "fn.decoders." in str(error) or "fn.msda.check_encoded" in str(error):
        names = [name for name, encoded, _ in _samples(batch) if not decodes(encoded)]
        if names:
            raise DatasetError(
                f"{first_few(names)}: expected an image, got a file that cannot be decoded. "
                f"{batch.way_out}"
            ) from error
    if re.search("^labels: ", str(error), re.MULTILINE):
        raise_wrong_label(batch, num_classes)


def explain_shards(error: RuntimeError, shards: Shards) -> None:
    """Raise a :class:`DatasetError` if an archive was why a pipeline could not be built."""
    for path, *index in zip(*filter(None, (shards.paths, shards.indexes)), strict=True):
        pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None)
        with pipeline:
            alone = Shards((path,), tuple(index))
            nodes = dali_readers.read(alone, training=False, seed=0, shard_id=0, num_shards=1)
            pipeline.set_outputs(*nodes)
        try:
            pipeline.build()
        except RuntimeError as reason:
            said = re.search(r"encountered:\s+(.+)", str(reason))
            raise DatasetError(
                f"{path}: expected an archive with NAME.jpg and NAME.cls for each sample, got one "
                f"that DALI cannot read: {said[1] if said else reason}"
            ) from error


def raise_wrong_label(batch: Batch, num_classes: int) -> NoReturn:
    """Raise the error for a batch that holds a label out of range."""
    wrong = [(name, label) for name, _, label in _samples(batch) if not 0 <= label < num_classes]
    names, labels = zip(*wrong, strict=True) if wrong else (["labels"], ["another"])
    hint = " (-1: a .cls file without a number)" if -1 in labels else ""
    raise DatasetError(
        f"{first_few(names)}: expected a label in [0, {num_classes}), got {labels[0]}{hint}"
    )


def _samples(batch: Batch) -> list[tuple[str, np.ndarray, int]]:
    """Name, encoded image and label of each file in a batch, each file once."""

    def reader_only(state: bytes | None) -> Pipeline:
        pipeline = Pipeline(
            batch.size, 1, None, seed=0, enable_checkpointing=True, checkpoint=state
        )
        with pipeline:
            encoded, label = batch.read()
            pipeline.set_outputs(fn.get_property(encoded, key="source_info"), encoded, label)
        pipeline.build()
        return pipeline

    fresh = reader_only(None).checkpoint()
    outputs = reader_only(_with_reader_of(batch.state, fresh)).run()
    found = {}
    for parts in zip(*outputs, strict=True):
        name, encoded, label = map(np.array, parts)
        found[os.path.join(batch.folder, os.fsdecode(bytes(name)))] = encoded, int(label[0])
    return [(name, encoded, label) for name, (encoded, label) in found.items()]


def decodes(encoded: np.ndarray) -> bool:
    """Whether the loaders take an encoded image, uint8 ``(length,)``."""
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipeline:
        image = fn.external_source([encoded[np.newaxis]], cycle=True)
        pipeline.set_outputs(fn.decoders.image(fn.msda.check_encoded(image)))
    try:
        image_formats.opened(encoded.tobytes())
        pipeline.run()
    except (image_formats.Undecodable, RuntimeError):
        return False
    return True


def _with_reader_of(checkpoint: bytes, other: bytes) -> bytes:
    """Replace the reader's state in one checkpoint by that in another.

    DALI restores a checkpoint only into a pipeline of the very same operators, and the reader is
    the only one that these two have in common.
    """
    name = dali_readers.NAME.encode()
    (state,) = (entry for entry in _entries(checkpoint) if _operator(entry) == name)
    return b"".join(state if _operator(e) == name else e for e in _entries(other))


def _entries(message: bytes) -> list[bytes]:
    """Split a serialised Protobuf message, whose fields are all strings or messages."""
    entries, start = [], 0
    while start < len(message):
        length, shift, at = 0, 0, start + 1
        while True:  # a varint: seven bits per byte, the lowest first
            length |= (message[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if message[at - 1] < 0x80:
                break
        entries.append(message[start : at + length])
        start = at + length
    return entries


def _operator(entry: bytes) -> bytes | None:
    """Name of the operator that an entry of a checkpoint (field 1) belongs to: its own field 1."""
    if entry[0] != 0x0A:
        return None
    body = entry[next(i for i in range(1, len(entry)) if entry[i] < 0x80) + 1 :]
    return body[2 : 2 + body[1]]
