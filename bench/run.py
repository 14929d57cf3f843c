"""Runs cases and yields their lines; some run in a process of their own."""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench import gpu_timing, records, timing
from bench.cases import Case, Job, Mismatch, Missing, cores
from bench.memory import memory_of
from bench.peers import released

# glibc hands large blocks back to the system and takes them anew, page by page. With these settings
# it keeps them, so that there are no page faults after the first batch. Users have the default, so
# both are measured.
ALLOCATORS = {
    "default": {},
    "tuned": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(32 << 30)},
}
# Where the third-level cache is large, glibc copies even 200 MB through it, at two thirds of the
# speed that memory yields. With this, it writes copies of more than 4 MiB past the caches, so that
# a plain copy is as fast as memory allows. Cases in processes of their own run without it, as users
# run the libraries.
STREAMING = {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=0x400000"}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}


def run(cases: Iterable[Case], repeats: int) -> Iterator[dict]:
    """Measure cases, one after the other."""
    for case in cases:
        yield _apart(case, repeats) if case.isolated else here(case, repeats)


def here(case: Case, repeats: int) -> dict:
    """Measure a case in this process; if it lacks something or fails, its line says so."""
    try:
        memory = memory_of(case["device"])
        before = memory.used() if case["device"] == "cuda" else 0
        job = case.module.prepare(dict(case.parameters))
        return _measured(case, job, memory, before, repeats)
    except Missing as reason:
        return records.skipped(case, str(reason))
    except Mismatch as found:
        return records.skipped(case, f"outputs differ: {found}", failed=True)
    except Exception as error:  # a case that fails must not take the others with it
        traceback.print_exc()
        return records.skipped(case, f"{type(error).__name__}: {error}", failed=True)


def _measured(case: Case, job: Job, memory: object, before: int, repeats: int) -> dict:
    runs, repeats = dict(job.runs), min(repeats, job.turns or repeats)
    if job.moved:
        runs["copy"] = memory.copy(job.moved, job.threads or cores())
    if case["device"] == "cpu":
        return records.line(case, job, timing.measure(runs, repeats, loops=job.loops))
    if job.whole:
        ended = {name: _until_done(run, memory) for name, run in runs.items()}
        times = timing.measure(ended, repeats, loops=job.loops)
    else:
        times = gpu_timing.measure(runs, repeats, memory, job.direct)
    made = records.line(case, job, times, memory)
    made["figures"]["memory_mb"] = records.rounded((memory.used() - before) / 1e6)
    return made


def _until_done(run: Callable[[], object], memory: object) -> Callable[[], object]:
    return lambda: (run(), memory.wait())


def _apart(case: Case, repeats: int) -> dict:
    parameters = dict(case.parameters)
    environment = {k: v for k, v in os.environ.items() if STREAMING.get(k) != v}
    environment |= QUIET | ALLOCATORS[parameters.get("allocator", "default")]
    order = {"bench": case.bench, "case": parameters, "repeats": repeats}
    order["checkouts"] = [str(path) for path in released.CHECKOUTS]
    done = subprocess.run(
        [sys.executable, "-m", "bench.run", json.dumps(order)],
        cwd=Path(__file__).parent.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        text = (done.stderr.strip() or "nothing was said").splitlines()[-1]
        return records.skipped(case, f"exit code {done.returncode}: {text}", failed=True)


def main() -> None:
    """Measure the one case that the command line orders, and print its line last."""
    order = json.loads(sys.argv[1])
    released.CHECKOUTS[:] = map(Path, order["checkouts"])
    if order["case"].get("threads") == 1:  # one core, whatever a library may start
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    case = Case(order["bench"], tuple(order["case"].items()))
    print(json.dumps(here(case, order["repeats"])))


if __name__ == "__main__":
    main()
