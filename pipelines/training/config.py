"""Settings of a training run: one validated dataclass, filled from a YAML preset and from flags.

A policy is a nested mapping that reads as the Python it stands for::

    policy:
      choice: [{cutmix: {alpha: 1.0}}, {mixup: {alpha: 0.2}}]
      weights: [0.5, 0.5]

    policy:
      multimix: {cutmix: {alpha: 1.0}}
      k: 5

    policy:
      manifoldmixup: {mixup: {alpha: 2.0}}
      layers: ["", layer1, layer2]
"""

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dali_msda.pipelines.training.schedules import checked_points, checked_sizes
from dali_msda.pipelines.training.step_methods import STEP_METHODS, StepMethod
from dali_msda.policy import POLICIES, Alternate, Choice, LaMix, MultiMix, Policy

PRESETS = Path(__file__).parent.parent / "presets"
COMPOSITIONS = {"choice": Choice, "alternate": Alternate, "multimix": MultiMix}
NAMED = {**POLICIES, "lamix": LaMix}
for _name, _kind in STEP_METHODS.items():
    (COMPOSITIONS if "policy" in _kind.__dataclass_fields__ else NAMED)[_name] = _kind


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


def policy_from_dict(value: Any, path: str = "policy") -> Policy | StepMethod | None:
    """Make a policy from its readable form.

    Args:
        value: None or "none"; a method's name; or a mapping of one name to its arguments. The
            names ``choice`` and ``alternate`` hold a list of policies, ``multimix``,
            ``manifoldmixup`` and ``alignmix`` one, and their other arguments (``weights``,
            ``scope``; ``counts``; ``k``, ``share``; ``layers``) stand beside them.
        path: Where in the configuration this is, for messages.

    Raises:
        ValueError: If something is unknown or out of range; the text begins with its path.
    """
    if value is None or value == "none":
        return None
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"{path}: expected a mapping such as {{cutmix: {{alpha: 1.0}}}}, got {value!r}"
        )
    for name, kind in COMPOSITIONS.items():
        if name in value:
            return _composition(name, kind, dict(value), path)
    if len(value) != 1:
        names = ", ".join(map(str, value))
        raise ValueError(
            f"{path}: expected one method, got {names}. Use choice: or alternate: [...]."
        )
    ((name, arguments),) = value.items()
    if name not in NAMED:
        raise ValueError(f"{path}: {_unknown('method', name, [*NAMED, *COMPOSITIONS])}")
    return _constructed(NAMED[name], arguments or {}, f"{path}.{name}")


def _composition(name: str, kind: type, value: dict, path: str) -> Policy:
    members, inner = value.pop(name), f"{path}.{name}"
    if "policy" in kind.__dataclass_fields__:
        field, policies = "policy", policy_from_dict(members, inner)
    elif isinstance(members, list | tuple):
        field = "policies"
        policies = [policy_from_dict(member, f"{inner}[{i}]") for i, member in enumerate(members)]
    else:
        raise ValueError(f"{inner}: expected a list of policies, got {members!r}")
    try:
        return _constructed(kind, {field: policies, **value}, path)
    except ValueError as error:  # which calls its members by their name in Python
        raise ValueError(str(error).replace(f"{path}.{field}", inner, 1)) from error


def _constructed(kind: type, arguments: Any, path: str) -> Policy:
    if not isinstance(arguments, Mapping):
        raise ValueError(f"{path}: expected a mapping of arguments, got {arguments!r}")
    known = [field.name for field in dataclasses.fields(kind)]
    for name in arguments:
        if name not in known:
            raise ValueError(f"{path}: {_unknown('argument', name, known)}")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}.{error}") from error


def _unknown(what: str, name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return f"expected {what} among {', '.join(known)}; got {name!r}.{guess}"


def presets() -> dict[str, Path]:
    """The files in ``pipelines/presets`` and its folders by name, in order."""
    return {file.stem: file for file in sorted(PRESETS.rglob("*.yaml"), key=lambda file: file.stem)}


def read_preset(preset: str) -> dict[str, Any]:
    """Read a YAML file: a path, or the name of one in ``pipelines/presets``.

    Raises:
        ValueError: If there is no such preset, or it is not a mapping of known settings.
    """
    path = Path(preset)
    if not path.is_file() and not path.suffix:  # a folder may have the name of a preset
        path = presets().get(preset, path)
    if not path.is_file():
        known = ", ".join(presets())
        raise ValueError(f"preset: expected a YAML file or one of {known}; got {preset!r}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML, got {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected lines 'setting: value', got {settings!r:.80}")
    known = [field.name for field in dataclasses.fields(Config)]
    for name in settings:
        if name not in known:
            raise ValueError(f"{path}: {_unknown('setting', name, known)}")
    return settings


def parse(arguments: Sequence[str] | None = None, *, prog: str, description: str) -> Config:
    """Read the command line: a preset, and flags that take precedence over it."""
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("preset", nargs="?", help="YAML file, or the name of a preset")
    groups = {name: parser.add_argument_group(name) for name in ("data", "training", "run")}
    for field in dataclasses.fields(Config):
        _add_flag(groups[field.metadata["group"]], field)
    flags = vars(parser.parse_args(arguments))
    preset = flags.pop("preset")
    try:
        return Config(**{**(read_preset(preset) if preset else {}), **flags})
    except ValueError as error:
        parser.error(str(error))


def _add_flag(group: argparse._ArgumentGroup, field: dataclasses.Field) -> None:
    about, kind = field.metadata, field.metadata["kind"]
    shown = " ".join(map(str, field.default)) if kind is tuple else field.default
    options: dict[str, Any] = dict(default=argparse.SUPPRESS, help=about["help"])
    if shown not in ("", None):
        options["help"] += f" (default: {shown})"
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif kind is tuple:
        options |= dict(nargs="*", type=float, metavar="EPOCH")
    elif about["choices"]:
        options["choices"] = about["choices"]
    else:
        options["type"] = _yaml if kind is object else kind
        options["metavar"] = {int: "N", float: "X", str: "TEXT"}.get(kind, "YAML")
    group.add_argument(f"--{field.name.replace('_', '-')}", **options)


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"expected YAML, got {text!r}") from error
