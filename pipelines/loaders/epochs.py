"""What the loaders of all frameworks have in common: each loop takes one epoch of batches.

Here are their arguments with the checks of them, the place in the data, and what another loader
needs to go on from there.
"""

import functools
from collections.abc import Sequence

import numpy as np

from dali_msda import loader_draws
from dali_msda.pipelines.data.datasets import Beton, Shards, Source, number_of_classes
from dali_msda.pipelines.training.schedules import checked_sizes, size_at

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # of RGB, in units of a uint8 pixel
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
DTYPES = ("float32", "float16")


class Epochs:
    """Arguments of a loader and its place in the data; the base of every framework's loaders.

    A loop that is left early is continued by the next one, as a restored loader continues its
    epoch. The kinds of loaders decide what is read and what becomes of the last batch.

    Attributes:
        epoch: Number of the current epoch, from 0.
        position: Batches of it that have been handed out.
        samples: Images of the whole dataset, over all shards.

    Args:
        source: What :func:`datasets.find` found.
        batch_size: Images per batch of this rank.
        num_classes: Number of classes; by default that of a folder's class folders, or one more
            than the greatest label in a ``.beton``.
        size: Height and width of the output, in pixels.
        dtype: "float32" or "float16".
        channels_last: Memory order of the images; their shape is ``(B, 3, size, size)`` either way.
        mean: Per channel, in the units of the uint8 pixels (0 to 255).
        std: Likewise.
        seed: Of order, crops and mixing, in [0, 2^31). The same on all ranks.
        shard_id: Which part of the dataset this rank reads, in [0, num_shards).
        num_shards: Number of ranks.
        threads: CPU threads that decode and mix, at least 1.
        device_id: Index of a GPU that decodes, crops and mixes, and on which the batches then are;
            or None to do everything on the CPU.
        prefetch: Batches that are prepared ahead, at least 1.

    Raises:
        ValueError: If an argument is out of range or the dataset is too small for it.
        DatasetError: If the label of a file is out of range; while iterating, if one cannot be
            decoded.
    """

    training = False
    reads_beton = False
    samples: int

    def __init__(
        self,
        source: Source,
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
        self._expect_source(source)
        counts = dict(batch_size=batch_size, size=size, num_shards=num_shards, threads=threads)
        for name, value in {**counts, "prefetch": prefetch, "seed": seed + 1}.items():
            if value < 1:
                low, got = (0, seed) if name == "seed" else (1, value)
                raise ValueError(f"{name}: expected at least {low}, got {got}")
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        if not 0 <= shard_id < num_shards:
            raise ValueError(f"shard_id: expected a number in [0, {num_shards}), got {shard_id}")
        self.source, self.batch_size, self.size = source, batch_size, size
        self.num_classes = number_of_classes(source, num_classes)
        self.seed, self.shard_id, self.num_shards = seed, shard_id, num_shards
        self.threads, self.device_id, self.prefetch = threads, device_id, prefetch
        self.normalise = dict(mean=list(mean), std=list(std))
        self.dtype, self.channels_last = dtype, channels_last
        self.epoch = self.position = 0
        self._open()
        if not len(self):
            self.close()
            raise ValueError(
                f"batch_size: expected at most {self.samples // num_shards} per process, with "
                f"{self.samples} images for {num_shards} of them, got {batch_size}. An incomplete "
                "batch is dropped."
            )

    def _expect_source(self, source: Source) -> None:
        """Raise ValueError for a source that another loader reads."""
        if isinstance(source, Beton) == self.reads_beton:
            return
        raise ValueError(
            "source: expected a .beton file, got a folder or shards; "
            "`python -m dali_msda.pipelines.write_beton` writes one from a folder"
            if self.reads_beton
            else f"source: expected a folder or shards, got {source.path!r}, which is for "
            "FFCV's loader: --loader ffcv"
        )

    def __len__(self) -> int:
        """Batches per epoch that this rank hands out."""
        raise NotImplementedError

    def _open(self) -> None:
        """Get ready to read, and set ``samples``."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop all workers and free the memory. Tensors that were handed out stay valid."""
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _runs_per_epoch(self) -> int:
        """Batches that are mixed in an epoch, handed out or not; the same on all ranks."""
        return len(self)

    def _order(self, epoch: int) -> np.ndarray:
        """Indices of this rank's images in an epoch, in the order in which they are read."""
        raise NotImplementedError

    def _expect_gpu(self) -> None:
        """Raise ValueError if work on a GPU was asked for where there is none."""
        import torch

        if self.device_id is not None and not torch.cuda.is_available():
            raise ValueError(
                f"device_id: expected None, since there is no GPU, got {self.device_id} "
                "(--loader-device cpu)"
            )

    def _expect_shards(self) -> None:
        """Raise ValueError if there are fewer images than ranks."""
        if self.num_shards > self.samples:
            raise ValueError(
                f"num_shards: expected at most the number of images, got {self.num_shards}"
            )

    def _closed(self) -> RuntimeError:
        return RuntimeError("loader: expected an open one, got one after close(). Make another.")

    def _way_out(self) -> str:
        """A sentence for messages: what to do about a broken file."""
        if isinstance(self.source, Shards):
            return "Remove it from its archive."
        name = "train" if self.training else "val"
        return (
            f"`python -m dali_msda.pipelines.check {self.source.root} --output good.txt` finds all "
            f"such files and lists the others; --{name}-list good.txt then reads only those."
        )


class TrainingEpochs(Epochs):
    """Random crops, mirrored and mixed, in a new order each epoch.

    The last incomplete batch is dropped: its size would differ from that of the others. What is
    dropped differs by epoch.

    Where an image yields several samples, ``copies`` times the ``k`` of a ``MultiMix``, these
    follow one another, copy by copy: ``B`` in what is yielded is the product of ``batch_size`` with
    both, and ``reshape(batch_size, copies, k, ...)`` takes it apart.

    Args:
        policy: What to mix, or None for none.
        compact: Yield labels and weights ``(B, n)``, ``n`` sources, instead of rows ``(B, C)``.
        min_area: Smallest area of a crop, as a share of the image, in (0, 1].
        max_area: Largest area of a crop, likewise.
        size: Height and width of the output, in pixels, in epoch 0.
        sizes: Those from later epochs on, ``{epoch: pixels}``.
        copies: Batch augmentation: each image is cropped and mirrored this many times. The copies
            of one number are a batch that is mixed on its own, with draws of its own.
        **options: As for :class:`Epochs`.

    Yields:
        ``images, labels, weights`` (int64 and float32) or ``images, targets`` (float32); without
        a policy ``images, labels``, the labels int64 ``(B,)``.

    Reference:
        Copies: Hoffer et al., Augment your batch, arXiv:1901.09335.
    """

    training = True
    _first_epoch = 0  # batches are counted from its beginning, for the turns of an Alternate

    def __init__(
        self,
        source,
        *,
        policy=None,
        compact=True,
        min_area=0.08,
        max_area=1.0,
        size=224,
        sizes=None,
        copies=1,
        **options,
    ):
        if not 0 < min_area <= 1:
            raise ValueError(f"min_area: expected a share in (0, 1], got {min_area}")
        if not min_area <= max_area <= 1:
            raise ValueError(
                f"max_area: expected a share from min_area, {min_area}, to 1, got {max_area}"
            )
        if copies < 1:
            raise ValueError(f"copies: expected at least 1, got {copies}")
        self.policy, self.compact = policy, compact
        self.min_area, self.max_area = min_area, max_area
        self.sizes, self.copies = {0: size, **checked_sizes(sizes)}, copies
        super().__init__(source, size=size, **options)

    def __len__(self) -> int:
        return self.samples // self.num_shards // self.batch_size

    def _order(self, epoch: int) -> np.ndarray:
        order = loader_draws.order(self.samples, seed=self.seed, step=epoch)
        return order[self.shard_id :: self.num_shards][: len(self) * self.batch_size]

    @property
    def turn(self) -> int | None:
        """Number of the policy, in an ``Alternate``, that mixed the batch yielded last.

        With ``LaMix``, 0 stands for originals and 1 for averaged pairs. Before the first batch, and
        without a policy, it is None. A restored loader knows the turn of the batch it goes on from.
        """
        epoch = self.epoch - self._first_epoch
        batch = epoch * self._runs_per_epoch() + self.position - 1
        if epoch and not self.position:  # the last batches of an epoch may not be handed out
            batch = (epoch - 1) * self._runs_per_epoch() + len(self) - 1
        if self.policy is None or batch < 0:
            return None
        leaves = self.policy.leaves()
        _, first = np.unique(leaves["stage"], return_index=True)
        ends = leaves["count"][first].cumsum()
        return int(np.searchsorted(ends, batch % ends[-1], side="right"))

    def has_files_of(self, state: dict) -> bool:
        """Whether the loader whose :meth:`state_dict` this is read the same files."""
        return all(state.get(name) == self._identity[name] for name in ("samples", "fingerprint"))

    def start_epoch(self, epoch: int) -> None:
        """Go on with an epoch from its beginning, as a run whose files have changed does."""
        self.epoch, self.position = epoch, 0
        self.size = size_at(self.sizes, epoch)

    def state_dict(self) -> dict:
        """Return what a new loader of the same arguments needs to go on from this very batch.

        Batches that were prepared ahead do not count: they are prepared again.
        """
        return {**self._identity, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict) -> None:
        """Go on where the loader stood whose :meth:`state_dict` this is.

        Raises:
            ValueError: If that loader had other arguments that change the batches.
        """
        state = {"max_area": 1.0} | state  # what an older loader did, which did not say so
        for name, value in self._identity.items():
            if state.get(name) != value:
                raise ValueError(
                    f"loader state: expected {name} {value}, as in this run, got {state.get(name)}"
                )
        self.epoch, self.position = state["epoch"], state["position"]
        self.size = size_at(self.sizes, self.epoch)

    @functools.cached_property
    def _identity(self) -> dict:
        """What decides on the batches, and so must be the same in a loader that goes on."""
        names = ("samples", "batch_size", "sizes", "min_area", "max_area", "copies", "seed")
        names += ("shard_id", "num_shards")
        own = {name: getattr(self, name) for name in names}
        return own | {"policy": repr(self.policy), "fingerprint": self.source.fingerprint()}


class EvaluationEpochs(Epochs):
    """The central crop of each image, each exactly once over all ranks.

    Shards differ by one image where the division leaves a rest, and the last batch of a rank is
    short, so the number of batches may differ by rank: do not communicate once per batch.

    Args:
        resize: Length of the shorter side before the crop, in pixels, at least ``size``.
        **options: As for :class:`Epochs`.

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
        start, end = self._shard()
        return ceil_div(end - start, self.batch_size)

    def _order(self, epoch: int) -> np.ndarray:
        return np.arange(*self._shard())

    def _shard(self) -> tuple[int, int]:
        """First image of this rank, and the one after its last."""
        bounds = (self.shard_id, self.shard_id + 1)
        start, end = (self.samples * bound // self.num_shards for bound in bounds)
        return start, end


def ceil_div(a: int, b: int) -> int:
    """Quotient of whole numbers, rounded up."""
    return -(-a // b)
