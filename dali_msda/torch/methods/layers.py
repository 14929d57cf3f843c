"""Named layers of a model: where a hidden state is replaced by a mixed one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

INPUT = ""
"""Name of the input of a model, as that of a layer."""


class Mixing:
    """What the hooks of a model do: mix at one layer, or nothing. It does not hold the model.

    What changes from batch to batch are tensors, and a name, so that ``torch.compile`` makes one
    graph for each layer, and one without mixing.

    Attributes:
        names: Of the layers that can be mixed at.
        layer: Name of the layer that is mixed at, or None.
        sources: Indices of the samples of each output, int64 ``(B * k, n)``.
        weights: Their weights, float32 ``(B * k, n)``.
        flags: One bool per sample, ``(B,)``, for methods that need one; or None.
        interpolations: Number of outputs per sample, k.
        ran: Whether the layer has been mixed at.
    """

    def __init__(self, names: tuple[str, ...], rule: Callable[[Mixing, Tensor], Tensor]):
        self.names, self.rule = names, rule
        self.layer: str | None = None
        self.sources = self.weights = self.flags = None
        self.interpolations, self.ran = 1, False

    def arm(self, plan: np.ndarray, device: torch.device, flags: np.ndarray | None) -> None:
        """Mix as a plan says, whose records name their layer, until :meth:`disarm`."""
        records = plan.reshape(-1)
        count = max(2, int(records["sources"].max(initial=2)))
        weights = _hidden_weights(records)[:, :count]
        self.sources = _tensor(_sources(records)[:, :count].astype(np.int64), device)
        self.weights = _tensor(weights, device)
        self.flags = None if flags is None else _tensor(flags, device)
        self.interpolations = plan.shape[1] if plan.ndim == 2 else 1
        self.layer, self.ran = self.names[records["layer"][0]], False

    def disarm(self) -> None:
        """Hand on what comes."""
        self.layer = self.sources = self.weights = self.flags = None

    def __call__(self, name: str, hidden: Tensor) -> Tensor:
        """The hidden state of a layer, mixed if it is the one to be mixed at."""
        if self.layer != name:
            return hidden
        batch = len(self.sources) // self.interpolations
        if not isinstance(hidden, Tensor) or not hidden.is_floating_point():
            got = hidden.dtype if isinstance(hidden, Tensor) else type(hidden).__name__
            raise TypeError(
                f"layer {name!r}: expected a tensor of floats, or a tuple that begins with one, "
                f"got {got}; name another layer"
            )
        if hidden.ndim == 0 or len(hidden) != batch:
            raise ValueError(
                f"layer {name!r}: expected a batch of {batch}, as there are labels, got shape "
                f"{tuple(hidden.shape)}"
            )
        self.ran = True
        return _in_order_of(hidden, self.rule(self, hidden))


def hook(model: nn.Module, mixing: Mixing) -> None:
    """Put hooks on the layers of a model, where they stay.

    Wrappers of ``torch.compile`` and of parallel training are looked through.

    Raises:
        ValueError: If the model has no layer of a name.
    """
    model = unwrapped(model)
    for name, layer in [(name, _module(model, name)) for name in mixing.names]:
        if name == INPUT:
            layer.register_forward_pre_hook(functools.partial(_before, mixing))
        else:
            layer.register_forward_hook(functools.partial(_after, mixing, name))


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        known = ", ".join(repr(child) for child, _ in model.named_children())
        raise ValueError(
            f"layers: expected names of {type(model).__name__}'s modules, such as {known}, or '' "
            f"for its input, got {name!r}"
        ) from None


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside ``torch.compile``, ``DistributedDataParallel`` and ``DataParallel``."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        else:
            return model


def checked_names(layers: object) -> tuple[str, ...]:
    """Names of layers as a tuple; raise TypeError or ValueError unless they are some, each once."""
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
        raise TypeError(f"layers: expected a list of names such as ['', 'layer1'], got {layers!r}")
    for name in layers:
        if not isinstance(name, str):
            raise TypeError(f"layers: expected names, '' for the input, got {name!r}")
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers: expected each name once, got {list(layers)}")
    return tuple(layers)


def weighted_sum(mixing: Mixing, hidden: Tensor) -> Tensor:
    """Weighted sums of hidden states, sample by sample: the rule of Mixup at any layer."""
    sources = mixing.sources.to(hidden.device)
    own = repeated(hidden, mixing.interpolations)
    weights = mixing.weights.to(hidden.device, hidden.dtype)
    weights = weights.reshape(*weights.shape, *[1] * (hidden.ndim - 1))
    if sources.shape[1] == 2:
        # The first argument's memory order is the result's.
        return torch.lerp(own, hidden.index_select(0, sources[:, 1]), weights[:, 1])
    mixed = own * weights[:, 0]
    for number in range(1, sources.shape[1]):
        mixed = mixed + hidden.index_select(0, sources[:, number]) * weights[:, number]
    return mixed


def repeated(hidden: Tensor, times: int) -> Tensor:
    """Each sample so many times in a row."""
    return hidden if times == 1 else hidden.repeat_interleave(times, 0)


def _in_order_of(hidden: Tensor, mixed: Tensor) -> Tensor:
    """The mixed state in channels last, if the hidden state is; repeated samples are not."""
    if hidden.ndim != 4 or hidden.is_contiguous():
        return mixed
    last = torch.channels_last
    return (
        mixed.contiguous(memory_format=last) if hidden.is_contiguous(memory_format=last) else mixed
    )


def _before(mixing: Mixing, module: nn.Module, inputs: tuple) -> tuple | None:
    if mixing.layer != INPUT:
        return None  # keeps the inputs as they are
    if not inputs:
        raise TypeError("layer '': expected the model's input as its first argument, got none")
    return mixing(INPUT, inputs[0]), *inputs[1:]


def _after(
    mixing: Mixing, name: str, module: nn.Module, inputs: tuple, output: object
) -> object | None:
    if mixing.layer != name:
        return None  # keeps the output as it is
    if isinstance(output, tuple) and output:
        return mixing(name, output[0]), *output[1:]
    return mixing(name, output)


def _sources(records: np.ndarray) -> np.ndarray:
    return np.column_stack([records["own"], records["partner"], records["extra"]])


def _hidden_weights(records: np.ndarray) -> np.ndarray:
    """Weights of the sources; of two, those of pixels, which are not always the labels'."""
    columns = [records["weight"], records["partner_weight"], records["extra_weight"]]
    weights = np.column_stack(columns)
    two = records["sources"] <= 2
    weights[two, 0], weights[two, 1] = records["outside"][two], 1 - records["outside"][two]
    return weights


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
