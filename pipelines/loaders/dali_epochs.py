"""What the DALI loaders have in common: each loop takes one epoch of batches from a pipeline."""

from collections.abc import Iterator

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types

import dali_msda.dali  # noqa: F401  loads the operators
from dali_msda.pipelines.data.datasets import Shards
from dali_msda.pipelines.loaders import dali_failures, dali_readers
from dali_msda.pipelines.loaders.epochs import Epochs, ceil_div

DALI_TYPES = {"float32": types.FLOAT, "float16": types.FLOAT16}


class Loader(Epochs):
    """Iterates over one epoch per ``for`` loop; the base of the two DALI loaders."""

    def _open(self) -> None:
        self._expect_gpu()
        self._pipeline = self._built()
        self.samples = self._pipeline.reader_meta(dali_readers.NAME)["epoch_size"]

    def _graph(self) -> tuple:
        """Define the pipeline; return the nodes of the images and of what goes with them."""
        raise NotImplementedError

    def _own(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Give a batch the shape that is handed out, and only the samples that count."""
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
        """See :class:`Epochs`."""
        self._pipeline = None

    def _runs_per_epoch(self) -> int:
        return ceil_div(ceil_div(self.samples, self.num_shards), self.batch_size)

    def _run(self) -> list[torch.Tensor]:
        if self._pipeline is None:
            raise self._closed()
        folder = "" if isinstance(self.source, Shards) else self.source.files.folder
        batch = dali_failures.Batch(
            self._pipeline.checkpoint(), self.batch_size, self._read, folder, self._way_out()
        )
        try:
            outputs = self._pipeline.run()
        except RuntimeError as error:
            dali_failures.explain(error, batch, self.num_classes)
            raise
        tensors = [torch.from_dlpack(output.as_tensor()) for output in outputs]
        labels = tensors[1]
        # Where targets are rows or lie on a GPU, the operator has checked the labels already.
        if not labels.is_floating_point() and labels.device.type == "cpu":
            low, high = labels.aminmax()
            if low < 0 or high >= self.num_classes:
                dali_failures.raise_wrong_label(batch, self.num_classes)
        return tensors

    def _built(self, checkpoint: bytes | None = None) -> Pipeline:
        # Ranks share the seed of the order and of the mixing, which takes the shard into account
        # by itself. Crops come from the pipeline's seed, which therefore differs by rank.
        own_seed = np.random.SeedSequence([self._pipeline_seed, self.shard_id]).generate_state(1)[0]
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
                dali_failures.explain_shards(error, self.source)
            raise
        return pipeline

    def _encoded(self) -> tuple:
        """Define where images come from: encoded ones of the formats on the list, and labels."""
        encoded, labels = self._read()
        return fn.msda.check_encoded(encoded), labels

    def _read(self) -> tuple:
        return dali_readers.read(
            self.source,
            training=self.training,
            seed=self._pipeline_seed,
            shard_id=self.shard_id,
            num_shards=self.num_shards,
        )

    def _normalised(self, images, **options):
        layout = "HWC" if self.channels_last else "CHW"
        return fn.crop_mirror_normalize(
            images, dtype=DALI_TYPES[self.dtype], output_layout=layout, **self.normalise, **options
        )

    @property
    def _pipeline_seed(self) -> int:
        """Seed of the pipeline, which counts from its own beginning: each beginning has its own."""
        first = getattr(self, "_first_epoch", 0)
        if not first:
            return self.seed
        return int(np.random.SeedSequence([self.seed, first]).generate_state(1)[0]) & 0x7FFFFFFF

    @property
    def _decoder(self) -> str:
        return "cpu" if self.device_id is None else "mixed"
