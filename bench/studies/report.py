"""Writes the report of the studies, its tables and figures, from their lines alone."""

import ast
import itertools
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench import records
from bench.studies import figures
from bench.studies.lines import origin

FILES = ("papers.jsonl", "accuracy.jsonl")
ERRORS = 3  # standard errors, beyond which a difference counts
TITLE = (
    "# Studies\n\nWritten by `python -m bench papers` and `python -m bench accuracy` from their "
)
TITLE += "lines beside.\n"
ATTACK = "accuracy_under_attack_2"


def write(lines_from: Path, folder: Path) -> list[Path]:
    """Write STUDIES.md and its figures from the lines of a folder; return what was written.

    Raises:
        ValueError: If a line is damaged, or Matplotlib is missing.
    """
    files = [lines_from / name for name in FILES if (lines_from / name).exists()]
    found: dict[str, list[dict]] = {}
    for made in records.read(*files):
        found.setdefault(made["bench"], []).append(made)
    if not found:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    parts, written = [TITLE], []
    for study, said in PARTS.items():
        if study in found:
            written.append(figures.DRAWN[study](folder / f"{study}.svg", found[study]))
            parts.append(f"## {study.replace('_', ' ').capitalize()}\n")
            parts += [*said(found[study]), f"![{study}]({study}.svg)\n", origin(found[study])]
    path = folder / "STUDIES.md"
    path.write_text("\n".join(parts))
    return [path, *written]


def spiral(lines: list[dict]) -> list[str]:
    """Accuracies by activation and interpolations, and whether more of these help."""
    found = {(made["case"]["activation"], made["case"]["k"]): made["figures"] for made in lines}
    rows, sentences = [], []
    for activation in dict.fromkeys(activation for activation, _ in found):
        by_k = {k: values for (name, k), values in found.items() if name == activation}
        rows.append([activation, *(_mean(values, "accuracy") for values in by_k.values())])
        for fewer, more in itertools.pairwise(by_k):
            one, other = by_k[more]["accuracy"], by_k[fewer]["accuracy"]
            words = f"{activation}: K = {more} over K = {fewer}"
            sentences.append(f"* {words}: {_verdict(one, other)}.")
    case = lines[0]["case"]
    head = ["test accuracy in %", *(f"K = {k}" for k in dict.fromkeys(k for _, k in found))]
    about = (
        f"{case['seeds']} seeds, {case['epochs']} epochs; mean +- standard deviation over seeds. "
    )
    about += "The paper has K = 5 above K = 1 above none.\n"
    return [_settings("spiral"), about, _table(head, rows), "\n".join(sentences) + "\n"]


def two_moons(lines: list[dict]) -> list[str]:
    """Both losses at some steps."""
    steps = lines[0]["figures"]["step"]
    rows, sentences = [], []
    for made in lines:
        mask, values = made["case"]["mask"], made["figures"]
        for name in ("true", "approximate"):
            rows.append([f"{mask}, {name}", *(f"{value:.3f}" for value in values[name])])
        low = 1 - values["approximate"][-1] / values["true"][-1]
        sentences.append(f"* {mask}: at the end the approximation is {low:.0%} low.")
    head = ["loss after steps", *map(str, steps)]
    return [_settings("two_moons"), _table(head, rows), "\n".join(sentences) + "\n"]


def gradient_norms(lines: list[dict]) -> list[str]:
    """Squared norms by interpolations and by who shares lambdas."""
    head = ["lambdas per", "K", "squared norm", "of it variance"]
    rows = [
        [made["case"]["lambdas"], str(made["case"]["k"])]
        + [_mean(made["figures"], name, 4) for name in ("squared_norm", "variance")]
        for made in lines
    ]
    found = {(row["case"]["lambdas"], row["case"]["k"]): row["figures"] for row in lines}
    most = max(k for _, k in found)
    one, many, own = (
        found[key]["squared_norm_mean"] for key in (("batch", 1), ("batch", most), ("pair", 1))
    )
    said = (
        f"With lambdas shared by the batch, K = {most} has {1 - many / one:.0%} less than K = 1; "
    )
    said += f"lambdas of each pair's own alone, K = 1, have {1 - own / one:.0%} less.\n"
    return [_settings("gradient_norms"), _table(head, rows), said]


def accuracy(lines: list[dict]) -> list[str]:
    """Methods by accuracy, each beside training without mixing."""
    plain = next(made for made in lines if made["case"]["method"] == "none")["figures"]
    head = ["method", "settings", "accuracy", "over none", "calibration error"]
    head += ["accuracy under FGSM, 2/255", "over none"]
    rows = []
    for made in figures.by_accuracy(lines):
        case, values = made["case"], made["figures"]
        row = [case["method"], case["settings"], _mean(values, "accuracy", 1)]
        row += [_difference(values["accuracy"], plain["accuracy"])]
        row += [_mean(values, "calibration_error", 1), _mean(values, ATTACK, 1)]
        rows.append([*row, _difference(values[ATTACK], plain[ATTACK])])
    case = lines[0]["case"]
    about = (
        f"{len(lines)} settings, {case['seeds']} seeds, {case['epochs']} epochs; all in %, mean "
    )
    about += "+- standard deviation over seeds; differences from training without mixing, seed by "
    about += "seed, +- their standard error.\n"
    sentences = [
        f"* {what}: {_listed(lines, plain, name)}"
        for name, what in (("accuracy", "Accuracy"), (ATTACK, "Accuracy under FGSM"))
    ]
    said = [_settings(lines[0]["bench"]), about, "\n".join(sentences) + "\n", _table(head, rows)]
    missing = _not_measured(lines)
    return [*said, f"Not measured: {', '.join(missing)}.\n"] if missing else said


def _not_measured(lines: list[dict]) -> list[str]:
    """Settings that a run which was stopped has not come to, by the source of their table."""
    source = (Path(__file__).parent / "methods.py").read_text()
    known = re.findall(r'^    \("([^"]+)", "([^"]*)"\): ', source, re.M)
    measured = {(made["case"]["method"], made["case"]["settings"]) for made in lines}
    return [
        f"{method} ({settings})" for method, settings in known if (method, settings) not in measured
    ]


def _listed(lines: list[dict], plain: dict, measure: str) -> str:
    """How many of the methods differ from none beyond noise, and which."""
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "within noise": []}
    for made in lines:
        if made["figures"] is not plain:
            mean, error = paired(made["figures"][measure], plain[measure])
            beyond = abs(mean) > ERRORS * error
            group = ("higher" if mean > 0 else "lower") if beyond else "within noise"
            case = made["case"]
            groups[group].append(f"{case['method']} ({case['settings']})")
    said = [
        f"{len(names)} {group}: {', '.join(names) or 'none'}" for group, names in groups.items()
    ]
    return f"beyond {ERRORS} standard errors {'; '.join(said)}."


def paired(values: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Mean of the differences seed by seed, and its standard error."""
    each = [one - other for one, other in zip(values, others, strict=True)]
    deviation = statistics.stdev(each) if len(each) > 1 else 0.0
    return statistics.fmean(each), deviation / len(each) ** 0.5


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    mean, error = paired(values, others)
    return f"{mean:+.1f} +- {error:.1f}"


def _verdict(values: Sequence[float], others: Sequence[float]) -> str:
    mean, error = paired(values, others)
    shows = "shows" if mean > ERRORS * error else "does not show"
    if mean < -ERRORS * error:
        shows = "is the reverse"
    return f"{mean:+.2f} +- {error:.2f} points (mean +- standard error), so the order {shows}"


def _mean(values: dict, name: str, digits: int = 2) -> str:
    return f"{values[f'{name}_mean']:.{digits}f} +- {values[f'{name}_deviation']:.{digits}f}"


def _settings(study: str) -> str:
    """What a study's module says of itself."""
    source = (Path(__file__).parent / f"{study}.py").read_text()
    return ast.get_docstring(ast.parse(source)) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


PARTS = {
    "spiral": spiral,
    "two_moons": two_moons,
    "gradient_norms": gradient_norms,
    "accuracy": accuracy,
    "photographs": accuracy,
}
