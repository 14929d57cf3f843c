"""One epoch of batches per loop, from a DALI pipeline: what all loaders have in common."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types

from dali_msda.pipelines import failures, readers
from dali_msda.pipelines.datasets import ImageFolder, Shards

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # of RGB, in units of a uint8 pixel
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
DTYPES = {"float32": types.FLOAT, "float16": types.FLOAT16}


class Loader:
    """Iterates over one epoch per ``for`` loop; the base of the two loaders below.

    A loop that is left early is continued by the next one, as a restored loader continues its
    epoch. What is read, and what becomes of the last batch, the kinds of loaders decide.

    Attributes:
        epoch: Number of the current epoch, from 0.
        position: Batches of it that have been handed out.
        samples: Images of the whole dataset, over all shards.

    Args:
        source: What :func:`datasets.find` found.
        batch_size: Images per batch of this rank.
        num_classes: Number of classes; for a folder, that of its class folders by default.
        size: Height and width of the output, in pixels.
        dtype: "float32" or "float16".
        channels_last: Memory order of the images; their shape is ``(B, 3, size, size)`` either way.
        mean: Per channel, in the units of the uint8 pixels (0 to 255).
        std: Likewise.
        seed: Of order, crops and mixing, in [0, 2^31). The same on all ranks.
        shard_id: Which part of the dataset this rank reads, in [0, num_shards).
        num_shards: Number of ranks.
        threads: CPU threads that decode and mix, at least 1.
        device_id: Index of a GPU, or None to do everything on the CPU.
        prefetch: Batches that are prepared ahead, at least 1.

    Raises:
        ValueError: If an argument is out of range or the dataset is too small for it.
        DatasetError: While iterating, if a file cannot be decoded or its label is out of range.
    """

    training = False

    def __init__(
        self,
        source: ImageFolder | Shards,
        *,
        batch_size: int,
        num_classes: int | None = None,
        size: int = 224,
        dtype: str = "float32",
        channels_last: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        seed: int = 0,
        shard_id: int = 0,
        num_shards: int = 1,
        threads: int = 2,
        device_id: int | None = None,
        prefetch: int = 2,
    ):
        at_least = dict(batch_size=1, size=1, seed=0, num_shards=1, threads=1, prefetch=1)
        given = locals()
        for name, low in at_least.items():
            if given[name] < low:
                raise ValueError(f"{name}: expected at least {low}, got {given[name]}")
        _check_choices(dtype, shard_id, num_shards, device_id)
        self.source, self.batch_size, self.size = source, batch_size, size
        self.num_classes = _classes(source, num_classes)
        self.seed, self.shard_id, self.num_shards = seed, shard_id, num_shards
        self.threads, self.device_id, self.prefetch = threads, device_id, prefetch
        self.normalise = dict(mean=list(mean), std=list(std))
        self.dtype, self.channels_last = dtype, channels_last
        self.epoch = self.position = 0
        self._pipeline = self._built()
        self.samples = self._pipeline.reader_meta(readers.NAME)["epoch_size"]
        if not len(self):
            self.close()
            raise ValueError(
                f"batch_size: expected at most {self.samples // num_shards} per process, with "
                f"{self.samples} images for {num_shards} of them, got {batch_size}. An incomplete "
                "batch is dropped."
            )

    def __len__(self) -> int:
        """Batches per epoch that this rank hands out."""
        raise NotImplementedError

    def _graph(self) -> tuple:
        """Define the pipeline; return the nodes of the images and of what goes with them."""
        raise NotImplementedError

    def _own(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Give a batch the shape that is handed out, and the samples that count."""
        return tensors

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        while self.position < len(self):
            images, *others = self._own(self._run())
            self.position += 1
            yield images.permute(0, 3, 1, 2) if self.channels_last else images, *others
        for _ in range(self._runs_per_epoch() - len(self)):
            self._run()
        self.epoch, self.position = self.epoch + 1, 0

    def close(self) -> None:
        """Stop the threads and free the memory. Tensors that were handed out stay valid."""
        self._pipeline = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _runs_per_epoch(self) -> int:
        """Batches until the reader has turned over: as many on all ranks, the last ones padded."""
        return ceil_div(ceil_div(self.samples, self.num_shards), self.batch_size)

    def _run(self) -> list[torch.Tensor]:
        if self._pipeline is None:
            raise RuntimeError("loader: expected an open one, got one after close(). Make another.")
        batch = failures.Batch(
            self._pipeline.checkpoint(), self.batch_size, self._read, self._way_out()
        )
        try:
            outputs = self._pipeline.run()
        except RuntimeError as error:
            failures.explain(error, batch, self.num_classes)
            raise
        tensors = [torch.from_dlpack(output.as_tensor()) for output in outputs]
        labels = tensors[1]
        if not labels.is_floating_point():  # of rows, the operator has checked the labels
            low, high = labels.aminmax()
            if low < 0 or high >= self.num_classes:
                failures.raise_wrong_label(batch, self.num_classes)
        return tensors

    def _built(self, checkpoint: bytes | None = None) -> Pipeline:
        # Ranks share the seed of the order and of the mixing, which takes the shard into account
        # by itself. Crops come from the pipeline's seed, which therefore differs by rank.
        own_seed = np.random.SeedSequence([self.seed, self.shard_id]).generate_state(1)[0]
        pipeline = Pipeline(
            batch_size=self.batch_size,
            num_threads=self.threads,
            device_id=self.device_id,
            seed=int(own_seed) & 0x7FFFFFFF,
            prefetch_queue_depth=self.prefetch,
            exec_dynamic=True,  # with it, a tensor stays as it is after the next batch
            enable_checkpointing=True,
            checkpoint=checkpoint,
        )
        with pipeline:
            pipeline.set_outputs(*self._graph())
        try:
            pipeline.build()
        except RuntimeError as error:
            if "num_shards_ <= Size()" in str(error):
                raise ValueError(
                    f"num_shards: expected at most the number of images, got {self.num_shards}"
                ) from error
            if isinstance(self.source, Shards):
                failures.explain_shards(error, self.source)
            raise
        return pipeline

    def _way_out(self) -> str:
        if isinstance(self.source, Shards):
            return "Remove it from its archive."
        name = "train" if self.training else "val"
        return (
            f"`python -m dali_msda.pipelines.check {self.source.root} --output good.txt` finds all "
            f"such files and lists the others; --{name}-list good.txt then reads only those."
        )

    def _read(self) -> tuple:
        return readers.read(
            self.source,
            training=self.training,
            seed=self.seed,
            shard_id=self.shard_id,
            num_shards=self.num_shards,
        )

    def _normalised(self, images, **options):
        layout = "HWC" if self.channels_last else "CHW"
        return fn.crop_mirror_normalize(
            images, dtype=DTYPES[self.dtype], output_layout=layout, **self.normalise, **options
        )

    @property
    def _decoder(self) -> str:
        return "cpu" if self.device_id is None else "mixed"


def _check_choices(dtype: str, shard_id: int, num_shards: int, device_id: int | None) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    if not 0 <= shard_id < num_shards:
        raise ValueError(f"shard_id: expected a number in [0, {num_shards}), got {shard_id}")
    if device_id is not None and not torch.cuda.is_available():
        raise ValueError(
            f"device_id: expected None, since there is no GPU, got {device_id} (--loader cpu)"
        )


def _classes(source: ImageFolder | Shards, num_classes: int | None) -> int:
    if isinstance(source, Shards):
        if num_classes is None:
            raise ValueError("num_classes: expected a number with .tar shards, got none")
        return num_classes
    if num_classes not in (None, len(source.classes)):
        raise ValueError(
            f"num_classes: expected {len(source.classes)}, the classes of {source.root!r}, "
            f"got {num_classes}"
        )
    return len(source.classes)


def ceil_div(a: int, b: int) -> int:
    """Quotient of whole numbers, rounded up."""
    return -(-a // b)
