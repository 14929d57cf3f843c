"""The ImageNet loaders: DALI decodes, crops, mixes and normalises; PyTorch gets the batches.

    source = datasets.find("imagenet/train")
    with TrainingLoader(source, batch_size=256, num_classes=1000, policy=policy) as loader:
        for epoch in range(90):
            for images, labels, weights in loader:  # (B, 3, 224, 224), (B, n), (B, n)
                ...

The graph is one for the CPU (``device_id=None``) and for a GPU, where JPEGs are decoded by its
hardware and all later steps run on it. Tensors are DALI's own memory, handed over without a copy.

Every rank is given the same dataset and seed and its own ``shard_id``. The order of the samples is
drawn anew in each epoch, the same on all ranks, which then take disjoint parts of it.
"""

import functools

import nvidia.dali.backend
import torch
from nvidia.dali import fn, types

from dali_msda.pipelines.loader import IMAGENET_MEAN, IMAGENET_STD, Loader, ceil_div

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "EvaluationLoader", "TrainingLoader"]


class TrainingLoader(Loader):
    """Random crops, mirrored and mixed, in a new order each epoch.

    The last incomplete batch is dropped: DALI would fill it up with copies of one image, which
    would then be mixed with each other and trained on. What is dropped differs by epoch.

    Args:
        policy: What to mix, or None for none.
        compact: Yield labels and weights ``(B, n)``, ``n`` sources, instead of rows ``(B, C)``.
        min_area: Smallest area of a crop, as a share of the image, in (0, 1].
        **options: As for :class:`Loader`.

    Yields:
        ``images, labels, weights`` (int64 and float32) or ``images, targets`` (float32); without
        a policy ``images, labels``, the labels int64 ``(B,)``.
    """

    training = True

    def __init__(self, source, *, policy=None, compact=True, min_area=0.08, **options):
        if not 0 < min_area <= 1:
            raise ValueError(f"min_area: expected a share in (0, 1], got {min_area}")
        if policy is not None and options.get("device_id") is not None:
            _check_gpu_operators()
        self.policy, self.compact, self.min_area = policy, compact, min_area
        super().__init__(source, **options)

    def __len__(self) -> int:
        return self.samples // self.num_shards // self.batch_size

    def _graph(self) -> tuple:
        encoded, labels = self._read()
        images = fn.decoders.image_random_crop(
            encoded,
            device=self._decoder,
            random_area=[self.min_area, 1.0],
            random_aspect_ratio=[3 / 4, 4 / 3],
            num_attempts=100,
        )
        images = fn.resize(images, size=[self.size, self.size], antialias=True)
        mirror = fn.random.coin_flip()
        if self.policy is None:
            return self._normalised(images, mirror=mirror), _flat(labels)
        from dali_msda.dali import mix  # loads the operators

        return mix(
            images,
            labels,
            self.policy,
            num_classes=self.num_classes,
            mirror=mirror,
            dtype=self.dtype,
            layout="HWC" if self.channels_last else "CHW",
            compact=self.compact,
            seed=self.seed,
            shard_id=self.shard_id,
            padding="ignore",  # a padded batch is dropped
            **self.normalise,
        )

    def state_dict(self) -> dict:
        """Return what a new loader of the same arguments needs to go on from this very batch.

        Batches that DALI has prepared ahead do not count: they are prepared again.
        """
        place = {"epoch": self.epoch, "position": self.position}
        return {**self._identity, **place, "pipeline": self._pipeline.checkpoint()}

    def load_state_dict(self, state: dict) -> None:
        """Go on where the loader stood whose :meth:`state_dict` this is.

        Raises:
            ValueError: If that loader had other arguments that change the batches.
        """
        for name, value in self._identity.items():
            if state.get(name) != value:
                raise ValueError(
                    f"loader state: expected {name} {value}, as in this run, got {state.get(name)}"
                )
        self._pipeline = None  # two pipelines at once would need twice the memory
        self._pipeline = self._built(state["pipeline"])
        self.epoch, self.position = state["epoch"], state["position"]

    @functools.cached_property
    def _identity(self) -> dict:
        """What decides on the batches, and so must be the same to go on."""
        names = ("samples", "batch_size", "size", "min_area", "seed", "shard_id", "num_shards")
        own = {name: getattr(self, name) for name in names}
        return own | {"policy": repr(self.policy), "fingerprint": self.source.fingerprint()}


class EvaluationLoader(Loader):
    """The central crop of each image, each exactly once over all ranks.

    Shards differ by one image where the division leaves a rest, and the last batch of a rank is
    short, so the number of batches may differ by rank: do not communicate once per batch.

    Args:
        resize: Length of the shorter side before the crop, in pixels, at least ``size``.
        **options: As for :class:`Loader`.

    Yields:
        ``images, labels``, the labels int64 ``(B,)``.
    """

    def __init__(self, source, *, resize: int = 256, **options):
        size = options.setdefault("size", 224)
        if resize < size:
            raise ValueError(f"resize: expected at least size, {size}, got {resize}")
        self.resize = resize
        super().__init__(source, **options)

    def __len__(self) -> int:
        return ceil_div(self._shard_samples(), self.batch_size)

    def _shard_samples(self) -> int:
        start, end = (
            self.samples * i // self.num_shards for i in (self.shard_id, self.shard_id + 1)
        )
        return end - start

    def _own(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        left = self._shard_samples() - self.position * self.batch_size
        return [tensor[:left] for tensor in tensors]

    def _graph(self) -> tuple:
        encoded, labels = self._read()
        images = fn.decoders.image(encoded, device=self._decoder)
        images = fn.resize(images, resize_shorter=self.resize, antialias=True)
        return self._normalised(images, crop=[self.size, self.size]), _flat(labels)


def _check_gpu_operators() -> None:
    from dali_msda import dali  # noqa: F401  loads the operators

    if "msda__Blend" not in nvidia.dali.backend.RegisteredGPUOps():
        raise ValueError(
            "policy: expected none on a GPU, because the mixing operators run on the CPU only so "
            "far. Give device_id=None (--loader cpu): the batches are then copied to the GPU."
        )


def _flat(labels):
    return fn.cast(fn.squeeze(labels, axes=[0]), dtype=types.INT64)
