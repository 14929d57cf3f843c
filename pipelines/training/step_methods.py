"""Methods that mix in the training step, as the policy of a run names them.

The loader then hands on images and labels as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from dali_msda.comixup import CoMixupSettings
from dali_msda.policy import Policy, number, whole
from dali_msda.puzzle import PuzzleSettings

Criterion = Callable[[Tensor, list[Tensor]], Tensor]
"""Loss of logits and targets."""


class StepMethod:
    """Settings of a method that mixes in the training step; base of those below."""

    def start(self, model: nn.Module, num_classes: int, **how: Any) -> LoaderMixed:
        """Make ready what mixes.

        Args:
            model: The network, to which hooks and a head may be added.
            num_classes: Width of its output.
            **how: ``seed`` of the draws, ``rank`` of the process, and whether targets are
                ``compact``.
        """
        raise NotImplementedError


class LoaderMixed:
    """A step that takes batches as they come; the base of steps that mix."""

    def forward(
        self, model: nn.Module, images: Tensor, targets: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits and targets of a batch."""
        return model(images), targets

    def loss(self, criterion: Criterion, logits: Tensor, targets: list[Tensor]) -> Tensor:
        """What is minimised."""
        return criterion(logits, targets)

    def end_epoch(self) -> None:
        """Forget what the first batch of the next epoch must not depend on."""

    def state_dict(self) -> dict[str, Any]:
        """What a step that goes on needs to know."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""


@dataclasses.dataclass(frozen=True)
class ManifoldMixup(StepMethod):
    """:class:`dali_msda.torch.ManifoldMixup`.

    Attributes:
        policy: What is drawn: Mixup, or a composition of it.
        layers: Names of the model's modules, one of which is mixed at; "" is the input.
    """

    policy: Policy
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Policy):
            raise TypeError(f"policy: expected Mixup or a composition of it, got {self.policy!r}")
        self._make(None)
        object.__setattr__(self, "layers", tuple(self.layers))

    def start(self, model: nn.Module, num_classes: int, **how: Any) -> LoaderMixed:
        """See :class:`StepMethod`."""
        return HiddenMixed(self._make(model, num_classes=num_classes, **how))

    def _make(self, model: nn.Module | None, **how: Any) -> Any:
        from dali_msda import torch

        return torch.ManifoldMixup(model, self.layers, self.policy, **how)


@dataclasses.dataclass(frozen=True)
class AlignMix(ManifoldMixup):
    """:class:`dali_msda.torch.AlignMix`.

    Attributes:
        policy: As in :class:`ManifoldMixup`.
        layers: Likewise; all but "" are aligned.
    """

    def _make(self, model: nn.Module | None, **how: Any) -> Any:
        from dali_msda import torch

        return torch.AlignMix(model, self.layers, self.policy, **how)


class HiddenMixed(LoaderMixed):
    """Mixes the hidden states of a layer.

    Args:
        mixer: What draws and mixes.
    """

    def __init__(self, mixer: Any):
        self.mixer = mixer
        self.state_dict, self.load_state_dict = mixer.state_dict, mixer.load_state_dict

    def forward(
        self, model: nn.Module, images: Tensor, targets: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """See :class:`LoaderMixed`."""
        (labels,) = targets
        with self.mixer(labels) as mixed:
            logits = model(images)
        return logits, list(mixed) if self.mixer.compact else [mixed]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecursiveMix(StepMethod):
    """:class:`dali_msda.torch.RecursiveMix`, with a head of its own for what was pasted.

    Attributes:
        alpha: Greatest area of a box, as a share of the image.
        omega: Weight of the loss of the boxes.
        scope: "sample" or "batch".
        layer: Name of the module that gives the last feature map.
        regions: "box" or "transposed".
    """

    alpha: float = 0.5
    omega: float = 0.1
    scope: str = "sample"
    layer: str = "layer4"
    regions: str = "box"

    def __post_init__(self) -> None:
        self._make(1)
        if not isinstance(self.layer, str):
            raise TypeError(f"layer: expected the name of a module, got {self.layer!r}")

    def start(self, model: nn.Module, num_classes: int, **how: Any) -> LoaderMixed:
        """See :class:`StepMethod`. Targets are rows, whatever ``how`` says."""
        from dali_msda.pipelines.training.models import RegionHead

        mixer = self._make(num_classes, seed=how["seed"], rank=how["rank"])
        RegionHead(model, self.layer, num_classes, mixer.regions)
        return HistoryMixed(mixer)

    def _make(self, num_classes: int, **how: Any) -> Any:
        from dali_msda import torch

        names = "alpha", "omega", "scope", "regions"
        how |= {name: getattr(self, name) for name in names}
        return torch.RecursiveMix(num_classes, **how)


class HistoryMixed(LoaderMixed):
    """Mixes each batch with the one before.

    Args:
        mixer: What draws and mixes. The model appends the logits of its regions to its own.
    """

    def __init__(self, mixer: Any):
        self.mixer, self._region_logits = mixer, None
        self.state_dict, self.load_state_dict = mixer.state_dict, mixer.load_state_dict
        self.end_epoch = mixer.reset

    def forward(
        self, model: nn.Module, images: Tensor, targets: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """See :class:`LoaderMixed`."""
        images, mixed = self.mixer(images, *targets)
        logits = model(images)
        classes = self.mixer.num_classes
        self.mixer.remember(logits[:, :classes])
        logits, self._region_logits = logits[:, :-classes], logits[:, -classes:]
        return logits, [mixed]

    def loss(self, criterion: Criterion, logits: Tensor, targets: list[Tensor]) -> Tensor:
        """See :class:`LoaderMixed`."""
        region_logits, self._region_logits = self._region_logits, None
        return criterion(logits, targets) + self.mixer.region_loss(region_logits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PuzzleMix(PuzzleSettings, StepMethod):
    """:class:`dali_msda.torch.PuzzleMix`, by saliency from one more pass through the model.

    Attributes:
        alpha: As in :class:`dali_msda.Mixup`; so are ``scope``, ``partner`` and ``prob``.
        blocks: Parts of the mask along each side; one of these is drawn for each batch.
        k: Interpolations of each pair; None for one.
        share: Who shares the lambdas of interpolations.
        prior_lam: Lambda that all masks follow instead of the drawn ones, which then are the labels
            as they are.
        every: Mix one batch of so many, the last; the others stay as they are. With 2 and a
            ``prior_lam`` of 0.5 that is LaMix over Puzzle Mix.
        clean_weight: Weight of the cross-entropy of the batch as it is, which is added to the loss;
            its pass, in training mode, then is that for the saliency. The released code's
            ``clean_lam``, times 2 / classes where the criterion is softmax_bce.
    """

    alpha: float = 1.0
    scope: str = "sample"
    partner: str = "permutation"
    prob: float = 1.0
    blocks: tuple[int, ...] = (2, 4, 8, 16)
    k: int | None = None
    share: str = "pair"
    prior_lam: float | None = None
    every: int = 1
    clean_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("every", self.every, 1, 2**16, "1 or more batches, a whole number")
        number("clean_weight", self.clean_weight, 0.0, 100.0, "a number in [0, 100]")
        self.mixer(1)
        object.__setattr__(self, "blocks", tuple(self.blocks))

    def start(self, model: nn.Module, num_classes: int, **how: Any) -> LoaderMixed:
        """See :class:`StepMethod`."""
        return SaliencyMixed(self.mixer(num_classes, **how), self.every, self.clean_weight)

    def mixer(self, num_classes: int, **how: Any) -> Any:
        """What draws and mixes: a :class:`dali_msda.torch.PuzzleMix`."""
        from dali_msda import torch
        from dali_msda.pipelines.loaders.epochs import IMAGENET_MEAN, IMAGENET_STD

        settings = {name: getattr(self, name) for name in PuzzleSettings.__dataclass_fields__}
        own = set(self.__dataclass_fields__) - set(settings) - {"every", "clean_weight"}
        how |= {name: getattr(self, name) for name in own}
        how["mean"], how["std"] = ([v / 255 for v in of] for of in (IMAGENET_MEAN, IMAGENET_STD))
        return torch.PuzzleMix(num_classes, settings=PuzzleSettings(**settings), **how)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoMixup(CoMixupSettings, StepMethod):
    """:class:`dali_msda.torch.CoMixup`, by saliency from one more pass through the model.

    Images on a GPU are mixed there by what the CPU finds, for which it waits in each step.

    Attributes:
        blocks: Blocks of an output along each side; one of these is drawn for each batch.
        clean_weight: As in :class:`PuzzleMix`.
    """

    blocks: tuple[int, ...] = (4,)
    clean_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("clean_weight", self.clean_weight, 0.0, 100.0, "a number in [0, 100]")
        self.mixer(1)
        object.__setattr__(self, "blocks", tuple(self.blocks))

    def start(self, model: nn.Module, num_classes: int, **how: Any) -> LoaderMixed:
        """See :class:`StepMethod`."""
        return SaliencyMixed(self.mixer(num_classes, **how), 1, self.clean_weight)

    def mixer(self, num_classes: int, **how: Any) -> Any:
        """What draws and mixes: a :class:`dali_msda.torch.CoMixup`."""
        from dali_msda import torch

        settings = {name: getattr(self, name) for name in CoMixupSettings.__dataclass_fields__}
        how |= dict(settings=CoMixupSettings(**settings), blocks=self.blocks, via_cpu=True)
        return torch.CoMixup(num_classes, **how)


class SaliencyMixed(LoaderMixed):
    """Mixes batches by the gradient of the model's loss of them as they are.

    Args:
        mixer: What draws and mixes.
        every: Batches of which one is mixed.
        clean_weight: Share of their own loss in what is minimised.
    """

    def __init__(self, mixer: Any, every: int, clean_weight: float):
        self.mixer, self._every, self._batches = mixer, every, 0
        self._clean_weight, self._clean_loss = clean_weight, None

    def forward(
        self, model: nn.Module, images: Tensor, targets: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """See :class:`LoaderMixed`."""
        self._batches += 1
        if self._batches % self._every == 0:
            (labels,) = targets
            images, *targets = self.mixer(images, labels, self._saliency(model, images, labels))
        return model(images), targets

    def _saliency(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        from dali_msda.torch import gradient_saliency
        from dali_msda.torch.methods.layers import unwrapped

        if not self._clean_weight:
            return gradient_saliency.saliency(model, images, labels)
        images = images.detach().requires_grad_()
        clean = functional.cross_entropy(unwrapped(model)(images), labels)
        self._clean_loss = self._clean_weight * clean
        return gradient_saliency.saliency_of_loss(clean, images, keep_graph=True)

    def loss(self, criterion: Criterion, logits: Tensor, targets: list[Tensor]) -> Tensor:
        """See :class:`LoaderMixed`."""
        loss, clean, self._clean_loss = criterion(logits, targets), self._clean_loss, None
        return loss if clean is None else loss + clean

    def state_dict(self) -> dict[str, Any]:
        """See :class:`LoaderMixed`."""
        return {"batches": self._batches, "mixer": self.mixer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`LoaderMixed`."""
        self.mixer.load_state_dict(state["mixer"])
        self._batches = state["batches"]


STEP_METHODS = {
    "manifoldmixup": ManifoldMixup,
    "alignmix": AlignMix,
    "recursivemix": RecursiveMix,
    "puzzlemix": PuzzleMix,
    "comixup": CoMixup,
}
"""The settings above by the names that a policy in YAML has for them."""
