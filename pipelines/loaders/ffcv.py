"""The ImageNet loaders of FFCV: its threads read, decode, crop and mix.

They are used as the DALI loaders in dali.py are, take the same arguments and yield the same kind of
batches, without DALI; but they read a .beton. Order, crops, flips and plans are functions of the
seed, the epoch and the index of the image.

Tensors are FFCV's own memory: a batch is valid until the next one is asked for.
"""

from collections.abc import Iterator

import numpy as np
import torch

# isort: off
from dali_msda.ffcv import Loader as FfcvLoader  # first: it says what to do where FFCV is missing
from dali_msda.ffcv import Mixer, RandomResizedCrop
from ffcv.fields.decoders import IntDecoder
from ffcv.pipeline import PipelineSpec
from ffcv.transforms import ToDevice, ToTensor
from numba import config as numba_config

# isort: on
from dali_msda import Mixup
from dali_msda.pipelines.loaders.epochs import Epochs, EvaluationEpochs, TrainingEpochs
from dali_msda.pipelines.training.schedules import size_at

__all__ = ["EvaluationLoader", "TrainingLoader"]

UNMIXED = Mixup(prob=0.0)


class Loader(Epochs):
    """Iterates over one epoch per ``for`` loop; the base of the two loaders below.

    Args:
        source: A ``.beton`` with the fields ``image`` and ``label``.
        **options: As for :class:`Epochs`. ``threads`` is what FFCV calls ``num_workers``, and
            ``prefetch`` its ``batches_ahead``. FFCV decodes and crops on the CPU; with
            ``device_id`` batches are mixed on that GPU.
    """

    reads_beton = True

    def _open(self) -> None:
        self._expect_gpu()
        most = numba_config.NUMBA_NUM_THREADS
        if self.threads > most:
            raise ValueError(
                f"threads: expected at most {most}, the CPUs that Numba counts, got {self.threads};"
                " set NUMBA_NUM_THREADS for more"
            )
        self.samples = len(self.source.labels)
        self._expect_shards()
        self._batches = None
        self._loader: FfcvLoader | None = self._built()

    def _built(self) -> FfcvLoader:
        """FFCV's loader for images of the present size."""
        return _Ordered(
            self._order,
            self.source.path,
            batch_size=self.batch_size,
            num_workers=self.threads,
            batches_ahead=self.prefetch,
            drop_last=self.training,
            seed=self.seed,
            # Pipelines have the names of copies, so those with the fields' own names are None.
            pipelines=dict.fromkeys(self.source.fields) | self._pipelines(),
        )

    def _pipelines(self) -> dict[str, PipelineSpec]:
        """FFCV's pipelines: ``image0`` and ``label0``, and so on for every copy."""
        raise NotImplementedError

    def _pair(self, mixer: Mixer, crop: object, number: int, **options) -> dict[str, PipelineSpec]:
        """The pipelines of one copy."""
        layout = "HWC" if self.channels_last else "CHW"
        how = dict(dtype=self.dtype, layout=layout, **self.normalise)
        images = mixer.images(**how, mirror=0.5 if self.training else 0.0)
        labels = mixer.targets(**options)
        if self.device_id is not None:
            move = ToDevice(torch.device("cuda", self.device_id))
            saliency = mixer.policy.needs_peaks  # they are found on the CPU
            images = [*images, move] if saliency else [ToTensor(), move, *images]
            labels = [ToTensor(), ToDevice(move.device), *labels]
        return {
            f"image{number}": PipelineSpec("image", crop, images),
            f"label{number}": PipelineSpec("label", IntDecoder(), labels),
        }

    def _own(self, batch: dict[str, object]) -> Iterator[torch.Tensor]:
        """What is handed out of a batch of FFCV's."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        if self._loader is None:
            raise self._closed()
        if self.position < len(self):
            self._loader.next_epoch, self._loader.next_batch = self.epoch, self.position
            batches = self._batches = iter(self._loader)
            try:
                for batch in batches:
                    self.position += 1
                    names = self._loader.pipeline_specs
                    yield tuple(self._own(dict(zip(names, batch, strict=True))))
            finally:
                batches.close()
        self.epoch, self.position = self.epoch + 1, 0

    def close(self) -> None:
        """Stop all threads and free the memory, that of the last batch included."""
        if self._batches is not None:
            self._batches.close()
        self._loader = self._batches = None


class TrainingLoader(TrainingEpochs, Loader):
    """See :class:`TrainingEpochs`.

    Copy ``c`` of image ``i`` is drawn as image ``i + c * samples`` would be.
    """

    def _pipelines(self) -> dict[str, PipelineSpec]:
        policy, pipelines = self.policy or UNMIXED, {}
        size, area = (self.size, self.size), (self.min_area, self.max_area)
        for number in range(self.copies):
            first = number * self.samples
            mixer = _CopyMixer(first, policy, self.num_classes, seed=self.seed)
            crop = _CopyCrop(first, size, seed=self.seed, area=area)
            compact = self.compact or self.policy is None
            pipelines |= self._pair(mixer, crop, number, compact=compact)
        return pipelines

    def _own(self, batch: dict[str, object]) -> Iterator[torch.Tensor]:
        copies = range(self.copies)
        yield self._turned(self._joined([batch[f"image{number}"] for number in copies], 3))
        targets = [batch[f"label{number}"] for number in copies]
        if self.policy is None:
            yield self._joined([labels[:, 0] for labels, _ in targets], 0)
        elif self.compact:
            yield from (self._joined(parts, 1) for parts in zip(*targets, strict=True))
        else:
            yield self._joined(targets, 1)

    def _joined(self, parts: list[torch.Tensor], axes: int) -> torch.Tensor:
        """Join what all copies yield, image by image; ``axes`` counts those of a sample."""
        part = parts[0] if len(parts) == 1 else torch.stack(parts, 1)
        return part.flatten(0, part.ndim - axes - 1)

    def _turned(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 3, 1, 2) if self.channels_last else images

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        yield from super().__iter__()
        self._resize()

    def _resize(self) -> None:
        """Make another loader of FFCV's if the images of this epoch have another size."""
        size, self.size = self.size, size_at(self.sizes, self.epoch)
        if size != self.size:
            self._loader = None  # two loaders at once would need twice the memory
            self._loader = self._built()

    def load_state_dict(self, state: dict) -> None:
        """See :class:`TrainingEpochs`."""
        size = self.size
        super().load_state_dict(state)
        self.size = size
        self._resize()

    def start_epoch(self, epoch: int) -> None:
        """See :class:`TrainingEpochs`."""
        self.epoch, self.position = epoch, 0
        self._resize()


class EvaluationLoader(EvaluationEpochs, Loader):
    """See :class:`EvaluationEpochs`. FFCV crops the same part, before it resizes."""

    def _pipelines(self) -> dict[str, PipelineSpec]:
        crop = _CentralCrop((self.size, self.size), self.size / self.resize)
        mixer = Mixer(UNMIXED, self.num_classes, seed=self.seed)
        return self._pair(mixer, crop, 0, compact=True)

    def _own(self, batch: dict[str, object]) -> Iterator[torch.Tensor]:
        images = batch["image0"]
        yield images.permute(0, 3, 1, 2) if self.channels_last else images
        yield batch["label0"][0][:, 0]


class _Ordered(FfcvLoader):
    """Reads samples in an order of the caller's, a function of the epoch."""

    def __init__(self, order, *args, **options):
        self._order_of_epoch = order
        super().__init__(*args, **options)

    def next_traversal_order(self) -> np.ndarray:
        """See :class:`dali_msda.ffcv.Loader`."""
        return self._order_of_epoch(self.next_epoch)


class _CopyMixer(Mixer):
    """Draws for a copy of each sample as for samples of other indices."""

    def __init__(self, first: int, *args, **options):
        super().__init__(*args, **options)
        self.first = first

    def plan(self, ids, height, width, **options):
        """See :class:`dali_msda.ffcv.Mixer`."""
        return super().plan(np.asarray(ids) + self.first, height, width, **options)

    def flips(self, ids, probability, *, epoch):
        """See :class:`dali_msda.ffcv.Mixer`."""
        return super().flips(np.asarray(ids) + self.first, probability, epoch=epoch)


class _CopyCrop(RandomResizedCrop):
    """Crops a copy of each sample as a sample of another index."""

    def __init__(self, first: int, *args, **options):
        super().__init__(*args, **options)
        self.first = first

    def identities(self, ids):
        """See :class:`dali_msda.ffcv.RandomResizedCrop`."""
        return ids + self.first


class _CentralCrop(RandomResizedCrop):
    """The crop of FFCV's ``CenterCropRGBImageDecoder``, which takes damaged JPEGs.

    Args:
        output_size: Height and width, in pixels.
        share: Of the crop's side in the shorter side of the image.
    """

    def __init__(self, output_size: tuple[int, int], share: float):
        super().__init__(output_size)
        self.share = share

    def draw(self, memory, ids, epoch):
        """See :class:`dali_msda.ffcv.RandomResizedCrop`."""
        sizes = [self.metadata[ids][side].astype(np.int64) for side in ("height", "width")]
        side = (self.share * np.minimum(*sizes)).astype(np.int64)
        top, left = ((size - side) // 2 for size in sizes)
        memory[-1][...] = np.stack([top, left, top + side, left + side], 1)
