"""Networks by name, from torchvision, timm and cifar_nets.py."""

import copy
import difflib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dali_msda.pipelines.training.cifar_nets import CIFAR_NETS
from dali_msda.torch.torchvision_cpu import declare_operators

# Classifiers of torchvision with extra heads, which the loss would not know what to do with.
WITH_EXTRA_HEADS = ("googlenet", "inception_v3")


def make_model(name: str, num_classes: int, *, global_head: bool = False) -> nn.Module:
    """Make an untrained classifier.

    Args:
        name: One of :data:`CIFAR_NETS`, a classification model of torchvision, as ``resnet101``, or
            else of timm; with ``timm:`` before it always of timm.
        num_classes: Width of its output.
        global_head: Whether to add a head as :func:`add_global_head` does.

    Raises:
        ValueError: If none has a model of that name.
    """
    model = _plain_model(name, num_classes)
    if global_head:
        add_global_head(model, num_classes)
    return model


def add_global_head(model: nn.Module, num_classes: int) -> None:
    """Give a classifier a second linear head on the same features: LaMix's, for the global label.

    In training mode the model then returns ``(B, 2 * num_classes)``: its own logits and those of
    the new head; in evaluation mode its own alone. The head is ``global_head`` of the classifier's
    last layer, whose parameters keep their names: a plain model takes the others of its state dict
    with ``strict=False``.

    Args:
        model: Of torchvision or timm, changed in place.
        num_classes: Width of its output.

    Raises:
        ValueError: If it does not end in a linear layer, or a 1 x 1 convolution, of that width.

    Reference:
        Bypassing the Random Input Mixing in Mixup, ICLR 2021 submission, eq. 9.
    """
    layers = [module for module in model.modules() if not any(module.children())]
    while layers and isinstance(layers[-1], nn.Identity | nn.Flatten | nn.Dropout):
        layers.pop()
    last = layers[-1] if layers else None
    width = getattr(last, "out_features", getattr(last, "out_channels", None))
    if not isinstance(last, nn.Linear | nn.Conv2d) or width != num_classes:
        raise ValueError(
            f"model: expected one that ends in a linear layer of {num_classes} classes, for the "
            f"head beside it, got {type(model).__name__}, which ends in {last}. Take another "
            "model, or lamix_beta 0."
        )
    head = copy.deepcopy(last)
    head.reset_parameters()
    last.add_module("global_head", head)
    last.register_forward_hook(_with_global_logits)


def _with_global_logits(layer: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor | None:
    if not layer.training:
        return None  # keeps the output as it is
    return torch.cat([logits, layer.global_head(inputs[0])], dim=1)


class RegionHead(nn.Linear):
    """A second head of a classifier, on the features of a region of its images: RecursiveMix's.

    In training mode the model then returns ``(B, C + num_classes)``: its own logits and those of
    this head; in evaluation mode its own alone.

    Args:
        model: Of torchvision or timm, changed in place: this is its ``region_head``.
        layer: Name of the module that gives the feature map, ``(B, channels, h, w)``.
        num_classes: Width of the output.
        regions: Makes features ``(B, channels)`` of the feature map.

    Raises:
        ValueError: If the model has no such layer, or it gives something else.

    Reference:
        Yang et al., RecursiveMix, NeurIPS 2022, arXiv:2203.06844, section 3.3.
    """

    def __init__(
        self, model: nn.Module, layer: str, num_classes: int, regions: Callable[[Tensor], Tensor]
    ):
        place = next(model.parameters())
        super().__init__(_channels(model, layer), num_classes, device=place.device)
        self.regions, self.features = regions, None
        model.add_module("region_head", self)
        model.get_submodule(layer).register_forward_hook(self._look)
        model.register_forward_hook(self._append)

    def _look(self, layer: nn.Module, inputs: tuple, feature_map: Tensor) -> None:
        if self.training:
            self.features = self.regions(feature_map)

    def _append(self, model: nn.Module, inputs: tuple, logits: Tensor) -> Tensor | None:
        if not self.training:
            return None  # keeps the output as it is
        features, self.features = self.features, None
        return torch.cat([logits, self(features)], dim=1)


def _channels(model: nn.Module, layer: str) -> int:
    """Channels of the feature map that a layer gives."""
    found = []
    try:
        hook = model.get_submodule(layer).register_forward_hook(lambda *call: found.append(call[2]))
    except AttributeError:
        known = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"layer: expected one such as {known}, got {layer!r}") from None
    training, place = model.training, next(model.parameters())
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 64, 64, device=place.device))
    hook.remove()
    model.train(training)
    if not found or not isinstance(found[0], Tensor) or found[0].ndim != 4:
        raise ValueError(f"layer: expected one that gives a map (B, C, h, w), got {layer!r}")
    return found[0].shape[1]


def _plain_model(name: str, num_classes: int) -> nn.Module:
    if name in CIFAR_NETS:
        return CIFAR_NETS[name](num_classes)
    declare_operators()
    import torchvision.models

    theirs = torchvision.models.list_models(module=torchvision.models)
    if name in theirs:
        extra = dict(aux_logits=False, init_weights=True) if name in WITH_EXTRA_HEADS else {}
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **extra)
    import timm  # takes a second or two

    plain = name.removeprefix("timm:")
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, [*CIFAR_NETS, *theirs, *timm.list_models()], n=3)
        guess = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"model: expected one of torchvision or timm, got {name!r}.{guess}")
    return timm.create_model(plain, num_classes=num_classes)
