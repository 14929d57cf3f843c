"""The self-check: draws of the real kernels beside the closed forms of the papers.

    python -m dali_msda selfcheck --quick
    python -m dali_msda selfcheck --plot figure4.png

Every row compares an expected with a measured value; of a row that stands for many values, the one
that lies farthest off is shown. ``sigma`` counts the standard errors between the two.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dali_msda.policy import FMix, Policy
from dali_msda.selfcheck import boxes, fields, interpolations, laws, puzzles
from dali_msda.selfcheck.rows import LIMIT, Row, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUICK = 0.05
"""Share of the draws of a full run that a quick one makes."""

REACH = 32
"""Greatest displacement that the plot shows, along either axis."""

PANELS = {
    **boxes.FIGURE,
    **{name: boxes.OTHERS[name] for name in ("gmix, exact", "resizemix")},
    "stochastic": boxes.STOCHASTIC,
    "fmix": FMix(),
}


def rows(run: Run) -> Iterator[Row]:
    """Every comparison of the self-check, one after the other."""
    for module in (boxes, fields, interpolations, puzzles):
        for check in module.CHECKS:
            yield from check(run)


def line(row: Row) -> str:
    """A row as a line of the table."""
    sigma = "exact" if row.sigma is None else f"{row.sigma:.2f}"
    verdict = "ok" if row.passed else "FAIL"
    return f"{row.check:<58} {row.expected:>12.6g} {row.measured:>12.6g} {sigma:>7}  {verdict}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``python -m dali_msda selfcheck``."""
    add = parser.add_argument
    add("--quick", action="store_true", help="a twentieth of the draws: a few seconds")
    add("--seed", type=int, default=0, help="of all draws (0)")
    add("--plot", metavar="FILE", help="draw Figure 4 of arXiv:2208.09913, measured beside theory")


def main(args: argparse.Namespace) -> None:
    """Run the checks and print their table; raise RuntimeError if one fails."""
    if not 0 <= args.seed < 2**64:
        raise ValueError(f"seed: expected 0 <= seed < 2**64, got {args.seed}")
    if args.plot is not None:
        _plot_is_possible(args.plot)
    run = Run(args.seed, QUICK if args.quick else 1.0)
    head = f"{'check':<58} {'expected':>12} {'measured':>12} {'sigma':>7}  verdict"
    print(head, "-" * len(head), sep="\n")
    failed, count = [], 0
    for row in rows(run):
        print(line(row), flush=True)
        count += 1
        if not row.passed:
            failed.append(row.check)
    if args.plot is not None:
        plot(run, args.plot)
        print(f"{args.plot}: Figure 4 of arXiv:2208.09913")
    if failed:
        names = "; ".join(failed)
        raise RuntimeError(
            f"{len(failed)} of {count} checks failed (seed {args.seed}, limit {LIMIT:g} sigma): "
            f"{names}"
        )
    print(f"{count} checks passed (seed {args.seed}, limit {LIMIT:g} sigma)")


# ----------------------------------------------------------------------------------------- figure


def _plot_is_possible(file: str) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise RuntimeError(
            "matplotlib: expected it to be installed for --plot; run: pip install matplotlib"
        )
    folder = Path(file).parent
    if not folder.is_dir():
        raise ValueError(f"plot: expected a file in an existing folder, got {file!r}")


def by_displacement(masks: np.ndarray) -> np.ndarray:
    """Mean product of the pixels at each displacement, summed over the masks.

    Args:
        masks: ``(T, n, n)``.

    Returns:
        ``(2 REACH + 1, 2 REACH + 1)``, displacement 0 in the middle.
    """
    size, reach = masks.shape[1:], np.arange(-REACH, REACH + 1)
    padded = tuple(n + REACH for n in size)
    spectrum = np.fft.rfft2(masks, padded)
    products = np.fft.irfft2((np.abs(spectrum) ** 2).sum(0), padded)
    numbers = np.outer(*(n - np.abs(reach) for n in size))
    return products[np.ix_(reach, reach)] / numbers


def _averaged(chunks: Iterator[np.ndarray]) -> np.ndarray:
    total, count = 0.0, 0
    for chunk in chunks:
        for part in np.array_split(chunk, -(-len(chunk) // 64)):
            total, count = total + by_displacement(part), count + len(part)
    return total / count


def panels(run: Run, n: int = 64, lam: float = 0.5) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, closed form and measured a_jk of every method, by displacement."""
    for name, policy in PANELS.items():
        yield (
            name,
            _theory(policy, n, lam),
            _averaged(run.shares(f"plot: {name}", policy, n, n, 2000, lam=lam)),
        )


def _theory(policy: Policy, n: int, lam: float) -> np.ndarray:
    if isinstance(policy, FMix):
        reach = np.arange(-REACH, REACH + 1)
        return laws.both_own(n, n, policy.decay)[np.ix_(reach % n, reach % n)]
    return _averaged(boxes.law(policy, n, n, lam))


def plot(run: Run, file: str) -> None:
    """Draw a_jk over the displacement j - k: closed forms above, what was measured below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = list(panels(run))
    across = len(found) // 2
    figure, axes = pyplot.subplots(
        4, across, figsize=(1.75 * across + 1, 8), layout="constrained", sharex=True, sharey=True
    )
    for index, (name, theory, measured) in enumerate(found):
        band, column = divmod(index, across)
        above, below = axes[2 * band : 2 * band + 2, column]
        law = " (arcsine law)" if name == "fmix" else ""
        _panel(above, theory, f"{name}{law}")
        picture = _panel(below, measured, f"within {np.abs(measured - theory).max():.3f}")
    for row, label in zip(axes, 2 * ("closed form", "measured"), strict=True):
        row[0].set_ylabel(f"{label}\ndy", fontsize=9)
    for bottom in axes[-1]:
        bottom.set_xlabel("dx", fontsize=9)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, aspect=30, pad=0.01)
    bar.set_label("$a_{jk}$")
    figure.suptitle("$a_{jk}$ over the displacement j - k = (dy, dx); 64 x 64, $\\lambda$ = 0.5")
    figure.savefig(file, dpi=100)
    pyplot.close(figure)


def _panel(axes: Axes, values: np.ndarray, title: str) -> object:
    axes.set_title(title, fontsize=9)
    axes.set(xticks=(-REACH, 0, REACH), yticks=(-REACH, 0, REACH))
    axes.tick_params(labelsize=7, length=2)
    extent = (-REACH - 0.5, REACH + 0.5, REACH + 0.5, -REACH - 0.5)
    return axes.imshow(values, vmin=0, vmax=0.5, extent=extent, cmap="viridis")
