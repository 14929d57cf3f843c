"""Lines of results of the studies: figures of a case, with where and with what they were made."""

import statistics

from bench import records


def line(study: str, case: dict, figures: dict) -> dict:
    """The line of a case of a study."""
    return {"bench": study, "case": case, "figures": figures} | records.where()


def mean_and_deviation(name: str, values: list[float]) -> dict:
    """Figures of a measure over seeds: all values, their mean, and their standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    made = {name: [records.rounded(value) for value in values]}
    made[f"{name}_mean"] = records.rounded(statistics.fmean(values))
    return made | {f"{name}_deviation": records.rounded(deviation)}


def origin(lines: list[dict]) -> str:
    """Where and with what lines were made."""
    made = lines[-1]
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return f"Machine: {records.machine(made)}. Commit: {made['commit']}. Versions: {versions}.\n"
