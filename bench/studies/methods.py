"""The methods whose accuracy is compared: each by default, and with its paper's settings.

Images are 32 x 32, as those of CIFAR, for which the papers' settings are. Draws that are shared by
a batch there are each sample's own by default. StyleMix and StyleCutMix are missing: their encoder
and decoder are trained networks, which do not ship with any package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from dali_msda import (
    CutMix,
    Cutout,
    FMix,
    GMix,
    HMix,
    LaMix,
    Mixup,
    MultiMix,
    Policy,
    ResizeMix,
    SaliencyMix,
    SmoothMix,
)
from dali_msda.pipelines.training.models import add_global_head
from dali_msda.pipelines.training.step_methods import HiddenMixed, LoaderMixed, SaliencyMixed
from dali_msda.puzzle import PuzzleSettings
from dali_msda.torch import (
    AlignMix,
    CoMixup,
    ManifoldMixup,
    Mixer,
    PuzzleMix,
    RecursiveMix,
    lamix_loss,
)

CLASSES = 10
MEAN, DEVIATION = 0.3, 0.37  # of the images in [0, 1], about
LAYERS = ["", "layer1", "layer2"]
SHARED = dict(scope="batch")


class Smoothed(LoaderMixed):
    """Batches as they are, with a tenth of each label spread over all classes."""

    def loss(self, criterion: Callable, logits: Tensor, targets: list[Tensor]) -> Tensor:
        """See :class:`LoaderMixed`."""
        return functional.cross_entropy(logits, *targets, label_smoothing=0.1)


class InputMixed(LoaderMixed):
    """Mixes images by a policy.

    Args:
        policy: What is drawn.
        seed: Of the draws.
    """

    def __init__(self, policy: Policy, seed: int):
        self.mixer = Mixer(policy, CLASSES, seed=seed, rank=0)

    def forward(
        self, model: nn.Module, images: Tensor, targets: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """See :class:`LoaderMixed`."""
        images, mixed = self.mixer(images, *targets)
        return model(images), [mixed]


class LabelMixed(InputMixed):
    """LaMix: the model, which gets a second head, draws part of the label."""

    def __init__(self, policy: Policy, seed: int, model: nn.Module):
        super().__init__(policy, seed)
        add_global_head(model, CLASSES)

    def loss(self, criterion: Callable, logits: Tensor, targets: list[Tensor]) -> Tensor:
        """See :class:`LoaderMixed`."""
        return lamix_loss(logits[:, :CLASSES], logits[:, CLASSES:], *targets)


class HistoryMixed(LoaderMixed):
    """RecursiveMix, whose second head looks at what was pasted.

    Args:
        mixer: What draws and mixes.
        model: With a layer ``layer3`` that gives its last feature map; it gets the head.
    """

    def __init__(self, mixer: RecursiveMix, model: nn.Module):
        self.mixer, self.end_epoch = mixer, mixer.reset
        model.region_head = nn.Linear(model.fc.in_features, CLASSES)
        model.layer3.register_forward_hook(self._keep)

    def forward(
        self, model: nn.Module, images: Tensor, targets: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """See :class:`LoaderMixed`."""
        images, mixed = self.mixer(images, *targets)
        logits = model(images)
        self._region_logits = model.region_head(self.mixer.regions(self._features))
        return logits, [mixed]

    def loss(self, criterion: Callable, logits: Tensor, targets: list[Tensor]) -> Tensor:
        """See :class:`LoaderMixed`."""
        return self.mixer.loss(logits, self._region_logits, *targets)

    def _keep(self, layer: nn.Module, inputs: tuple, feature_map: Tensor) -> None:
        self._features = feature_map


def _images(policy: Policy) -> Callable:
    return lambda model, seed: InputMixed(policy, seed)


def _hidden(kind: type, layers: list[str], policy: Policy | None = None) -> Callable:
    return lambda model, seed: HiddenMixed(kind(model, layers, policy, CLASSES, seed=seed, rank=0))


def _recursive(**settings: Any) -> Callable:
    return lambda model, seed: HistoryMixed(
        RecursiveMix(CLASSES, seed=seed, rank=0, **settings), model
    )


def _puzzle(clean_weight: float = 0.0, **settings: Any) -> Callable:
    known = dict(mean=MEAN, std=DEVIATION, rank=0)
    return lambda model, seed: SaliencyMixed(
        PuzzleMix(CLASSES, seed=seed, **known, **settings), 1, clean_weight
    )


def _comixup(clean_weight: float = 0.0) -> Callable:
    return lambda model, seed: SaliencyMixed(CoMixup(CLASSES, seed=seed, rank=0), 1, clean_weight)


_FIVE = MultiMix(Mixup(**SHARED), 5, share="batch")
METHODS: dict[tuple[str, str], Callable[..., LoaderMixed]] = {
    ("none", ""): lambda model, seed: LoaderMixed(),
    ("label smoothing", "0.1"): lambda model, seed: Smoothed(),
    ("Cutout", "default, paper (CIFAR-10)"): _images(Cutout()),
    ("Cutout", "paper (CIFAR-100)"): _images(Cutout(length=8)),
    ("Mixup", "default"): _images(Mixup()),
    ("Mixup", "paper"): _images(Mixup(**SHARED)),
    ("MultiMix", "default"): _images(MultiMix(Mixup())),
    ("MultiMix", "paper"): _images(_FIVE),
    ("CutMix", "default"): _images(CutMix()),
    ("CutMix", "paper"): _images(CutMix(prob=0.5, **SHARED)),
    ("SaliencyMix", "default"): _images(SaliencyMix()),
    ("SaliencyMix", "paper"): _images(SaliencyMix(prob=0.5, **SHARED)),
    ("ResizeMix", "default"): _images(ResizeMix()),
    ("ResizeMix", "paper"): _images(ResizeMix(**SHARED)),
    ("SmoothMix", "default"): _images(SmoothMix()),
    ("SmoothMix", "paper"): _images(SmoothMix(**SHARED)),
    ("FMix", "default"): _images(FMix()),
    ("FMix", "paper"): _images(FMix(**SHARED)),
    ("FMix", "released code"): _images(FMix(law="legacy", rounding="coin", **SHARED)),
    ("HMix", "default"): _images(HMix()),
    ("HMix", "paper"): _images(HMix(partner="flip", **SHARED)),
    ("GMix", "default"): _images(GMix()),
    ("GMix", "paper"): _images(GMix(alpha=0.5, partner="flip", **SHARED)),
    ("LaMix", "default, paper"): lambda model, seed: LabelMixed(LaMix(), seed, model),
    ("Manifold Mixup", "default"): _hidden(ManifoldMixup, LAYERS),
    ("Manifold Mixup", "paper"): _hidden(ManifoldMixup, LAYERS, Mixup(alpha=2.0, **SHARED)),
    ("AlignMix", "default"): _hidden(AlignMix, ["", "layer3"]),
    ("AlignMix", "paper"): _hidden(AlignMix, ["", "layer3"], Mixup(alpha=2.0, **SHARED)),
    ("RecursiveMix", "default"): _recursive(),
    ("RecursiveMix", "paper"): _recursive(**SHARED),
    ("Puzzle Mix", "default"): _puzzle(),
    ("Puzzle Mix", "paper"): _puzzle(1.0, settings=PuzzleSettings(places=8), **SHARED),
    ("Co-Mixup", "default"): _comixup(),
    ("Co-Mixup", "paper"): _comixup(1.0),
}
"""By method and settings, what makes a step of a model and a seed; it may add to the model."""
