"""Runs a study, and writes its lines, tables and figures."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path

from bench.cases import Missing
from bench.studies import report

STUDIES = {
    "papers": "small experiments of the papers, with pictures",
    "accuracy": "does mixing help? a small network, method by method",
}
PARTS = {
    "papers": ("two_moons", "gradient_norms", "spiral"),
    "accuracy": ("accuracy", "photographs"),
}


def run(study: str, folder: Path) -> list[Path]:
    """Run a study on one thread, which makes the numbers the same each time, and report it.

    Args:
        study: One of :data:`STUDIES`.
        folder: Where its lines are written, and the report of all studies whose lines are there.

    Returns:
        The files that were written.

    Raises:
        ValueError: If something that it needs is not installed.
    """
    path = folder / f"{study}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            for line in _lines(study):
                print(json.dumps(line), file=file, flush=True)  # a run that is stopped leaves them
                known = {k: v for k, v in line["figures"].items() if isinstance(v, float)}
                said = ", ".join(f"{name} {value:g}" for name, value in known.items())
                print(line["bench"], *line["case"].values(), said, flush=True)
        except (ImportError, Missing) as error:
            raise ValueError(f"{study}: {error}") from error
    return [path, *report.write(folder, folder)]


def _lines(study: str) -> Iterator[dict]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for part in PARTS[study]:
            yield from importlib.import_module(f"bench.studies.{part}").run()
    finally:
        torch.set_num_threads(threads)
