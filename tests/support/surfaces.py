"""What one can see of a drop-in from outside, beside what it stands in for."""

import inspect
import re

import numpy as np
import torch


def differences(theirs, ours, probes):
    """Whatever the two answer otherwise: {question: (their answer, ours)}.

    Asked are each argument's default, each public method and attribute of the class and, for each
    entry of ``probes``, what its calls return.
    """
    answers = {
        f"argument {name}": (default_of(theirs, name), default_of(ours, name))
        for name in {**arguments(theirs), **arguments(ours)}
    }
    if inspect.isclass(theirs):
        for name in sorted({*public(theirs), *public(ours)} - {*public(object)}):
            answers[f"member {name}"] = tuple(
                "there" if hasattr(kind, name) else "absent" for kind in (theirs, ours)
            )
    for question, probe in probes.items():
        answers[question] = tuple(answer(probe, kind) for kind in (theirs, ours))
    return {question: pair for question, pair in answers.items() if pair[0] != pair[1]}


def arguments(kind):
    return inspect.signature(kind).parameters


def default_of(kind, name):
    """How an argument is given: its default, or that it is needed, or absent."""
    argument = arguments(kind).get(name)
    if argument is None:
        return "absent"
    default = "needed" if argument.default is argument.empty else repr(argument.default)
    return default + (" by name" if argument.kind is argument.KEYWORD_ONLY else "")


def public(kind):
    return [name for name in dir(kind) if not name.startswith("_")]


def answer(calls, kind):
    """What each call does: the types that it returns, or the name of the error; like ones once."""
    answers = []
    for call in calls:
        np.random.seed(0)  # so that all peers draw alike
        torch.manual_seed(0)
        try:
            answers.append(described(call(kind)))
        except Exception as error:
            answers.append(type(error).__name__)
    return " or ".join(dict.fromkeys(answers))


def described(result):
    if isinstance(result, tuple | list):
        return ", ".join(map(described, result))
    if isinstance(result, torch.Tensor):
        return str(result.dtype).removeprefix("torch.")
    return type(result).__name__


def table_of(docstring):
    """The table in a docstring: {first cell: (second, third)}."""
    found = re.search(
        r"^( *)=+  =+  =+\n.*\n\1=+  =+  =+\n((?:.*\n)+?)\1=+  =+  =+$", docstring, re.M
    )
    if found is None:
        return {}
    rows = [re.split(r" {2,}", line.strip()) for line in found[2].splitlines()]
    return {what: (theirs, ours) for what, theirs, ours in rows}


def as_table(rows, indent=4):
    """The table as a docstring holds it, to be pasted there."""
    lines = [("what", "theirs", "here"), *((what, *pair) for what, pair in rows.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    ruler = "  ".join("=" * width for width in widths)
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join(" " * indent + line for line in [ruler, text[0], ruler, *text[1:], ruler])
