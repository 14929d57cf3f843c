"""Drop-ins for torchvision: ``from dali_msda.torchvision import CutMix, MixUp``."""

from __future__ import annotations

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from dali_msda.ops import targets
from dali_msda.plan import draw
from dali_msda.policy import CutMix as CutMixPolicy
from dali_msda.policy import Leaf, Mixup
from dali_msda.torch.transform import Count, blended, expect_batch, readable

__all__ = ["CutMix", "MixUp"]

if not hasattr(v2.MixUp, "make_params"):  # what follows would be passed over in silence
    raise ImportError("torchvision: expected 0.21 or newer, whose transforms have make_params")


class _Mixed:
    """What the two share: a plan per batch, in the place of lambda and box.

    How inputs are told apart, and most errors, are torchvision's own code.
    """

    policy: Leaf

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        labels_getter: object = "default",
        seed: int | None = None,
        rank: int | None = None,
    ):
        super().__init__(alpha=alpha, num_classes=num_classes, labels_getter=labels_getter)
        self.policy = self._kind(alpha=float(alpha), scope="batch", partner="roll")
        self._count = Count(seed, rank)

    def make_params(self, flat_inputs: list[object]) -> dict[str, object]:
        """Draw the key of a batch's plan; torchvision calls it."""
        sizes = {tuple(image.shape[-2:]) for image in flat_inputs if _is_image(image)}
        if self._has_a_place and len(sizes) > 1:
            raise ValueError(f"images: expected one height and width, got {sorted(sizes)}")
        key = self._count.key()
        self._count.step += 1
        return {"key": key, "size": next(iter(sizes), (1, 1))}

    def transform(self, inpt: object, params: dict[str, object]) -> object:
        """Mix images, or the labels; torchvision calls it for each input."""
        batch = params["batch_size"]
        if inpt is params["labels"]:
            plan = draw(self.policy, batch, *params["size"], **params["key"])
            rows = inpt.long() if inpt.ndim == 1 else inpt.float()
            mixed = targets(rows, plan, num_classes=self.num_classes)
            return mixed.to(inpt.dtype) if inpt.is_floating_point() else mixed
        if not _is_image(inpt):
            return inpt
        is_video = isinstance(inpt, tv_tensors.Video)
        if inpt.ndim != 4 + is_video:
            raise ValueError(
                f"Expected a batched input with {4 + is_video} dims, but got {inpt.ndim} "
                "dimensions instead."
            )
        if len(inpt) != batch:
            raise ValueError(
                "The batch size of the image or video does not match the batch size of the "
                f"labels: {len(inpt)} != {batch}."
            )
        pixels = inpt.as_subclass(torch.Tensor)
        frames = pixels.flatten(1, 2) if is_video else pixels
        expect_batch(frames, params["labels"])
        plan = draw(self.policy, batch, *frames.shape[2:], **params["key"])
        mixed = blended(readable(frames), plan, dtype=frames.dtype).reshape(inpt.shape)
        return tv_tensors.wrap(mixed, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else mixed

    def get_extra_state(self) -> dict[str, int]:
        """What ``state_dict()`` takes along: the seed and the number of the next batch."""
        return self._count.state()

    def set_extra_state(self, state: dict[str, int]) -> None:
        """See ``torch.nn.Module``; called by ``load_state_dict``."""
        self._count.restore(state)


class MixUp(_Mixed, v2.MixUp):
    """Mixup of batches with torchvision's arguments: ``images, labels = mixup(images, labels)``.

    As there, one lambda serves the batch, sample i is mixed with sample i - 1, labels become dense
    rows, and new tensors are returned.

    What differs: draws are functions of the seed, the rank and the number of the batch, which
    ``state_dict`` takes along; each pixel is rounded once; uint8 is mixed and rounded, where
    torchvision fails; float64 is refused. For a lambda per sample see
    :class:`dali_msda.torch.Mixer`.

    In a worker of a ``DataLoader`` draws follow the worker's seed, so that batches depend on the
    number of workers, as torchvision's do; :class:`dali_msda.torch.Collate` does not.

    Args:
        alpha: Shape of the Beta distribution of lambda, 0.01 to 100.
        num_classes: Number of classes; needed for class indices.
        labels_getter: Which of the inputs are the labels, as for torchvision.
        seed: Key of all random numbers; by default torch's initial seed.
        rank: Number of the process; by default that of ``torch.distributed``.

    Raises:
        TypeError, ValueError: As torchvision's, and if an argument is out of range.

    Reference:
        torchvision.transforms.v2.MixUp of torchvision 0.28.
    """

    _kind, _has_a_place = Mixup, False


class CutMix(_Mixed, v2.CutMix):
    """CutMix of batches with torchvision's arguments: ``images, labels = cutmix(images, labels)``.

    As there, one box serves the batch, sample i is mixed with sample i - 1, labels become dense
    rows weighted by the share of pixels, and new tensors are returned.

    What differs is said at :class:`MixUp`, whose arguments these are.

    Args:
        alpha: Shape of the Beta distribution of lambda, 0.01 to 100.
        num_classes: Number of classes; needed for class indices.
        labels_getter: Which of the inputs are the labels, as for torchvision.
        seed: Key of all random numbers; by default torch's initial seed.
        rank: Number of the process; by default that of ``torch.distributed``.

    Raises:
        TypeError, ValueError: As torchvision's, and if an argument is out of range.

    Reference:
        torchvision.transforms.v2.CutMix of torchvision 0.28.
    """

    _kind, _has_a_place = CutMixPolicy, True


def _is_image(value: object) -> bool:
    """Whether torchvision mixes it: an image, a video, or a plain tensor."""
    if isinstance(value, tv_tensors.TVTensor):
        return isinstance(value, tv_tensors.Image | tv_tensors.Video)
    return isinstance(value, torch.Tensor)
