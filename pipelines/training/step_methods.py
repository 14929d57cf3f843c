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
