"""torchvision's MixUp and CutMix: their parameters are drawn as a plan and applied as one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from dali_msda.ops import targets
from dali_msda.plan import draw
from dali_msda.policy import CutMix as CutMixPolicy
from dali_msda.policy import Leaf, Mixup, number
from dali_msda.torch.batches import (
    blended,
    expect_batch,
    expect_class_indices,
    expect_no_gradient,
    mixed_doubles,
    readable,
    uncompiled,
)
from dali_msda.torch.draw_key import DrawingModule, DrawKey
from dali_msda.torch.torchvision_cpu import declare_operators
from dali_msda.torchvision import annotated

declare_operators()
from torchvision import tv_tensors  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

if not hasattr(v2.MixUp, "make_params"):  # torchvision would not call the methods below
    raise ImportError("torchvision: expected 0.21 or newer, whose transforms have make_params")

SHARED = dict(scope="batch", partner="roll")  # one draw for the batch; sample i with sample i - 1


class _DrawnParameters(DrawingModule):
    """What CutMix and MixUp share: their parameters are drawn as a plan and applied as a plan.

    torchvision's own code finds the images and labels among the inputs and raises most errors.
    """

    _kind: type[Leaf]
    _has_box: bool

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        labels_getter: Callable[[object], torch.Tensor] | str | None = "default",
        seed: int | None = None,
        rank: int | None = None,
        annotations: bool = False,
        min_visible: float = 0.3,
    ):
        number("alpha", alpha, 0.01, 100.0, "a number in [0.01, 100]")
        number("min_visible", min_visible, 0.0, 1.0, "a share in [0, 1]")
        super().__init__(alpha=alpha, num_classes=num_classes, labels_getter=labels_getter)
        self.annotations, self.min_visible = bool(annotations), float(min_visible)
        self._has_labels = labels_getter is not None or not annotations
        if not self._has_labels:
            self._labels_getter = _second
        self.policy = self._kind(alpha=float(alpha), **SHARED)
        self._key = DrawKey(seed, rank, kind=f"torchvision.{self._kind.__name__}")

    @uncompiled
    def forward(self, *inputs: object) -> object:
        """Mix a batch; see torchvision."""
        if not self.annotations:
            return super().forward(*inputs)
        sample = inputs if len(inputs) > 1 else inputs[0]
        rest, leaves, spec = annotated.hidden(sample)
        if self._has_labels:
            made = super().forward(rest)
        else:
            made, _ = super().forward((rest, _no_labels(leaves)))
        params = self.__dict__.pop("_params")
        sizes = {tuple(leaf.shape[-2:]) for leaf in leaves if _is_image(leaf) and leaf.ndim > 2}

        def plan_of(batch: int, height: int, width: int) -> np.ndarray:
            if self._has_box and (height, width) not in sizes:
                raise ValueError(
                    f"annotations: expected the height and width of the images, {sorted(sizes)}, "
                    f"got {(height, width)}; the box of CutMix is one of their pixels"
                )
            return self._plan(params, batch, height, width)

        batch = params["batch_size"]
        return annotated.mixed(made, leaves, spec, plan_of, batch, self.min_visible)

    def make_params(self, flat_inputs: list[object]) -> dict[str, object]:
        """Draw torchvision's parameters of a batch; torchvision calls it.

        Returns:
            The parameters of torchvision's transform; a derived class may draw them itself.
        """
        images = [image for image in flat_inputs if _is_image(image) and image.ndim > 2]
        if not images:
            raise TypeError("images: expected a tensor, an Image or a Video, got none")
        sizes = {tuple(image.shape[-2:]) for image in images}
        if self._has_box and len(sizes) > 1:
            raise ValueError(f"images: expected one height and width, got {sorted(sizes)}")
        plan = draw(self.policy, 2, *next(iter(sizes)), **self._key.arguments())
        self._key.step += 1
        return self._params_of(plan[0])

    def _params_of(self, record: np.void) -> dict[str, object]:
        raise NotImplementedError

    def _plan(self, params: dict[str, object], batch: int, height: int, width: int) -> np.ndarray:
        raise NotImplementedError

    def _label_plan(self, params: dict[str, object], batch: int) -> np.ndarray:
        """The plan of the labels, which depend on the own share of the pixels alone."""
        lam = params["lam_adjusted" if self._has_box else "lam"]
        return draw(Mixup(**SHARED), batch, 1, 1, seed=0, step=0, lam=float(lam))

    def transform(self, inpt: object, params: dict[str, object]) -> object:
        """Mix images, or the labels; torchvision calls it for each input."""
        if self.annotations:
            self._params = params
        if inpt is params["labels"]:
            return self._mixed_labels(inpt, params)
        if not _is_image(inpt):
            return inpt
        self._check_image_or_video(inpt, batch_size=params["batch_size"])
        pixels = inpt.as_subclass(torch.Tensor)
        frames = pixels.flatten(1, 2) if isinstance(inpt, tv_tensors.Video) else pixels
        expect_batch(frames, params["labels"], doubles=True)
        plan = self._plan(params, len(frames), *frames.shape[2:])
        if frames.dtype == torch.float64:
            mixed = mixed_doubles(frames, plan)
        else:
            mixed = blended(readable(frames), plan, dtype=frames.dtype)
        mixed = mixed.reshape(inpt.shape)
        return tv_tensors.wrap(mixed, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else mixed

    def _mixed_labels(self, labels: torch.Tensor, params: dict[str, object]) -> torch.Tensor:
        expect_no_gradient("labels", labels)
        if labels.ndim == 1:
            expect_class_indices("labels", labels)
        plan = self._label_plan(params, len(labels))
        rows = labels.long() if labels.ndim == 1 else labels.float()
        mixed = targets(rows, plan, num_classes=self.num_classes)
        return mixed.to(labels.dtype) if labels.is_floating_point() else mixed


class MixUp(_DrawnParameters, v2.MixUp):
    """Mixup of batches with torchvision's arguments: ``images, labels = mixup(images, labels)``.

    As there, one lambda serves the batch, sample i is mixed with sample i - 1, labels become dense
    rows, and new tensors are returned.

    What one can see from outside and differs; types are those of what is returned.

    ===========================  ===================  ================
    what                         theirs               here
    ===========================  ===================  ================
    argument seed                absent               None by name
    argument rank                absent               None by name
    argument annotations         absent               False by name
    argument min_visible         absent               0.3 by name
    images of uint8              RuntimeError         uint8, float32
    images of int64              RuntimeError         TypeError
    images of bool               RuntimeError         TypeError
    images of complex64          complex64, float32   TypeError
    images that need a gradient  float32, float32     ValueError
    images that are arrays       ndarray, float32     TypeError
    labels of floats             RuntimeError         TypeError
    labels of int32              RuntimeError         float32, float32
    labels that are no class     RuntimeError         ValueError
    alpha of 0.001               float32, float32     ValueError
    alpha above 100              NotImplementedError  ValueError
    alpha that is no number      ValueError           TypeError
    ===========================  ===================  ================

    What differs in numbers: draws are functions of the seed, the rank and the number of the batch,
    which the transform's own ``state_dict`` gives (that of a model that holds it does not); each
    pixel is rounded once. For a lambda per sample see :class:`dali_msda.torch.Mixer`.

    Without ``seed=`` each object, and each deep copy, draws something else; with it they draw
    alike. In a worker of a ``DataLoader`` draws follow the worker's seed, so that batches depend on
    the number of workers, as torchvision's do; those of :class:`dali_msda.torch.Collate` do not.

    With ``annotations=True`` masks and boxes are mixed by the plan of their images, which
    torchvision refuses:

    * a ``Mask`` ``(B, H, W)`` or ``(B, 1, H, W)`` of classes, as :func:`dali_msda.segmentation`
      does it;
    * ``BoundingBoxes``, one for each sample, as :func:`dali_msda.boxes` does it. Where they stand
      in a dictionary for each sample, its tensors of as many rows (labels, areas, masks of objects)
      go with their boxes, and ``"visible"`` is added, the share of each box that shows.

    Args:
        alpha: Shape of the Beta distribution of lambda, 0.01 to 100.
        num_classes: Number of classes; needed for class indices.
        labels_getter: Which of the inputs are the labels, as for torchvision; with annotations None
            where there are none.
        seed: Key of all random numbers; by default one drawn from torch's generator.
        rank: Number of the process; by default that of ``torch.distributed``.
        annotations: Whether masks and boxes are mixed as well.
        min_visible: Least share of a box that must show for it to be kept.

    Raises:
        TypeError, ValueError: As torchvision's, and if an argument is out of range.

    Reference:
        torchvision.transforms.v2.MixUp of torchvision 0.28.
    """

    _kind, _has_box = Mixup, False

    def _params_of(self, record: np.void) -> dict[str, object]:
        return {"lam": float(record["lam"])}

    def _plan(self, params: dict[str, object], batch: int, height: int, width: int) -> np.ndarray:
        return draw(self.policy, batch, height, width, seed=0, step=0, lam=float(params["lam"]))


class CutMix(_DrawnParameters, v2.CutMix):
    """CutMix of batches with torchvision's arguments: ``images, labels = cutmix(images, labels)``.

    As there, one box serves the batch, sample i is mixed with sample i - 1, labels become dense
    rows weighted by the share of pixels, and new tensors are returned.

    What one can see from outside and differs; types are those of what is returned.

    ===========================  ===================  ================
    what                         theirs               here
    ===========================  ===================  ================
    argument seed                absent               None by name
    argument rank                absent               None by name
    argument annotations         absent               False by name
    argument min_visible         absent               0.3 by name
    images of int64              int64, float32       TypeError
    images of bool               bool, float32        TypeError
    images of complex64          complex64, float32   TypeError
    images that need a gradient  float32, float32     ValueError
    labels of floats             RuntimeError         TypeError
    labels of int32              RuntimeError         float32, float32
    labels that are no class     RuntimeError         ValueError
    alpha of 0.001               float32, float32     ValueError
    alpha above 100              NotImplementedError  ValueError
    alpha that is no number      ValueError           TypeError
    ===========================  ===================  ================

    What differs in numbers is said at :class:`MixUp`, whose arguments and errors these are.

    Reference:
        torchvision.transforms.v2.CutMix of torchvision 0.28.
    """

    _kind, _has_box = CutMixPolicy, True

    def _params_of(self, record: np.void) -> dict[str, object]:
        box = tuple(int(record[side]) for side in ("x0", "y0", "x1", "y1"))
        return {"box": box, "lam_adjusted": float(record["weight"])}

    def _plan(self, params: dict[str, object], batch: int, height: int, width: int) -> np.ndarray:
        x0, y0, x1, y1 = (int(side) for side in params["box"])
        share = 1 - (x1 - x0) * (y1 - y0) / (height * width)
        plan = draw(self.policy, batch, height, width, seed=0, step=0, lam=share)
        plan["x0"], plan["y0"], plan["x1"], plan["y1"] = x0, y0, x1, y1
        plan["weight"], plan["partner_weight"] = share, 1 - share
        return plan


def _second(inputs: tuple[object, object]) -> object:
    return inputs[1]


def _no_labels(leaves: list[object]) -> torch.Tensor:
    """Labels for a batch that has none."""
    batch = next((len(leaf) for leaf in leaves if _is_image(leaf)), 0)
    return torch.zeros(batch, 1)


def _is_image(value: object) -> bool:
    """Whether torchvision mixes a value: an image, a video or a plain tensor."""
    if isinstance(value, tv_tensors.TVTensor):
        return isinstance(value, tv_tensors.Image | tv_tensors.Video)
    return isinstance(value, torch.Tensor)
