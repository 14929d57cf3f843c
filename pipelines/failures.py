"""Names the file that stopped a pipeline.

DALI says that "nvImageCodec failure: '#4'" happened, not in which file, and after it the pipeline
cannot be used any more. But its state before the batch that failed can still be read, so a second
pipeline, of the reader alone, is put into that state and returns the encoded images of that batch
with their names. They are then decoded one by one.
"""

import re
from collections.abc import Callable

import numpy as np
from nvidia.dali import Pipeline, fn

from dali_msda.pipelines import readers

SHOWN = 5  # names in an error message


class UnreadableImage(RuntimeError):
    """A file of the dataset that cannot be read or decoded."""


def explain(error: RuntimeError, failed: Pipeline, read: Callable[[], tuple], way_out: str) -> None:
    """Raise an error that names the file, if it was a file that stopped the pipeline.

    Args:
        error: What DALI raised.
        failed: The pipeline, which has checkpointing enabled.
        read: Defines the reader of that pipeline, as :func:`readers.read` does.
        way_out: A sentence for the message: what to do about such files.

    Raises:
        UnreadableImage: If the cause was found.
    """
    unread = re.search(r"File mapping failed: (.+)", str(error))
    if unread:
        raise UnreadableImage(
            f"{unread[1]}: expected an image, got a file that is empty or cannot be read. {way_out}"
        ) from error
    if "fn.decoders." not in str(error):
        return
    names = _undecodable(failed.checkpoint(), failed.max_batch_size, read)
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UnreadableImage(
            f"{', '.join(names[:SHOWN])}{more}: expected an image, got a file that cannot be "
            f"decoded. {way_out}"
        ) from error


def _undecodable(checkpoint: bytes, batch_size: int, read: Callable[[], tuple]) -> list[str]:
    """Names of the images that do not decode, in the batch after a checkpoint."""

    def reader_only(state: bytes | None) -> Pipeline:
        pipeline = Pipeline(
            batch_size, 1, None, seed=0, enable_checkpointing=True, checkpoint=state
        )
        with pipeline:
            encoded, _ = read()
            pipeline.set_outputs(encoded, fn.get_property(encoded, key="source_info"))
        pipeline.build()
        return pipeline

    fresh = reader_only(None).checkpoint()
    encoded, names = reader_only(_with_reader_of(checkpoint, fresh)).run()
    found = {  # a batch filled up by repetition holds one file several times
        bytes(np.array(name)).decode(errors="replace"): np.array(image)
        for image, name in zip(encoded, names, strict=True)
    }
    return [name for name, image in found.items() if not decodes(image)]


def decodes(encoded: np.ndarray) -> bool:
    """Whether the loaders' decoder accepts an encoded image, uint8 ``(length,)``."""
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipeline:
        image = fn.external_source([encoded[np.newaxis]], cycle=True)
        pipeline.set_outputs(fn.decoders.image(image))
    try:
        pipeline.run()
    except RuntimeError:
        return False
    return True


def _with_reader_of(checkpoint: bytes, other: bytes) -> bytes:
    """Replace the reader's state in one checkpoint by that in another.

    DALI restores a checkpoint only into a pipeline of the very same operators, and the reader is
    the only one that these two have in common.
    """
    name = readers.NAME.encode()
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
