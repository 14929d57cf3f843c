"""A drop-in for timm's ``FastCollateMixup``, which mixes in the workers of its prefetcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch.utils.data import default_collate

from dali_msda.timm.mixup import Mixup
from dali_msda.torch.batches import blended
from dali_msda.torch.torchvision_cpu import declare_operators
from dali_msda.torch.worker_memory import empty_batch

declare_operators()
from timm.data import mixup as timm_mixup  # noqa: E402


class FastCollateMixup(Mixup, timm_mixup.FastCollateMixup):
    """Mixup and CutMix in a collate function with timm's arguments, for its prefetcher.

    ::

        collate_fn = FastCollateMixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=1000)
        loader = timm.data.create_loader(..., is_training=True, collate_fn=collate_fn)

    Samples are pairs of a uint8 image ``(C, H, W)`` and a label, of which it makes uint8 batches
    and dense rows; the prefetcher normalises. It is one of timm's class too, by which the loader
    knows it: ``loader.mixup_enabled = False`` switches it off, also in workers that live on, which
    those of timm go on mixing in. Other settings are those that the workers were started with.

    Draws are functions of the seed, the rank, the worker's seed and the number of the batch in the
    worker. So they are new in each epoch, and the same again after ``torch.manual_seed``, with as
    many workers.

    What one can see from outside and differs from timm's; types are those of what is returned.

    =============================  =========================================  ==============
    what                           theirs                                     here
    =============================  =========================================  ==============
    argument seed                  absent                                     None by name
    argument rank                  absent                                     None by name
    member load_state_dict         absent                                     there
    member mixup_enabled           absent                                     there
    member plan                    absent                                     there
    member policy                  absent                                     there
    member state_dict              absent                                     there
    arrays of floats               uint8, float32                             TypeError
    tensors of floats              uint8, float32                             TypeError
    images (H, W)                  uint8, float32                             TypeError
    images of several sizes        RuntimeError                               ValueError
    an odd batch                   AssertionError                             uint8, float32
    no sample                      IndexError                                 ValueError
    images that are lists          AttributeError                             TypeError
    labels of floats               uint8, float32                             TypeError
    both alphas 0                  AssertionError                             ValueError
    an alpha above 100             uint8, float32                             ValueError
    minmax of another length       AssertionError                             TypeError
    prob not in [0, 1]             uint8, float32                             ValueError
    switch_prob not in [0, 1]      uint8, float32                             ValueError
    switch_prob that is no number  uint8, float32                             TypeError
    another mode                   IndexError or TypeError or uint8, float32  ValueError
    smoothing not in [0, 1]        uint8, float32                             ValueError
    no class                       ZeroDivisionError                          ValueError
    fewer classes than labels      RuntimeError                               ValueError
    =============================  =========================================  ==============

    What differs in numbers is said at :class:`Mixup`, whose arguments and errors these are.

    Args:
        mixup_alpha: As for :class:`Mixup`, and so are all others but ``mode``.
        mode: As there, or ``"half"``: of B samples the first half are made, each of them mixed as
            with ``"elem"``.

    Reference:
        timm.data.FastCollateMixup of timm 1.0.31.
    """

    _scopes: ClassVar[dict[str, str]] = Mixup._scopes | {"half": "sample"}
    _draws_in_workers = True

    def __call__(
        self, batch: Sequence[tuple[np.ndarray | torch.Tensor, object]], _: object = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make a batch.

        Args:
            batch: Samples, B of them: a uint8 image ``(C, H, W)``, NumPy or torch, and a class
                index; with ``multi_label`` a row ``(classes,)``.

        Returns:
            uint8 ``(B, C, H, W)`` and float32 ``(B, classes)``; with ``mode="half"`` as many as
            half of the samples.

        Raises:
            TypeError, ValueError: If the samples do not fit.
        """
        self._expect_settings()
        images = _images(batch)
        plan = self.plan(len(images), *images.shape[2:])
        rows = self._rows(default_collate([sample[1] for sample in batch]), plan)
        mixed = empty_batch((len(plan), *images.shape[1:]), torch.uint8)
        blended(images, plan, out=mixed, threads=torch.get_num_threads())
        self._key.step += 1
        return mixed, rows

    def plan(self, batch: int, height: int, width: int) -> np.ndarray:
        """Draw the plan of the next batch; with ``mode="half"`` for the first half of it."""
        plan = super().plan(batch, height, width)
        return plan[: (batch + 1) // 2] if self.mode == "half" else plan


def _images(batch: Sequence[tuple[object, object]]) -> torch.Tensor:
    """The samples' images ``(B, C, H, W)``."""
    if not isinstance(batch, list | tuple) or not batch:
        raise ValueError(f"batch: expected a list of samples, got {batch!r}")
    for slot, (image, *_) in enumerate(batch):
        dtype = str(getattr(image, "dtype", type(image).__name__)).removeprefix("torch.")
        shape = tuple(getattr(image, "shape", ()))
        if dtype != "uint8" or len(shape) != 3:
            raise TypeError(
                f"batch[{slot}]: expected a uint8 image (C, H, W), as timm's prefetcher takes "
                f"them, got {dtype} {shape}; with create_loader(use_prefetcher=False) use Mixup"
            )
        if shape != tuple(batch[0][0].shape):
            raise ValueError(
                f"batch[{slot}]: expected shape {tuple(batch[0][0].shape)}, as the first image "
                f"has, got {shape}"
            )
    images = np.empty((len(batch), *batch[0][0].shape), np.uint8)
    # timm's arrays are views whose channels lie next to each other in memory.
    np.stack([np.asarray(sample[0]) for sample in batch], out=images)
    return torch.from_numpy(images)
