"""The command line of a training run: a preset, and flags that take precedence over it."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.policies import unknown

PRESETS = Path(__file__).parent.parent / "presets"
GROUPS = ("data", "training", "run")  # of settings


def parse(arguments: Sequence[str] | None = None, *, prog: str, description: str) -> Config:
    """Read the command line: a preset, and flags that take precedence over it."""
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("preset", nargs="?", help="YAML file, or the name of a preset")
    text = "print all settings of the run, as a preset that says the same, and end"
    parser.add_argument("--print-config", action="store_true", help=text)
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for field in dataclasses.fields(Config):
        _add_flag(groups[field.metadata["group"]], field)
    flags = vars(parser.parse_args(arguments))
    preset, shown = flags.pop("preset"), flags.pop("print_config")
    try:
        config = Config(**{**(read_preset(preset) if preset else {}), **flags})
    except ValueError as error:
        parser.error(str(error))
    if shown:
        print(as_preset(config), end="")
        parser.exit()
    return config


def as_preset(config: Config) -> str:
    """All settings in YAML: a preset of the same run."""
    groups = []
    for group in GROUPS:
        lines = [f"# {group}"]
        for field in dataclasses.fields(config):
            if field.metadata["group"] == group:
                setting = {field.name: _plain(getattr(config, field.name))}
                text = yaml.safe_dump(setting, default_flow_style=True, width=float("inf"))
                lines.append(text.strip()[1:-1])  # without the braces of the mapping
        groups.append("\n".join(lines) + "\n")
    return "\n".join(groups)


def _plain(value: Any) -> Any:
    """A value with lists for tuples, as YAML has them."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


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
            raise ValueError(f"{path}: {unknown('setting', name, known)}")
    return settings


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
