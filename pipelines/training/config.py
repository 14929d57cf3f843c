"""Settings of a training run: one validated dataclass, filled from a YAML preset and from flags."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from dali_msda.pipelines.training.policies import policy_from_dict
from dali_msda.pipelines.training.schedules import checked_points, checked_sizes


def _setting(default, help, *, low=None, high=None, choices=None, kind=None, group="run"):
    """Declare a field once: its default, its range, and what ``--help`` says about it."""
    about = dict(help=help, low=low, high=high, choices=choices, group=group)
    about["kind"] = kind or type(default)
    return dataclasses.field(default=default, metadata=about)


def _data(*args, **options):
    return _setting(*args, group="data", **options)


def _training(*args, **options):
    return _setting(*args, group="training", **options)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that one run is made of. The fields' help texts are their documentation."""

    data: str = _data(
        "",
        "folder with train/ and val/, each of class folders, as ImageFolder's, or of .tar shards",
    )
    train: str = _data("", "training images, if not DATA/train: a folder, or a glob of .tar shards")
    val: str = _data("", "validation images, if not DATA/val; 'none' to train without")
    train_list: str = _data(
        "", "read only this list's files, of lines 'path label' (from pipelines.check --output)"
    )
    val_list: str = _data(
        "",
        "the same for validation; labels are indices or names of train's class folders, so that "
        "ImageNet's flat folder and Tiny ImageNet's val_annotations.txt can be read",
    )
    classes: int = _data(0, "number of classes; 0 counts the class folders", low=0)
    size: int = _data(224, "height and width of the network's input, in pixels", low=1)
    sizes: Any = _data(  # noqa: RUF009  the call returns a field
        None, "sizes from later epochs on, the last for validation: '{15: 352}'", kind=object
    )
    val_resize: int = _data(256, "shorter side before the central crop, in pixels", low=1)
    min_area: float = _data(0.08, "smallest random crop, as a share of the image", low=1e-4, high=1)
    policy: Any = _data(  # noqa: RUF009  the call returns a field
        None, "what to mix, as YAML: '{cutmix: {alpha: 1.0}}'; none", kind=object
    )
    copies: int = _data(1, "random crops of each image in a batch, mixed by turns", low=1, high=64)
    dtype: str = _data("float32", "type of the images", choices=("float32", "float16"))
    loader: str = _data(
        "dali",
        "what reads, decodes and mixes; ffcv reads train.beton and val.beton",
        choices=("dali", "ffcv", "torch"),
    )
    loader_device: str = _data(
        "auto",
        "where DALI decodes and mixes and FFCV mixes; auto: as --device",
        choices=("auto", "cpu", "gpu"),
    )
    threads: int = _data(0, "loader threads per process; 0: an equal share of the CPUs", low=0)
    prefetch: int = _data(2, "batches prepared ahead", low=1, high=64)

    model: str = _training("resnet101", "a model of torchvision, or else of timm; or timm:NAME")
    epochs: int = _training(90, "passes over the training images", low=1)
    batch_size: int = _training(
        256, "images per step, over all processes; copies and multimix multiply them", low=1
    )
    lr: float = _training(0.1, "learning rate after the warm-up", low=0)
    warmup_epochs: float = _training(5.0, "epochs of linear warm-up", low=0)
    warmup_lr: float = _training(0.0, "learning rate at the first step of the warm-up", low=0)
    schedule: str = _training("cosine", "after the warm-up", choices=("step", "cosine", "linear"))
    milestones: tuple = _training((30, 60, 80), "epochs at which a step schedule decays", low=0)
    gamma: float = _training(0.1, "factor of each decay of a step schedule", low=0, high=1)
    final_lr: float = _training(0.0, "learning rate at the end of a cosine schedule", low=0)
    points: Any = _training(  # noqa: RUF009  the call returns a field
        ((0, 1.0),), "of a linear schedule: '[[epoch, share of lr], ...]'", kind=object
    )
    momentum: float = _training(0.9, "of SGD", low=0, high=1)
    nesterov: bool = _training(True, "Nesterov's momentum")
    weight_decay: float = _training(1e-4, "of all parameters", low=0)
    smoothing: float = _training(0.0, "label smoothing, a share in [0, 1]", low=0, high=1)
    lamix_beta: float = _training(
        0.0, "share of the mixed label beside LaMix's global one; 0: no global label", low=0, high=1
    )
    criterion: str = _training(
        "cross_entropy",
        "loss of the logits; softmax_bce: binary cross-entropy of each class's softmax output",
        choices=("cross_entropy", "softmax_bce"),
    )
    loss: str = _training(
        "compact", "soft labels as labels and weights, or as rows", choices=("compact", "dense")
    )
    amp: bool = _training(False, "bfloat16 autocast")
    channels_last: bool = _training(True, "memory order of images and weights")

    out: str = _setting("runs/train", "folder for checkpoint and logs")
    resume: str = _setting("never", "auto: go on from OUT's checkpoint, if any; or a checkpoint")
    restart_epoch: bool = _setting(
        False, "where images or DALI are others than the checkpoint's, begin its epoch again"
    )
    checkpoint_every: int = _setting(
        0, "steps between checkpoints; 0: at ends of epochs only", low=0
    )
    log: str = _setting("csv", "besides the terminal", choices=("csv", "tensorboard", "both"))
    device: str = _setting("auto", "where the network runs", choices=("auto", "cpu", "cuda"))
    seed: int = _setting(0, "of weights, order, crops and mixing", low=0, high=2**31 - 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _converted(field.name, getattr(self, field.name), field.metadata)
            object.__setattr__(self, field.name, value)
        policy_from_dict(self.policy)
        object.__setattr__(self, "points", checked_points(self.points))
        object.__setattr__(self, "sizes", checked_sizes(self.sizes))
        if self.val_resize < self.val_size:
            what = "the last of sizes" if self.sizes else "size"
            raise ValueError(
                f"val_resize: expected at least {what}, {self.val_size}, got {self.val_resize}"
            )
        if self.lamix_beta and self.criterion != "cross_entropy":
            raise ValueError(
                f"criterion: expected cross_entropy with lamix_beta, got {self.criterion}"
            )
        if self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov: expected momentum > 0 with it, got 0. Set nesterov to false."
            )
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs: expected at most epochs, {self.epochs}, got {self.warmup_epochs}"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones: expected rising epochs, got {list(self.milestones)}")
        if not (self.data or self.train):
            raise ValueError(
                "data: expected a folder with train/ and val/, got none. Give --data DIR."
            )
        if not (self.data or self.val):
            raise ValueError("val: expected a folder, shards or 'none', got none. Give --val PATH.")

    @property
    def val_size(self) -> int:
        """Size of validation images: that of the last training images."""
        return [self.size, *self.sizes.values()][-1]


def _converted(name: str, value: Any, about: Mapping[str, Any]) -> Any:
    """Check one value against its field's declaration, and give it the field's type."""
    kind = about["kind"]
    if kind is object:
        return value
    if kind is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name}: expected a list of numbers, got {value!r}")
        return tuple(
            _converted(f"{name}[{i}]", item, {**about, "kind": float})
            for i, item in enumerate(value)
        )
    if kind is str and value is None:
        value = ""
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        hint = ""
        if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
            hint = "; YAML wants a point in it: 1.0e-4"
        raise ValueError(f"{name}: expected {_NAMES[kind]}, got {value!r}{hint}")
    if about["choices"] and value not in about["choices"]:
        raise ValueError(f"{name}: expected one of {', '.join(about['choices'])}, got {value!r}")
    low, high = about["low"], about["high"]
    if low is not None and not low <= value <= (sys.float_info.max if high is None else high):
        bounds = f"at least {low}" if high is None else f"a number in [{low}, {high}]"
        raise ValueError(f"{name}: expected {bounds}, got {value}")
    return value


_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
