"""Settings of a training run: one validated dataclass, filled from a YAML preset and from flags."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from dali_msda.pipelines.training.policies import policy_from_dict
from dali_msda.pipelines.training.schedules import checked_points, checked_sizes
from dali_msda.pipelines.training.step_methods import StepMethod
from dali_msda.policy import Policy


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
    multilabel: bool = _data(
        False, "lists of files name any number of labels, as 'path cat,dog', or '-' for none"
    )
    classes: int = _data(0, "number of classes; 0 counts the class folders", low=0)
    size: int = _data(224, "height and width of the network's input, in pixels", low=1)
    sizes: Any = _data(  # noqa: RUF009  the call returns a field
        None, "sizes from later epochs on, the last for validation: '{15: 352}'", kind=object
    )
    val_resize: int = _data(256, "shorter side before the central crop, in pixels", low=1)
    min_area: float = _data(0.08, "smallest random crop, as a share of the image", low=1e-4, high=1)
    max_area: float = _data(1.0, "largest random crop, likewise", low=1e-4, high=1)
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
    init: str = _training(
        "",
        "weights to begin with: 'pretrained'; a name that torchvision or timm has for some, as "
        "IMAGENET1K_V2; or a file; random without",
    )
    epochs: int = _training(90, "passes over the training images", low=1)
    batch_size: int = _training(
        256, "images per step, over all processes; copies and multimix multiply them", low=1
    )
    accumulate: int = _training(
        1,
        "parts of each batch that the network sees one by one, their gradients added up",
        low=1,
        high=1024,
    )
    optimizer: str = _training("sgd", "or another of timm's, as adamw or lamb")
    optimizer_options: Any = _training(  # noqa: RUF009  the call returns a field
        None, "what timm's factory takes besides: '{betas: [0.9, 0.95]}'", kind=object
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
    momentum: float = _training(0.9, "of SGD and its relatives", low=0, high=1)
    nesterov: bool = _training(True, "Nesterov's momentum, of sgd")
    weight_decay: float = _training(1e-4, "in the optimiser's own sense", low=0)
    decay_biases: bool = _training(
        True, "weight decay of biases, norm layers and what timm's models exclude, too"
    )
    clip_norm: float = _training(
        0.0, "greatest norm of the gradient, longer ones are scaled down; 0: any", low=0
    )
    ema: float = _training(
        0.0, "decay per step of a moving average of the weights; 0: none", low=0, high=1 - 1e-7
    )
    ema_warmup: bool = _training(False, "begin with a short average: 1 - step**(-2/3) if smaller")
    smoothing: float = _training(0.0, "label smoothing, a share in [0, 1]", low=0, high=1)
    lamix_beta: float = _training(
        0.0, "share of the mixed label beside LaMix's global one; 0: no global label", low=0, high=1
    )
    criterion: str = _training(
        "cross_entropy",
        "loss of the logits; bce: binary cross-entropy, each class a question of its own; "
        "softmax_bce: of each class's softmax output",
        choices=("cross_entropy", "bce", "softmax_bce"),
    )
    loss: str = _training(
        "compact", "soft labels as labels and weights, or as rows", choices=("compact", "dense")
    )
    amp: bool = _training(False, "bfloat16 autocast")
    compile: str = _training("", "backend of torch.compile for the network, as inductor; none")
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
    wandb: str = _setting(
        "", "project of Weights & Biases for the log as well; offline without WANDB_MODE=online"
    )
    device: str = _setting("auto", "where the network runs", choices=("auto", "cpu", "cuda"))
    seed: int = _setting(0, "of weights, order, crops and mixing", low=0, high=2**31 - 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _converted(field.name, getattr(self, field.name), field.metadata)
            object.__setattr__(self, field.name, value)
        policy = policy_from_dict(self.policy)
        object.__setattr__(self, "points", checked_points(self.points))
        object.__setattr__(self, "sizes", checked_sizes(self.sizes))
        object.__setattr__(self, "optimizer_options", _checked_options(self.optimizer_options))
        self._expect_images()
        self._expect_schedule()
        self._expect_loss(policy)

    def _expect_images(self) -> None:
        if not (self.data or self.train):
            raise ValueError(
                "data: expected a folder with train/ and val/, got none. Give --data DIR."
            )
        if not (self.data or self.val):
            raise ValueError("val: expected a folder, shards or 'none', got none. Give --val PATH.")
        if self.val_resize < self.val_size:
            what = "the last of sizes" if self.sizes else "size"
            raise ValueError(
                f"val_resize: expected at least {what}, {self.val_size}, got {self.val_resize}"
            )
        if self.multilabel and self.loader == "ffcv":
            raise ValueError(
                "loader: expected dali or torch with multilabel, got ffcv, whose files hold one "
                "label an image"
            )
        if self.max_area < self.min_area:
            raise ValueError(
                f"max_area: expected at least min_area, {self.min_area}, got {self.max_area}"
            )
        lists = {"train_list": self.train_list, "val_list": self.val_list or self.val == "none"}
        for name, given in lists.items():
            if self.multilabel and not given:
                raise ValueError(
                    f"{name}: expected a list of lines 'path cat,dog' with multilabel, got none. "
                    f"Give --{name.replace('_', '-')} FILE."
                )

    def _expect_schedule(self) -> None:
        if self.optimizer == "sgd" and self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov: expected momentum > 0 with it, got 0. Set nesterov to false."
            )
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs: expected at most epochs, {self.epochs}, got {self.warmup_epochs}"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones: expected rising epochs, got {list(self.milestones)}")

    def _expect_loss(self, policy: Policy | StepMethod | None) -> None:
        if self.lamix_beta and self.criterion != "cross_entropy":
            raise ValueError(
                f"criterion: expected cross_entropy with lamix_beta, got {self.criterion}"
            )
        if self.multilabel and self.criterion != "bce":
            raise ValueError(
                f"criterion: expected bce with multilabel, got {self.criterion}. Give "
                "--criterion bce."
            )
        if self.multilabel and isinstance(policy, StepMethod):
            raise ValueError(
                "policy: expected one that the loader mixes with multilabel, got "
                f"{self.policy!r}, which mixes in the training step and takes one label an image"
            )

    @property
    def val_size(self) -> int:
        """Size of validation images: that of the last training images."""
        return [self.size, *self.sizes.values()][-1]


def _checked_options(value: Any) -> dict[str, Any]:
    """Keyword arguments of the optimiser; None is none."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"optimizer_options: expected a mapping such as {{betas: [0.9, 0.95]}}, got {value!r}"
        )
    return dict(value)


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
