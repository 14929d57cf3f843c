"""Runs parts one after the other, each in processes of its own and within its time limit.

A GPU that has failed in one process works again in the next, so a part that fails costs no other.
"""

import collections
import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

from bench.card.parts import MOST_THREADS, Part

ROOT = Path(__file__).parents[2]
LEAST = 5  # seconds that must be left for a part to begin
LINE, TAIL = 1 << 16, 12  # characters of a line, lines that are kept of an output
PASSED, FAILED, TIMED_OUT, NOT_RUN = "passed", "failed", "timed out", "not run"


class Outcome(NamedTuple):
    """What became of a part."""

    part: str
    outcome: str
    seconds: float
    about: str


class Results:
    """A file of lines of JSON, each complete as soon as it is known; ``about`` goes into all."""

    def __init__(self, file: Path, about: dict[str, object]):
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._about = file, about

    def add(self, line: dict[str, object]) -> None:
        """Appends a line; what it says itself comes before what all lines say."""
        about = {name: value for name, value in self._about.items() if name not in line}
        about["machine"] = {**self._about.get("machine", {}), **line.get("machine", {})}
        with self._file.open("a") as file:
            file.write(json.dumps(line | about) + "\n")


def run(parts: Iterable[Part], results: Results, seconds: float) -> list[Outcome]:
    """Runs parts until the time is over; prints and writes what became of each.

    Lines of JSON that a part prints are written at once.
    """
    end, outcomes = time.monotonic() + seconds, []
    for part in parts:
        left = end - time.monotonic()
        if left < LEAST:
            outcome, tail = Outcome(part.name, NOT_RUN, 0.0, "no time was left"), []
        else:
            outcome, tail = _run(part, min(part.seconds, left), results)
        outcomes.append(outcome)
        case = {"part": part.name, "most_threads": part.threads}
        line = {"bench": "card", "case": case, "outcome": outcome.outcome}
        line |= {"seconds": round(outcome.seconds, 1), "about": outcome.about}
        if outcome.outcome != PASSED:
            line["output"] = tail
            for text in tail:
                print(f"    {text}")
        results.add(line)
        print(row(outcome), flush=True)
    return outcomes


def row(outcome: Outcome) -> str:
    """A line of the table."""
    return (
        f"{outcome.part:28} {outcome.outcome:10} {outcome.seconds:6.1f} s  {outcome.about}"[:120]
    ).rstrip()


def _run(part: Part, limit: float, results: Results) -> tuple[Outcome, list[str]]:
    """What became of a part, and the last lines that it printed."""
    heard, begun = Heard(part, results), time.monotonic()
    try:
        code = _exit_code(part, limit, heard)
    except OSError as error:  # a program that is missing
        return Outcome(part.name, NOT_RUN, 0.0, str(error)), []
    last, tail = heard.tail[-1] if heard.tail else "", list(heard.tail)
    if code is None:
        found = TIMED_OUT, f"after {limit:.0f} s"
    elif code:
        found = FAILED, f"exit code {code}: {last}"
    elif not heard.shown:
        found = FAILED, f"nothing was run or measured: {last}"
    else:
        found = PASSED, heard.summary() or last
    return Outcome(part.name, found[0], time.monotonic() - begun, found[1]), tail


def _exit_code(part: Part, limit: float, heard: "Heard") -> int | None:
    """Runs a part, with all that it starts, to its end; None if the time limit ended it."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if part.threads:
        environment[MOST_THREADS] = str(part.threads)
    process = subprocess.Popen(
        part.command(),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a group of processes, which ends as one
    )
    listener = threading.Thread(target=heard.listen, args=(process.stdout,), daemon=True)
    listener.start()
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        listener.join(LEAST)


class Heard:
    """What a part prints: results are written and told, of the rest the last lines are kept."""

    def __init__(self, part: Part, results: Results):
        self._part, self._results = part, results
        self.tail: collections.deque[str] = collections.deque(maxlen=TAIL)
        self.shown, self.lines, self.shares = False, 0, []

    def listen(self, output: IO[str]) -> None:
        """Reads until the output ends, or with its process's end."""
        with contextlib.suppress(ValueError):
            while line := output.readline(LINE):
                self.shown |= re.search(self._part.shows, line) is not None
                if not self._result(line) and line.strip():
                    self.tail.append(line.strip()[:200])

    def _result(self, line: str) -> bool:
        """Writes the line if it is one of results."""
        if not line.startswith("{"):
            return False
        try:
            made = json.loads(line)
            case = {**made["case"], "most_threads": self._part.threads}
            told = f"{' '.join(map(str, made['case'].values()))}: {spoken(made)}"
        except (ValueError, KeyError, TypeError):
            return False
        self._results.add(made | {"case": case, "part": self._part.name})
        self.lines += 1
        if "share" in made:
            self.shares.append(made["share"])
        if "ms" in made or "kernel_ms" in made:
            print(f"    {told}", flush=True)
        else:
            self.tail.append(told[:200])
        return True

    def summary(self) -> str:
        """The results in a few words."""
        if not self.lines:
            return ""
        words = f"{self.lines} lines of results"
        if self.shares:
            words += f", {min(self.shares):.0%} to {max(self.shares):.0%} of a copy"
        return words


def spoken(made: dict) -> str:
    """What one of them says, in a few words."""
    for why in ("skipped", "failed"):
        if why in made:
            return f"{why}: {made[why]}"
    milliseconds = made.get("ms", made.get("kernel_ms"))
    share = f", {made['share']:.0%} of a copy" if "share" in made else ""
    memory = f", memory {made['dram_percent']:.0f} %" if "dram_percent" in made else ""
    issue = f", issue {made['issue_percent']:.0f} %" if "issue_percent" in made else ""
    return f"{milliseconds:.4g} ms{share}{memory}{issue}"
