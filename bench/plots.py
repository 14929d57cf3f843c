"""Figures from results. Matplotlib draws them; the same results give the same bytes."""

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

COLOURS = ("#1f4e79", "#c55a11", "#9dc3e6", "#7f7f7f", "#548235", "#bf9000")
STYLE = {
    "svg.hashsalt": "dali_msda",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def saved(
    path: Path, width: float, height: float, draw: Callable, note: str = "", **panels: object
) -> Path:
    """Write what ``draw`` draws into axes, or into several, as ``pyplot.subplots`` makes them.

    ``note`` stands in small letters below: where the figures come from.

    Raises:
        ValueError: If Matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError(
            f"matplotlib: {error}; pip install matplotlib, or report elsewhere from the same lines"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained", **panels)
        draw(axes)
        if note:
            lines = textwrap.fill(note, round(18 * width))
            figure.supxlabel(lines, fontsize=6, color="#7f7f7f", x=0.01, ha="left")
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return path


def bars(
    path: Path,
    rows: list[tuple[str, list[float | None]]],
    series: list[str],
    label: str,
    *,
    line: float | None = None,
    log: bool = False,
    pale: Callable[[str], bool] = lambda name: False,
    note: str = "",
) -> Path:
    """Horizontal bars, a group of them for each row; a dashed line marks the value ``line``.

    Rows whose name is ``pale`` are drawn in a light colour.

    The legend stands above the bars, and the longest bar of the first series comes first.
    """
    rows = sorted(rows, key=lambda row: -max(value or 0.0 for value in row[1][:1]))

    def draw(axes) -> None:
        thick = 0.8 / len(series)
        for index, name in enumerate(series):
            given = [(place, values[index]) for place, (_, values) in enumerate(rows)]
            given = [(place, value) for place, value in given if value is not None]
            heights = [place + (index - (len(series) - 1) / 2) * thick for place, _ in given]
            lengths = [value for _, value in given]
            colours = [COLOURS[2 if pale(rows[place][0]) else index] for place, _ in given]
            drawn = axes.barh(heights, lengths, thick * 0.92, label=name, color=colours)
            axes.bar_label(drawn, [f" {_few_digits(value)}" for value in lengths], fontsize=7)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(label)
        if log:
            axes.set_xscale("log")
        if line is not None:
            axes.axvline(line, color="black", linewidth=0.8, linestyle="--")
        axes.margins(x=0.08)
        if len(series) > 1:
            _legend_above(axes, len(series))

    return saved(path, 7.5, 1.4 + 0.22 * len(rows) * max(1.4, 0.8 * len(series)), draw, note)


def stacks(
    path: Path, rows: list[tuple[str, dict[str, float]]], label: str, note: str = ""
) -> Path:
    """Horizontal bars of parts that add up, the shortest first."""
    rows = sorted(rows, key=lambda row: sum(row[1].values()))
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))

    def draw(axes) -> None:
        begins = [0.0] * len(rows)
        for index, name in enumerate(names):
            lengths = [max(parts.get(name, 0.0), 0.0) for _, parts in rows]
            axes.barh(range(len(rows)), lengths, 0.7, begins, label=name, color=COLOURS[index])
            begins = [begin + length for begin, length in zip(begins, lengths, strict=True)]
        for place, whole in enumerate(begins):
            axes.text(whole, place, f" {_few_digits(whole)}", va="center", fontsize=8)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.margins(x=0.08)
        _legend_above(axes, len(names))

    return saved(path, 7.5, 1.4 + 0.35 * len(rows), draw, note)


def _legend_above(axes, columns: int) -> None:
    place = dict(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
    axes.legend(fontsize=8, frameon=False, ncols=columns, **place)


def _few_digits(value: float) -> str:
    """Three digits at most, or a whole number."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def curves(
    path: Path, drawn: Iterable[tuple[str, list[float], list[float]]], note: str = ""
) -> Path:
    """Time over size, both in multiples of the first point and on logarithmic axes."""

    def draw(axes) -> None:
        for index, (name, xs, ys) in enumerate(drawn):
            where = [x / xs[0] for x in xs]
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(where, ys, marker="o", markersize=3, label=name, color=colour)
        low, high = axes.get_xlim()
        axes.plot([1, high], [1, high], color="black", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", yscale="log", xlim=(max(low, 0.8), high))
        axes.set_xlabel("size, in times of the smallest")
        axes.set_ylabel("time, likewise")
        axes.legend(fontsize=8, frameon=False)

    return saved(path, 6, 4.4, draw, note)
