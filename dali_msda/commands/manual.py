"""Writes what the READMEs say about the methods: cards, pictures, and the first page's table.

    make manual

It works on a checkout: dali_msda/README.md and README.md are rewritten between their marks, and
dali_msda/gallery/ is filled with the pictures of :mod:`dali_msda.commands.gallery`.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import fields
from pathlib import Path

from dali_msda.commands import gallery
from dali_msda.policy import METHODS, POLICIES, Leaf, Method

PACKAGE = Path(__file__).parents[1]
MANUAL, FIRST_PAGE, GALLERY = PACKAGE / "README.md", PACKAGE.parent / "README.md", "gallery"
COLUMNS = 100


def main() -> None:
    """Rewrite everything that is made from the cards, and print what was written."""
    for path, text in ((MANUAL, cards()), (FIRST_PAGE, table())):
        path.write_text(replaced(path.read_text(), text))
        print(path)
    for name, picture in gallery.pictures():
        path = PACKAGE / GALLERY / name
        picture.save(path, quality=gallery.QUALITY, optimize=True)
        print(path)


def replaced(page: str, text: str, target: str = "make manual") -> str:
    """A page with the text in place of what stands between the marks of a target.

    Raises:
        ValueError: If the page does not have both marks once.
    """
    begin, end = f"<!-- {target}: begin -->", f"<!-- {target}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"page: expected the marks {begin} and {end}, once each")
    return f"{page.split(begin)[0]}{begin}\n\n{text}\n{end}{page.split(end)[1]}"


def table() -> str:
    """The first page's table: each method, the policy that draws it, and its paper."""
    rows = ["| method | policy | paper |", "| --- | --- | --- |"]
    for method in METHODS.values():
        rows.append(f"| {method.policy} | `{method.policy}` | {_paper(method)} |")
    return "\n".join(rows) + "\n"


def cards() -> str:
    """The card of every method, in Markdown."""
    common = _wrapped("Every method takes these arguments:") + "\n" + _arguments(Leaf, indent=0)
    return "\n".join([common, *(card(name) for name in METHODS)])


def card(name: str) -> str:
    """The card of one method, in Markdown."""
    method, kind = METHODS[name], POLICIES[name]
    call = ", ".join(f"{field.name}={_shown(field.default)}" for field in _own_fields(kind))
    picture = (
        f"![Own weights and mixed images of {method.policy}, for four shares]({GALLERY}/{name}.jpg)"
    )
    rows = [
        _item(f"**Definition**: {method.definition}."),
        _item(f"**Arguments**: `{method.policy}({call})`"),
        _arguments(kind),
        _item(f"**Own weight of a pixel**: {method.own_weight}."),
        _item(f"**Own label weight**: {method.label_weight}."),
        _item(f"**When to use it**: {method.when}."),
        _item(f"**Differs from {_original(method)}: {method.deviations}."),
        _item(f"**Paper**: {_paper(method)}"),
    ]
    summary = _wrapped(f"{method.summary[:1].upper()}{method.summary[1:]}.")
    return f"### {method.policy}\n\n{picture}\n\n{summary}\n" + "".join(rows)


def _paper(method: Method) -> str:
    where, _, identifier = method.paper.partition(", arXiv:")
    return f"[{where}](https://arxiv.org/abs/{identifier})" if identifier else method.paper


def _original(method: Method) -> str:
    code = method.authors_code
    if not code:
        return "the paper**"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", code):
        code = f"[{code}](https://github.com/{code})"
    return f"the authors' code** ({code})"


def _own_fields(kind: type[Leaf]) -> list:
    inherited = {field.name for field in fields(Leaf)} if kind is not Leaf else set()
    return [field for field in fields(kind) if field.name not in inherited]


def _arguments(kind: type[Leaf], indent: int = 2) -> str:
    """A list of a policy's own arguments with their defaults, told as its docstring does."""
    meanings = told(kind)
    rows = [
        _item(f"`{field.name}={_shown(field.default)}`: {meanings[field.name]}", indent)
        for field in _own_fields(kind)
    ]
    return "".join(rows)


def told(kind: type[Leaf]) -> dict[str, str]:
    """Name and meaning of each of a policy's own arguments, by its docstring and its bases'."""
    bases = [base for base in kind.__mro__ if base is kind or not issubclass(Leaf, base)]
    return {k: v for base in bases for k, v in attributes(inspect.getdoc(base)).items()}


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def attributes(docstring: str) -> dict[str, str]:
    """Name and meaning of each entry in a docstring's ``Attributes`` section, as Markdown."""
    section = docstring.partition("Attributes:\n")[2].split("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: _markdown(" ".join(text.split())) for name, text in entries}


def _markdown(text: str) -> str:
    """A docstring's text with its markup for code and names as Markdown has it."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _wrapped(text: str, first: str = "", rest: str = "") -> str:
    """The text in lines; none begins with a ``*`` of a product, which would begin a list."""
    how = dict(width=COLUMNS, break_long_words=False, break_on_hyphens=False)
    text = text.replace(" * ", "\0* ")
    filled = textwrap.fill(text, initial_indent=first, subsequent_indent=rest, **how)
    return filled.replace("\0", " ") + "\n"


def _item(text: str, indent: int = 0) -> str:
    return _wrapped(text, " " * indent + "* ", " " * (indent + 2))


if __name__ == "__main__":
    main()
