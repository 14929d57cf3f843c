"""Networks by name, from torchvision, timm and cifar_nets.py, and their first weights."""

import contextlib
import copy
import difflib
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from dali_msda.pipelines.data.errors import first_few
from dali_msda.pipelines.training.cifar_nets import CIFAR_NETS
from dali_msda.torch.torchvision_cpu import declare_operators

# Classifiers of torchvision with extra heads, which the loss would not know what to do with.
WITH_EXTRA_HEADS = ("googlenet", "inception_v3")
OWN_HEADS = {"global_head", "region_head"}  # which methods add, in checkpoints of the trainer


def make_model(
    name: str, num_classes: int, *, init: str = "", global_head: bool = False
) -> nn.Module:
    """Make a classifier.

    Args:
        name: One of :data:`CIFAR_NETS`, a classification model of torchvision, as ``resnet101``, or
            else of timm; with ``timm:`` before it always of timm.
        num_classes: Width of its output.
        init: Its weights: "" for random ones, "pretrained" for those that its library has for it by
            default, the library's name of others, or a file as :func:`load_file` takes it. A head
            of another number of classes stays random.
        global_head: Whether to add a head as :func:`add_global_head` does, of random weights.

    Raises:
        ValueError: If none has a model of that name, or there are no such weights.
        OSError: If weights could not be fetched.
    """
    is_file = os.path.isfile(init)
    model = _plain_model(name, num_classes, "" if is_file else init)
    if is_file:
        load_file(model, init, num_classes)
    if global_head:
        add_global_head(model, num_classes)
    return model


def load_file(model: nn.Module, path: str, num_classes: int) -> None:
    """Give a model the weights of a file.

    Args:
        model: Of torchvision or timm, changed in place.
        path: A ``.safetensors``, or what ``torch.save`` wrote: weights by name, alone or within a
            checkpoint, the trainer's or timm's, of which averaged ones are taken if there are any.
        num_classes: Width of its output.

    Raises:
        ValueError: If it is no such file, or its weights are those of another model.
    """
    declare_operators()
    import timm.models

    try:
        state = timm.models.load_state_dict(path)
        whole = all(isinstance(value, Tensor) for value in state.values())
    except Exception as error:  # torch and safetensors raise whatever they meet
        raise ValueError(
            f"init: expected a file of weights, got {path!r}, which cannot be read as one"
        ) from error
    if not whole:
        raise ValueError(f"init: expected weights by name, got other things in {path!r}")
    _load_weights(model, state, num_classes, path)


def compile_model(model: nn.Module, backend: str) -> None:
    """Have ``torch.compile`` make the model's forward pass; its weights keep their names.

    Raises:
        ValueError: If there is no such backend.
    """
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        known = ", ".join(torch.compiler.list_backends())
        raise ValueError(f"compile: expected a backend such as {known}, got {backend!r}")
    model.compile(backend=backend)


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


def _plain_model(name: str, num_classes: int, init: str) -> nn.Module:
    if name in CIFAR_NETS:
        if init:
            raise _no_such_weights(name, init, [])
        return CIFAR_NETS[name](num_classes)
    declare_operators()
    import torchvision.models

    theirs = torchvision.models.list_models(module=torchvision.models)
    if name in theirs:
        extra = dict(aux_logits=False, init_weights=True) if name in WITH_EXTRA_HEADS else {}
        model = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **extra)
        if init:
            _load_weights(model, _weights_of_torchvision(name, init), num_classes, init)
        return model
    import timm  # takes a second or two

    plain = name.removeprefix("timm:")
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, [*CIFAR_NETS, *theirs, *timm.list_models()], n=3)
        guess = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"model: expected one of torchvision or timm, got {name!r}.{guess}")
    if not init:
        return timm.create_model(plain, num_classes=num_classes)
    architecture, _, tag = plain.partition(".")
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    tag = tag if init == "pretrained" else init
    if not known or tag not in ("", *known):
        raise _no_such_weights(name, init, known)
    full = f"{architecture}.{tag}" if tag else architecture
    with _fetching(init):
        return timm.create_model(full, pretrained=True, num_classes=num_classes)


def _weights_of_torchvision(name: str, init: str) -> dict[str, Tensor]:
    import torchvision.models

    entries = torchvision.models.get_model_weights(name).__members__
    if init != "pretrained" and init not in entries:
        raise _no_such_weights(name, init, list(entries))
    with _fetching(init):
        return entries["DEFAULT" if init == "pretrained" else init].get_state_dict(progress=False)


def _no_such_weights(name: str, init: str, known: list[str]) -> ValueError:
    some = f"pretrained, {', '.join(known)}, or a file" if known else "a file"
    return ValueError(f"init: expected {some} for the model {name}, got {init!r}")


@contextlib.contextmanager
def _fetching(init: str) -> Iterator[None]:
    """Say what to do where weights cannot be fetched."""
    try:
        yield
    except Exception as error:  # each of the libraries' ways to the network has errors of its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OSError(
            f"init: expected to fetch weights, {init}, got {reason}. Where there is no network, "
            "give a file of them: --init FILE."
        ) from error


def _load_weights(model: nn.Module, state: dict, num_classes: int, source: str) -> None:
    """Load weights, but for a head of another number of classes and heads of the trainer's own."""
    own = model.state_dict()
    state = {name: value for name, value in state.items() if not OWN_HEADS & {*name.split(".")}}
    for name in own.keys() & state.keys():
        ours, theirs = own[name].shape, state[name].shape
        if ours != theirs and ours[:1] == (num_classes,) and ours[1:] == theirs[1:]:
            state[name] = own[name]
    wrong = [name for name in own if name not in state or state[name].shape != own[name].shape]
    wrong += [name for name in state if name not in own]
    if wrong:
        raise ValueError(
            f"init: expected the weights of {type(model).__name__}, got others in {source!r}: "
            f"{first_few(wrong)} missing, of another shape, or of no use. Give the model that they "
            "belong to."
        )
    model.load_state_dict(state)
