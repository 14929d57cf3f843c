"""FFCV's random resized crop, as a function of a seed, the epoch and the sample's index.

FFCV's own draws from a generator of each thread, which nobody can seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dali_msda import loader_draws
from dali_msda.backends.shapes import whole
from dali_msda.ffcv.library import (
    IMAGE_MODES,
    AllocationQuery,
    Compiler,
    State,
    get_thread_id,
    imdecode,
    resize_crop,
    set_parallel_chunksize,
)
from dali_msda.ffcv.operations import DecoderWithDraws, expect_our_loader
from dali_msda.policy import number

CHUNK = 4  # images that a thread takes at a time, since they take different times
DAMAGED = -1  # in place of a crop's first row


class RandomResizedCrop(DecoderWithDraws):
    """Decodes images of any size, crops each at random, and scales the crop to one size.

    It takes the place of FFCV's ``RandomResizedCropRGBImageDecoder``, whose crops have the same
    distribution and are scaled in the same way. Here an epoch has the same crops for any number of
    workers, and again when a run is resumed; and a damaged JPEG ends it with an error, where FFCV
    hands out what the image before left in the memory.

    Args:
        output_size: Height and width, in pixels.
        seed: Key of all random numbers, below 2**64. That of the mixer will do.
        area: Least and greatest area of a crop, as shares of the image, in (0, 1].
        ratio: Least and greatest ratio of its width to its height.

    Raises:
        TypeError, ValueError: If an argument is of the wrong kind or out of range.
    """

    def __init__(
        self,
        output_size: tuple[int, int],
        *,
        seed: int = 0,
        area: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ):
        super().__init__()
        if not isinstance(output_size, tuple | list) or len(output_size) != 2:
            raise ValueError(f"output_size: expected (height, width), got {output_size!r}")
        self.output_size = tuple(whole("output_size", side, 1, 2**16) for side in output_size)
        self.seed = whole("seed", seed, 0, 2**64)
        self.area = _range("area", area, 1.0)
        self.ratio = _range("ratio", ratio, 2.0**16)

    def identities(self, ids: np.ndarray) -> np.ndarray:
        """The number of each sample that its draws follow from: here, its dataset index."""
        return ids

    def draw(self, memory: tuple[np.ndarray, ...], ids: np.ndarray, epoch: int) -> None:
        """Write the crops of a batch; see :class:`dali_msda.ffcv.operations.DecoderWithDraws`."""
        sizes = self.metadata[ids]
        memory[-1][...] = loader_draws.crops(
            self.identities(ids),
            sizes["height"],
            sizes["width"],
            area=self.area,
            ratio=self.ratio,
            seed=self.seed,
            step=epoch,
        )

    def declare_state_and_memory(
        self, previous_state: State
    ) -> tuple[State, tuple[AllocationQuery, ...]]:
        """See FFCV; called when the loader is built and at the start of each epoch."""
        expect_our_loader()
        shape, pixel = (*self.output_size, 3), np.dtype("u1")
        state = State(jit_mode=True, device=previous_state.device, shape=shape, dtype=pixel)
        largest = 3 * int(self.metadata["height"].max()) * int(self.metadata["width"].max())
        return state, (
            AllocationQuery(shape, pixel),
            AllocationQuery((largest,), pixel),
            AllocationQuery((4,), np.dtype("i8")),
        )

    def generate_code(self) -> Callable[..., np.ndarray]:
        """See FFCV; what this returns is compiled, and called for each batch."""
        read, each = self.memory_read, Compiler.get_iterator()
        to_pixels, scale = Compiler.compile(imdecode), Compiler.compile(resize_crop)
        compressed, threads = IMAGE_MODES["jpg"], Compiler.num_threads

        def decode(ids, memory, metadata, storage):
            outs, buffers, crops = memory
            by_thread = len(buffers) >= threads
            chunk = set_parallel_chunksize(CHUNK)
            for k in each(len(ids)):
                row = np.int64(k)
                if by_thread:  # one that is in this core's cache
                    row = np.int64(get_thread_id())
                about = metadata[ids[k]]
                height, width = np.uint32(about["height"]), np.uint32(about["width"])
                stored, failed = read(about["data_ptr"], storage), 0
                if about["mode"] == compressed:
                    buffer = buffers[row][: 3 * height * width]
                    failed = to_pixels(
                        stored, buffer, height, width, height, width, 0, 0, 1, 1, False, False
                    )
                    pixels = buffer.reshape(height, width, 3)
                else:
                    pixels = stored.reshape(height, width, 3)
                y0, x0, y1, x1 = crops[k, 0], crops[k, 1], crops[k, 2], crops[k, 3]
                if failed:
                    crops[k, 0] = DAMAGED
                else:
                    scale(pixels, y0, y1, x0, x1, outs[k])
            set_parallel_chunksize(chunk)
            for k in range(len(ids)):  # threads cannot raise
                if crops[k, 0] == DAMAGED:
                    raise ValueError(
                        "image: expected whole JPEGs in the dataset, got a damaged one. Copy the "
                        ".beton or write it again."
                    )
            return outs[: len(ids)]

        decode.is_parallel = True
        return decode


def _range(name: str, value: object, greatest: float) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name}: expected (least, greatest), got {value!r}")
    for part in value:
        number(name, part, 0.0, greatest, f"numbers in (0, {greatest:g}]")
    low, high = map(float, value)
    if not 0 < low <= high:
        raise ValueError(f"{name}: expected 0 < least <= greatest, got {value!r}")
    return low, high
