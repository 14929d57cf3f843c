"""Writes what the READMEs say about the methods: cards, pictures, and the first page's table.

    make manual

It works on a checkout: dali_msda/README.md and README.md are rewritten between their marks, and
dali_msda/gallery/ is filled. The photographs come with scikit-image: SpaceX's rocket is in the
public domain, Rachel Michetti's cup is CC0. The gallery is no part of the installed package.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dali_msda.commands.pictures import decode
from dali_msda.commands.preview import average_lams, drawn, mix_all, shown_policy
from dali_msda.commands.sheets import Cell, sheet
from dali_msda.policy import METHODS, POLICIES, FMix, Leaf, Method, MultiMix

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGE = Path(__file__).parents[1]
MANUAL, FIRST_PAGE, GALLERY = PACKAGE / "README.md", PACKAGE.parent / "README.md", "gallery"
COLUMNS = 100
# The pair in every picture: what it shows, and its file in scikit-image.
PAIR = {"rocket": "rocket.jpg", "cup": "coffee.png"}
SIZE, LAM, SEED = (100, 150), 0.6, 86  # height and width in pixels, own share, of every plan
SEVERAL = MultiMix(FMix(partner="derangement"), 5)  # has a picture, too
ACROSS = 5  # pictures in a row of the first page's sheet, which has two: the pair, eight methods
QUALITY = 70  # of the JPEGs, which keeps a strip below 20 kB


def main() -> None:
    """Rewrite everything that is made from the cards, and print what was written."""
    for path, text in ((MANUAL, cards()), (FIRST_PAGE, table())):
        path.write_text(replaced(path.read_text(), text))
        print(path)
    for name, picture in pictures():
        path = PACKAGE / GALLERY / f"{name}.jpg"
        picture.save(path, quality=QUALITY, optimize=True)
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
    picture = f"![The pair, own weights and mixed image of {method.policy}]({GALLERY}/{name}.jpg)"
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


def pictures() -> Iterator[tuple[str, Image]]:
    """Name and picture of each file in the gallery: a strip for each method, and the sheets."""
    images = pair()
    shown: list[Cell | None] = []
    for name, kind in POLICIES.items():
        plan = drawn(shown_policy(kind, *SIZE), images, LAM, SEED)
        mixed = mix_all(images, list(PAIR), plan)
        own, partner = mixed.source_cells(images, 0, "own", "partner")
        weights = mixed.weight_cell(0, 0, "own weight")
        yield name, sheet([[own, partner, weights, mixed.mixed_cell(0, 0, "mixed")]])
        shown += [own, partner] if not shown else []
        shown.append(mixed.mixed_cell(0, 0, kind.__name__))
    yield "methods", sheet([shown[:ACROSS], shown[ACROSS : 2 * ACROSS]])
    plan = drawn(SEVERAL, images, average_lams(SEVERAL.k), SEED)
    mixed = mix_all(images, list(PAIR), plan)
    yield "multimix", sheet([[mixed.mixed_cell(0, k) for k in range(SEVERAL.k)]])


def pair() -> np.ndarray:
    """The two photographs, uint8 ``(2, H, W, 3)``.

    Raises:
        RuntimeError: If scikit-image is not installed.
    """
    found = find_spec("skimage")
    if found is None:
        raise RuntimeError("scikit-image: expected it to be installed; run: pip install '.[demo]'")
    folder = Path(found.origin).parent / "data"
    return np.stack([decode(folder / file, SIZE) for file in PAIR.values()])


if __name__ == "__main__":
    main()
