"""Classifiers from checkpoints: the trainer's, timm's, or plain weights by name."""

import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dali_msda.pipelines.data.errors import first_few
from dali_msda.pipelines.loaders.epochs import IMAGENET_MEAN, IMAGENET_STD
from dali_msda.pipelines.training.models import OWN_HEADS, make_model

KEYS = {"average": ("model_ema", "state_dict_ema"), "last": ("model", "state_dict")}


class Checkpoint(NamedTuple):
    """What a file holds.

    Attributes:
        state: Weights by name.
        weights: Which of the file's they are: "average", "last", or "only" if there are no others.
        settings: Of the training run, if the trainer wrote it, or else none.
    """

    state: dict[str, Tensor]
    weights: str
    settings: dict[str, Any]

    def sizes(self) -> tuple[int, int]:
        """Size of the crop and of the shorter side before it, of the run's validation."""
        size = self.settings.get("size", 224)
        size = [size, *(self.settings.get("sizes") or {}).values()][-1]
        return size, self.settings.get("val_resize", max(size, 256))


def read_checkpoint(path: str, weights: str = "") -> Checkpoint:
    """Read a file onto the CPU.

    Args:
        path: A checkpoint of the trainer or of timm, or weights by name, as ``torch.save`` wrote
            them, or a ``.safetensors``.
        weights: "average" or "last"; by default the average, if there is one.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged or holds something else, or not these weights.
    """
    content = _content(path)
    found = {
        kind: content[key] for kind, keys in KEYS.items() for key in keys if content.get(key)
    } or {"only": content}
    if weights and weights not in found:
        raise ValueError(
            f"weights: expected {' or '.join(found)}, which {path!r} has, got {weights}"
        )
    kind = weights or next(iter(found))
    state = found[kind]
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise ValueError(f"checkpoint: expected weights by name, got other things in {path!r}")
    state = {_plain(name): value for name, value in state.items()}
    own = {name: value for name, value in state.items() if not OWN_HEADS & {*name.split(".")}}
    settings = content.get("config") if "ranks" in content else None
    if settings and settings.get("multilabel"):
        raise ValueError(
            f"checkpoint: expected a classifier of one label an image, got {path!r}, which was "
            "trained on several. The trainer's validation measures it."
        )
    return Checkpoint(own, kind, settings or {})


def load_model(checkpoint: Checkpoint, name: str, guess: int) -> tuple[nn.Module, int]:
    """Make the model that a checkpoint belongs to.

    Args:
        checkpoint: Its weights.
        name: Of the model, as :func:`make_model` takes it.
        guess: Number of classes that it probably has.

    Returns:
        The model in evaluation mode, whose weights need no gradients, and its number of classes.

    Raises:
        ValueError: If these are the weights of another model.
    """
    state, classes = checkpoint.state, guess
    model = make_model(name, classes)
    for key, value in model.state_dict().items():  # the last layer tells the number
        theirs = state.get(key, value).shape
        if theirs != value.shape and value.shape[:1] == (classes,) and len(theirs) == value.ndim:
            model, classes = make_model(name, theirs[0]), theirs[0]
            break
    own = model.state_dict()
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    wrong += [key for key in state if key not in own]
    if wrong:
        raise ValueError(
            f"checkpoint: expected the weights of {name}, got others: {first_few(wrong)} missing, "
            "of another shape, or of no use. Give the --model that they belong to."
        )
    model.load_state_dict(state)
    return model.eval().requires_grad_(False), classes


class Classifier(nn.Module):
    """Makes logits of pixels in [0, 1], for some or all of a model's classes.

    Args:
        model: Takes images normalised with ImageNet's mean and standard deviation.
        columns: Numbers of the model's classes among which it answers.
    """

    def __init__(self, model: nn.Module, columns: Sequence[int]):
        super().__init__()
        self.model = model
        for name, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value)[:, None, None] / 255)
        self.register_buffer("columns", torch.tensor(columns))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` as the model takes them."""
        return (pixels - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits ``(B, n)`` of pixels ``(B, 3, H, W)``, n of those columns."""
        return self.model(self.normalised(pixels))[:, self.columns]


def _content(path: str) -> dict:
    """What a file holds, after a look at its checksums, which ``torch.load`` does not check."""
    refused = f"checkpoint: expected a checkpoint or a file of weights, got {path!r}"
    with open(path, "rb"):  # an error of the system says what is wrong
        pass
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        damaged = zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip()
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise whatever they meet
        raise ValueError(f"{refused}, which cannot be read as one") from error
    if damaged:
        raise ValueError(f"{refused}, which is damaged: a checksum of it is wrong")
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{refused}, which holds a {type(content).__name__}")
    return content


def _plain(name: str) -> str:
    """A weight's name without what ``DistributedDataParallel`` and ``torch.compile`` put before."""
    return name.removeprefix("module.").removeprefix("_orig_mod.")
