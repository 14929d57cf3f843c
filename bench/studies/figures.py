"""Figures of the studies, from their lines."""

import math
from pathlib import Path

from bench.plots import COLOURS, saved
from bench.studies.lines import origin

DARK, WARM, LIGHT, GREY = COLOURS[:4]
EDGE = 2.6  # of the picture of the spiral, as bench/studies/spiral.py has it


def spiral(path: Path, lines: list[dict]) -> Path:
    """What the network of the first seed says of each point of the plane, and the two arms."""
    activations = list(dict.fromkeys(made["case"]["activation"] for made in lines))
    numbers = list(dict.fromkeys(made["case"]["k"] for made in lines))

    def draw(axes) -> None:
        for made in lines:
            case, values = made["case"], made["figures"]
            panel = axes[activations.index(case["activation"])][numbers.index(case["k"])]
            said = [[int(mark) for mark in row] for row in reversed(values["classes"])]
            along = [-EDGE + 2 * EDGE * i / (len(said) - 1) for i in range(len(said))]
            panel.contourf(along, along, said, levels=[-0.5, 0.5, 1.5], colors=[LIGHT, "#f4c7a5"])
            for arm, colour in enumerate((DARK, WARM)):
                turns = [math.pi * (i / 50 + arm) for i in range(101)]
                radii = [2 * (i / 100) for i in range(101)]
                xs = [radius * math.cos(turn) for radius, turn in zip(radii, turns, strict=True)]
                ys = [radius * math.sin(turn) for radius, turn in zip(radii, turns, strict=True)]
                panel.plot(xs, ys, color=colour, linewidth=1.5)
            mixing = f"K = {case['k']}" if case["k"] else "no mixing"
            accuracy = f"{values['accuracy_mean']:.1f} ± {values['accuracy_deviation']:.1f} %"
            panel.set_title(f"{case['activation']}, {mixing}\n{accuracy}", fontsize=8)
            panel.set(xticks=[], yticks=[], aspect="equal")

    size = dict(nrows=len(activations), ncols=len(numbers), squeeze=False)
    return saved(
        path, 2.3 * len(numbers), 2.7 * len(activations), draw, origin(lines).strip(), **size
    )


def two_moons(path: Path, lines: list[dict]) -> Path:
    """Both losses over the steps, a panel for each mask."""

    def draw(axes) -> None:
        for panel, made in zip(axes[0], lines, strict=True):
            for name, colour in (("true", DARK), ("approximate", WARM)):
                values = made["figures"]
                panel.plot(
                    values["step"], values[name], "o-", markersize=3, color=colour, label=name
                )
            panel.set(title=made["case"]["mask"], xlabel="steps")
            panel.legend(frameon=False)
        axes[0][0].set_ylabel("loss")

    return saved(
        path, 7.0, 3.0, draw, origin(lines).strip(), ncols=len(lines), squeeze=False, sharey=True
    )


def gradient_norms(path: Path, lines: list[dict]) -> Path:
    """Squared norm and variance over the number of interpolations."""

    def draw(axes) -> None:
        for panel, name in zip(axes, ("squared_norm", "variance"), strict=True):
            for lambdas, colour in (("batch", DARK), ("pair", WARM)):
                given = [made for made in lines if made["case"]["lambdas"] == lambdas]
                panel.errorbar(
                    [made["case"]["k"] for made in given],
                    [made["figures"][f"{name}_mean"] for made in given],
                    [made["figures"][f"{name}_deviation"] for made in given],
                    fmt="o-", markersize=3, capsize=2, color=colour, label=f"lambdas per {lambdas}",
                )  # fmt: skip
            panel.set(title=name.replace("_", " ") + " of the gradient", xlabel="interpolations, K")
            panel.set_ylim(bottom=0)
            panel.legend(frameon=False)

    return saved(path, 7.0, 3.0, draw, origin(lines).strip(), ncols=2)


def accuracy(path: Path, lines: list[dict]) -> Path:
    """Accuracy, calibration error and accuracy under attack, a row for each method."""
    rows = by_accuracy(lines)
    names = [" ".join([made["case"]["method"], made["case"]["settings"]]) for made in rows]
    measures = {
        "accuracy": "accuracy, %",
        "calibration_error": "calibration error, %",
        "accuracy_under_attack_2": "accuracy under FGSM, 2/255, %",
    }

    def draw(axes) -> None:
        for panel, (name, label) in zip(axes, measures.items(), strict=True):
            for place, made in enumerate(rows):
                mean, spread = (made["figures"][f"{name}_{of}"] for of in ("mean", "deviation"))
                plain = made["case"]["method"] == "none"
                panel.errorbar(
                    mean, place, xerr=spread, fmt="o", markersize=4, color=WARM if plain else DARK
                )
                if plain:
                    panel.axvline(mean, color=WARM, linewidth=0.8, linestyle="--")
            panel.set_xlabel(label)
        axes[0].set_yticks(range(len(rows)), names, fontsize=7)
        axes[0].invert_yaxis()

    return saved(
        path, 9.0, 1.0 + 0.19 * len(rows), draw, origin(lines).strip(), ncols=3, sharey=True
    )


def by_accuracy(lines: list[dict]) -> list[dict]:
    """Lines from the highest mean accuracy to the lowest."""
    return sorted(lines, key=lambda made: -made["figures"]["accuracy_mean"])


DRAWN = {
    "spiral": spiral,
    "two_moons": two_moons,
    "gradient_norms": gradient_norms,
    "accuracy": accuracy,
    "photographs": accuracy,
}
