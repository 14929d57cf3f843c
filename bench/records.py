"""Results: one line of JSON for each case, with where and with what it was measured."""

import functools
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from bench.cases import Case, Job, cores
from bench.timing import Times, spread

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
COMMIT_FILE = ROOT / ".gpu/commit"
CPU_FILE, GPU_FILE = RESULTS / "cpu.jsonl", RESULTS / "gpu.jsonl"
PACKAGES = {  # by module; a line names the version of each that was imported
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "kornia": "kornia",
    "ffcv": "ffcv",
    "numba": "numba",
    "cv2": "opencv-contrib-python-headless",
    "nvidia.dali": "nvidia-dali-cuda130",
    "keras_cv": "keras-cv",
    "tensorflow": "tensorflow-cpu",
    "cupy": "cupy-cuda13x",
}


def line(case: Case, job: Job, times: dict[str, Times], gpu: object = None) -> dict:
    """The line of a case that was measured; ``copy`` among the times is the plain copy."""
    times = dict(times)
    copy = times.pop("copy", None)
    first, *others = times
    clock = "gpu" if times[first].gpu else job.clock
    medians = {name: statistics.median(each.of(clock)) for name, each in times.items()}
    own = medians[first]
    made = _head(case) | {"clock": clock, "of": first}
    made |= _figures(times[first], clock) | {"repeats": len(times[first].of(clock))}
    made |= {"items": job.items, "unit": job.unit, "per_s": rounded(job.items / own)}
    if job.moved is not None:
        made |= {"moved_mb": rounded(job.moved / 1e6), "gb_s": rounded(job.moved / own / 1e9)}
    if copy is not None:
        plain = statistics.median(copy.of(clock))
        made |= {"copy_gb_s": rounded(job.moved / plain / 1e9), "share": rounded(plain / own)}
        made["copy_spread"] = rounded(spread(copy.of(clock)))
    made["others"] = {}
    for name in others:
        count = job.others.get(name, job.items)
        rate = medians[name] / count * job.items
        made["others"][name] = _figures(times[name], clock) | {
            "items": count,
            "per_s": rounded(count / medians[name]),
            "times": rounded(rate / own),
            "times_spread": rounded(spread(_ratios(times[name].of(clock), times[first].of(clock)))),
        }
    return made | {"figures": job.figures(medians)} | where(gpu)


def skipped(case: Case, reason: str, *, failed: bool = False) -> dict:
    """The line of a case that was not measured."""
    return _head(case) | {"failed" if failed else "skipped": reason} | where()


def _head(case: Case) -> dict:
    return {"bench": case.bench, "case": dict(case.parameters)}


def _ratios(seconds: list[float], own: list[float]) -> list[float]:
    """Ratios turn by turn: what slows a whole turn does not show in them."""
    return [one / other for one, other in zip(seconds, own, strict=True)]


def _figures(times: Times, clock: str) -> dict[str, float]:
    made = {"ms": rounded(statistics.median(times.of(clock)) * 1e3)}
    made["spread"] = rounded(spread(times.of(clock)))
    for name in ("cpu", "wall"):
        if times.of(name):
            made[f"{name}_ms"] = rounded(statistics.median(times.of(name)) * 1e3)
    if times.waited:
        share = statistics.median(times.waited) / statistics.median(times.wall)
        made["waited"] = rounded(share)
    return made


def rounded(value: float) -> float:
    """A number to four significant digits."""
    return float(f"{value:.4g}")


def where(gpu: object = None) -> dict[str, object]:
    """Versions of what was imported, the commit and the machine."""
    versions = {"python": platform.python_version()}
    versions |= {name: _version(name) for name in PACKAGES if name in sys.modules}
    machine = {"processor": _processor(), "cores": cores(), "isa": _isa()}
    if gpu is not None:
        machine |= gpu.about()
    return {"versions": versions, "commit": commit(), "machine": machine}


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(PACKAGES[module])
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules[module], "__version__", "unknown"))


@functools.cache
def commit() -> str:
    """The commit of the checkout, or of the one that this is a plain copy of.

    Files that a run itself writes do not make it dirty. bench/card/prebuilt.py writes the commit
    into a file that goes along with a plain copy.
    """
    if not (ROOT / ".git").exists():
        return COMMIT_FILE.read_text().strip() if COMMIT_FILE.is_file() else "unknown"
    code = [".", ":!bench/results", ":!README.md"]
    try:
        named = subprocess.run(
            ["git", "describe", "--always", "--exclude", "*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *code], cwd=ROOT)
    except OSError:  # no git
        return "unknown"
    made = named.stdout.strip() or "unknown"
    return made + ("-dirty" if changed.returncode == 1 else "")


@functools.cache
def _isa() -> str:
    from dali_msda.backends import cpu

    return cpu.isas()[-1]


@functools.cache
def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def identity(made: dict) -> str:
    """Text that is the same for two results on the same case."""
    return json.dumps([made["bench"], made["case"]], sort_keys=True)


def read(*paths: str | os.PathLike) -> list[dict]:
    """Lines of files; of several lines on one case and one machine the last.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If `python -m bench` did not write a line.
    """
    found = {}
    for path in paths:
        for number, text in enumerate(Path(path).read_text().splitlines(), 1):
            try:
                made = json.loads(text)
                found[identity(made), machine(made)] = made
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}:{number}: expected a line that `python -m bench` wrote, got "
                    f"{text[:60]!r}"
                ) from error
    return list(found.values())


def chosen(lines: list[dict], bench: str, **wanted: object) -> list[dict]:
    """Measured lines of a module with these parameters."""
    return [
        made
        for made in lines
        if made["bench"] == bench
        and "ms" in made
        and all(made["case"].get(name) == value for name, value in wanted.items())
    ]


def times(made: dict) -> float:
    """How many times as long as ours the peer of a line takes."""
    return made["others"][made["case"]["peer"]]["times"]


def side_by_side(lines: list[dict], device: str = "cpu", threads: int = 1, **wanted: object):
    """Name of each peer's case, and its lines by default and with the allocator tuned."""
    found: dict[str, list] = {}
    for made in chosen(lines, "peers", device=device, threads=threads, batch=256, **wanted):
        case = made["case"]
        dtype = f", {case['dtype']}" if device == "cuda" else ""
        name = f"{case['peer']} {case['method']}, per {case['scope']}{dtype}"
        slots = found.setdefault(name, [None, None])
        slots[case["allocator"] == "tuned"] = made
    return sorted(found.items(), key=lambda row: [-times(made) for made in row[1] if made])


def machine(made: dict) -> str:
    """The machine that a line was measured on, in words."""
    about = made["machine"]
    if "gpu" in about:
        return f"{about['gpu']} (driver {about['driver']}, CUDA {about['cuda']})"
    return f"{about['processor']} ({about['isa']})"
