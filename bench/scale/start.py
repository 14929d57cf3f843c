"""The start of a training run over a folder of ImageNet's size, to the first batch.

``many`` is a process, or one for each rank at the same time, that imports the loader, finds the
images, opens the training program's loader and takes a batch; ``few`` is the same with two names in
each class. The names are links to a few JPEGs. They have just been made, so that the system knows
them: a disk that has to be read first takes what it takes.

Seconds: ``import_s`` of the libraries, ``find_s``, ``open_s``, ``batch_s`` until the first batch is
there, ``first_batch_s`` all of it since the process was started; ``state_s`` for the state that a
checkpoint holds. Of several ranks the slowest counts. Memory: ``main_mb`` and ``workers_mb`` of all
ranks together, where shared pages count once; ``beyond_mb`` is what they have more than ``few``;
``peak_beyond_mb`` the same of the most that the main processes had at any time.
"""

import importlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.cases import Job, Missing, cores
from bench.scale import folder

ROOT = Path(__file__).parents[2]
IMAGENET = {"names": 1_281_167, "classes": 1000}
PACKAGES = {"dali": "nvidia.dali", "torch": "torch"}
TABLES = {
    "quick": [{"loader": tuple(PACKAGES), "names": 10_000, "classes": 100, "ranks": 1}],
    "default": [{"loader": tuple(PACKAGES), **IMAGENET, "ranks": 1}],
    "all": [{"loader": tuple(PACKAGES), **IMAGENET, "ranks": 4}],
}
TURNS, SMALL = 3, 100_000  # with fewer names than that a turn must do
BATCH = 64


def prepare(case: dict[str, object]) -> Job:
    """Starts with many names and with few."""
    expect(case["loader"])
    counts = {"many": case["names"], "few": 2 * case["classes"]}
    folders = {name: folder.linked(count, case["classes"]) for name, count in counts.items()}
    told: dict[str, list[dict[str, float]]] = {name: [] for name in counts}
    runs = {
        name: lambda name=name: told[name].append(start(folders[name], case)) for name in counts
    }
    return Job(
        runs,
        unit="starts",
        threads=0,
        clock="wall",
        loops=False,
        turns=TURNS if case["names"] > SMALL else 1,
        figures=lambda medians: figures(*told.values()),
    )


def expect(loader: str) -> None:
    """Raise Missing if a loader's library is not there; import it, so that lines name it."""
    try:
        importlib.import_module(PACKAGES[loader])
    except ImportError as error:
        raise Missing(f"{PACKAGES[loader]}: {error}") from error


def start(images: Path, case: dict[str, object]) -> dict[str, float]:
    """Start all ranks at once; seconds of the slowest, and megabytes of all.

    Raises:
        RuntimeError: If one fails.
    """
    ranks = range(case["ranks"])
    order = {"loader": case["loader"], "folder": str(images), "ranks": len(ranks), "batch": BATCH}
    order |= {"threads": max(1, cores() // len(ranks)), "started": time.time()}
    command = [sys.executable, "-m", "bench.scale.process"]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [
        subprocess.Popen(
            [*command, json.dumps({**order, "rank": rank})], cwd=ROOT, text=True, **how
        )
        for rank in ranks
    ]
    try:
        seconds = [answer(each) for each in started]
        for each in started:  # all have come as far, so that all are there to be counted
            each.stdin.write("\n")
            each.stdin.flush()
        megabytes = [answer(each) for each in started]
    finally:
        for each in started:
            each.communicate()
    found = {name: max(each[name] for each in seconds) for name in seconds[0]}
    return found | {name: sum(each[name] for each in megabytes) for name in megabytes[0]}


def answer(process: subprocess.Popen) -> dict:
    """The next line of JSON that a process prints; RuntimeError with its message if it ended."""
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(process.communicate()[1].strip().splitlines()[-1])
    return json.loads(line)


def figures(many: list[dict[str, float]], few: list[dict[str, float]]) -> dict[str, float]:
    """Medians of the turns that count, and what many names take beyond few."""
    own, base = (
        {name: statistics.median(each[name] for each in turns[1:]) for name in turns[0]}
        for turns in (many, few)
    )
    first = sum(own[name] for name in own if name.endswith("_s") and name != "state_s")
    held = own["main_mb"] + own["workers_mb"] - base["main_mb"] - base["workers_mb"]
    found = {"first_batch_s": first, **own, "beyond_mb": held}
    found["peak_beyond_mb"] = found.pop("peak_mb") - base["peak_mb"]
    return {name: round(value, 2 if name.endswith("_s") else 0) for name, value in found.items()}
