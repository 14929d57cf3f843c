"""Methods that mix in the training step, as the policy of a run names them.

The loader then hands on images and labels as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dali_msda.policy import Policy

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


STEP_METHODS = {"manifoldmixup": ManifoldMixup, "alignmix": AlignMix, "recursivemix": RecursiveMix}
"""The settings above by the names that a policy in YAML has for them."""
