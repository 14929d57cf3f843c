"""A policy in its readable form: a nested mapping that reads as the Python it stands for.

::

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

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from dali_msda.pipelines.training.step_methods import STEP_METHODS, StepMethod
from dali_msda.policy import POLICIES, Alternate, Choice, LaMix, MultiMix, Policy

COMPOSITIONS = {"choice": Choice, "alternate": Alternate, "multimix": MultiMix}
NAMED = {**POLICIES, "lamix": LaMix}
for _name, _kind in STEP_METHODS.items():
    (COMPOSITIONS if "policy" in _kind.__dataclass_fields__ else NAMED)[_name] = _kind


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
        raise ValueError(f"{path}: {unknown('method', name, [*NAMED, *COMPOSITIONS])}")
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
            raise ValueError(f"{path}: {unknown('argument', name, known)}")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}.{error}") from error


def unknown(what: str, name: Any, known: Sequence[str]) -> str:
    """The message about a name that is not known, with the nearest one that is."""
    near = difflib.get_close_matches(str(name), known, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return f"expected {what} among {', '.join(known)}; got {name!r}.{guess}"
