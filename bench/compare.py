"""Compares two files of results: ratios with their noise, and what is beyond it."""

import dataclasses
import math

from bench.records import identity, machine

LEAST = 0.05  # as a share: two runs of one program on one machine differ by so much


@dataclasses.dataclass(frozen=True)
class Change:
    """A case in both files.

    Attributes:
        name: The case in words.
        old: Milliseconds before.
        new: Milliseconds now.
        noise: By how much the ratio may differ from 1: the interquartile ranges of both, as shares
            of their medians, added as squares; at least 5 %.
        copy: Time of the plain copy now over that before; None where there is no copy.
        copy_noise: As ``noise``, for the copies.
    """

    name: str
    old: float
    new: float
    noise: float
    copy: float | None = None
    copy_noise: float = LEAST

    @property
    def ratio(self) -> float:
        """Time now over time before."""
        return self.new / self.old

    @property
    def verdict(self) -> str:
        """What is beyond noise: "slower" or "faster"; and whether the machine was, too."""
        found = beyond(self.ratio, self.noise)
        if found and self.copy and beyond(self.copy, self.copy_noise) == found:
            found += ", as the plain copy is"
        return found


def beyond(ratio: float, noise: float) -> str:
    """What a ratio of times says: "slower", "faster", or nothing within the noise."""
    if ratio > 1 + noise:
        return "slower"
    return "faster" if ratio < 1 / (1 + noise) else ""


def changes(old: list[dict], new: list[dict]) -> list[Change]:
    """The cases that were measured in both."""
    before = {identity(made): made for made in old if "ms" in made}
    pairs = [(before[identity(made)], made) for made in new if "ms" in made
             and identity(made) in before]  # fmt: skip
    return [_change(*pair) for pair in pairs]


def _change(old: dict, new: dict) -> Change:
    copies = {}
    if "copy_gb_s" in old and "copy_gb_s" in new:
        copies["copy"] = old["copy_gb_s"] / new["copy_gb_s"]
        copies["copy_noise"] = _noise(old["copy_spread"], new["copy_spread"])
    return Change(name(new), old["ms"], new["ms"], _noise(old["spread"], new["spread"]), **copies)


def _noise(one: float, other: float) -> float:
    return max(LEAST, math.hypot(one, other))


def name(made: dict) -> str:
    """What a result is about, in words."""
    values = (f"{key}={value}" for key, value in made["case"].items())
    return " ".join([made["bench"], *values])


def _machines(given: list[dict]) -> str:
    return ", ".join(sorted({machine(made) for made in given if "ms" in made}))


def table(old: list[dict], new: list[dict]) -> str:
    """All cases of both files, those beyond noise marked."""
    found = changes(old, new)
    rows = [["old ms", "new ms", "ratio", "noise", "copy", "case"]]
    for change in found:
        copy = f"{change.copy:.2f}" if change.copy else "-"
        row = [f"{change.old:.4g}", f"{change.new:.4g}", f"{change.ratio:.3f}"]
        row += [f"+-{change.noise:.0%}", copy, change.name]
        rows.append([*row[:-1], row[-1] + (f"   <- {change.verdict}" if change.verdict else "")])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    both = {identity(made) for made in old if "ms" in made}
    both &= {identity(made) for made in new if "ms" in made}
    lone = [made for made in (*old, *new) if identity(made) not in both]
    lines += [f"not in both: {name(made)}" for made in lone]
    machines = [_machines(given) for given in (old, new)]
    if machines[0] != machines[1]:
        lines.append(
            f"old: {machines[0]}; new: {machines[1]}. They are other machines, so ratios of times "
            "say more of these than of the code; compare what takes turns within a run."
        )
    marked = sum(bool(change.verdict) for change in found)
    return "\n".join([*lines, f"{len(found)} cases in both, {marked} beyond noise"])
