"""The words that a policy's settings take, and their numbers in its records."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args


def numbered(words: object) -> dict[str, int]:
    """The words of a setting with their numbers in the records, which are those of their order."""
    return {word: number for number, word in enumerate(get_args(words))}


Scope: TypeAlias = Literal["sample", "pair", "batch"]
Partner: TypeAlias = Literal["permutation", "derangement", "flip", "roll"]
Box: TypeAlias = Literal["clip", "inside", "wrap"]
Share: TypeAlias = Literal["pair", "batch"]
Rounding: TypeAlias = Literal["nearest", "stochastic", "coin"]


SCOPES = numbered(Scope)
PARTNERS = numbered(Partner)
BOXES = numbered(Box) | {"minmax": 3}
MODES = {  # by method; the numbers of MsdaMode
    "mixup": {"plain": 0, "average": 1},
    "hmix": {"exact": 0, "nominal": 1},
    "gmix": {"code": 0, "paper": 1, "exact": 2},
    "fmix": {"paper": 0, "legacy": 1},
    "puzzlemix": {"drawn": 0, "fixed": 1},
}
SHARES = numbered(Share)
ROUNDINGS = numbered(Rounding)
