"""The ImageNet loaders: DALI decodes, crops, mixes and normalises; PyTorch gets the batches.

    source = datasets.find("imagenet/train")
    with TrainingLoader(source, batch_size=256, num_classes=1000, policy=policy) as loader:
        for epoch in range(90):
            for images, labels, weights in loader:  # (B, 3, 224, 224), (B, n), (B, n)
                ...

The graph is one for the CPU (``device_id=None``) and for a GPU, where JPEGs are decoded by nvJPEG
and all later steps run: crop, resize, mixing, targets. Labels stay on the CPU until they are mixed,
since plans are drawn there; without a policy they are yielded there. Tensors are DALI's own memory,
handed over without a copy.

All loaders obey the table of image_formats.py. DALI's decoder takes more, so the headers of files
are looked at before it: formats, kinds of pixels, sizes, and JPEGs that cannot hold the picture of
which they tell. A running pipeline cannot see more. A JPEG that was cut off within its data, and
given an end mark again, is filled with grey here and refused by the other loaders; one that was
only cut off is taken in training where a crop lies before the cut. So run ``python -m
dali_msda.pipelines.check`` first, which finds these as well.

Every rank is given the same dataset and seed and its own ``shard_id``. The order of the samples is
drawn anew in each epoch, the same on all ranks, which then take disjoint parts of it.
"""

from collections.abc import Iterator

import torch
from nvidia.dali import fn, types

from dali_msda.dali import mix
from dali_msda.pipelines.loaders.dali_epochs import Loader
from dali_msda.pipelines.loaders.epochs import EvaluationEpochs, TrainingEpochs
from dali_msda.pipelines.training.schedules import size_at

__all__ = ["EvaluationLoader", "TrainingLoader"]


class TrainingLoader(TrainingEpochs, Loader):
    """See :class:`TrainingEpochs`.

    Copy ``c`` is drawn as rank ``shard_id + c * num_shards`` would draw it.
    """

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        yield from super().__iter__()
        if self.size != size_at(self.sizes, self.epoch):
            self._rebuild(self._pipeline.checkpoint())

    def _own(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        axes = tensors[0].ndim - 4  # of copies and interpolations, which follow that of the images
        return [tensor.flatten(0, axes) for tensor in tensors]

    def _graph(self) -> tuple:
        encoded, labels = self._encoded()
        crops = [(images, fn.random.coin_flip()) for images in self._crops(encoded)]
        copies = [self._mixed(*crop, labels, number) for number, crop in enumerate(crops)]
        if self.copies == 1:
            return copies[0]
        return tuple(fn.stack(*parts) for parts in zip(*copies, strict=True))

    def _crops(self, encoded) -> list:
        """Random parts of each image, of the size that is yielded; one for each copy."""
        area = [self.min_area, self.max_area]
        part = dict(random_area=area, random_aspect_ratio=[3 / 4, 4 / 3], num_attempts=100)
        scale = dict(size=[self.size, self.size], antialias=True)
        if self.copies == 1:  # nothing else of the image is decoded
            images = fn.decoders.image_random_crop(encoded, device=self._decoder, **part)
            return [fn.resize(images, **scale)]
        images = fn.decoders.image(encoded, device=self._decoder)
        return [fn.random_resized_crop(images, **part, **scale) for _ in range(self.copies)]

    def _mixed(self, images, mirror, labels, copy: int) -> tuple:
        if self.policy is None:
            return self._normalised(images, mirror=mirror), _flat(labels)
        return mix(
            images,
            labels,
            self.policy,
            num_classes=self.num_classes,
            mirror=mirror,
            dtype=self.dtype,
            layout="HWC" if self.channels_last else "CHW",
            compact=self.compact,
            seed=self._pipeline_seed,
            shard_id=self.shard_id + copy * self.num_shards,
            padding="ignore",  # a padded batch is dropped
            **self.normalise,
        )

    def _rebuild(self, checkpoint: bytes | None) -> None:
        self.size = size_at(self.sizes, self.epoch)
        self._pipeline = None  # two pipelines at once would need twice the memory
        self._pipeline = self._built(checkpoint)

    def start_epoch(self, epoch: int) -> None:
        """See :class:`TrainingEpochs`."""
        super().start_epoch(epoch)
        self._first_epoch = epoch
        self._rebuild(None)

    def state_dict(self) -> dict:
        """See :class:`TrainingEpochs`."""
        own = {"first_epoch": self._first_epoch, "pipeline": self._pipeline.checkpoint()}
        return super().state_dict() | own

    def load_state_dict(self, state: dict) -> None:
        """See :class:`TrainingEpochs`."""
        super().load_state_dict(state)
        self._first_epoch = state.get("first_epoch", 0)
        try:
            self._rebuild(state["pipeline"])
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                "loader state: expected one that this version of DALI and of dali_msda wrote, got "
                f"another: {reason}. Give --restart-epoch to go on from the beginning of its epoch."
            ) from error


class EvaluationLoader(EvaluationEpochs, Loader):
    """See :class:`EvaluationEpochs`."""

    def _own(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        start, end = self._shard()
        left = end - start - self.position * self.batch_size
        return [tensor[:left] for tensor in tensors]

    def _graph(self) -> tuple:
        encoded, labels = self._encoded()
        images = fn.decoders.image(encoded, device=self._decoder)
        images = fn.resize(images, resize_shorter=self.resize, antialias=True)
        return self._normalised(images, crop=[self.size, self.size]), _flat(labels)


def _flat(labels):
    return fn.cast(fn.squeeze(labels, axes=[0]), dtype=types.INT64)
