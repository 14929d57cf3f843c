"""Cases: what is measured, told by tables of parameters that one function expands.

A case module has ``TABLES``, a list of tables for each level in :data:`LEVELS`, and ``prepare``,
which makes a :class:`Job` of one row. A table maps each axis to a value or to a tuple of values;
its cases are the product. ``device`` is "cpu" where a table does not name it.
"""

import dataclasses
import importlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

SUITES = "blend fields multimix saliency targets losses pipeline training startup scaling calls"
MODULES = {name: f"bench.suites.{name}" for name in SUITES.split()}
MODULES |= {"loaders": "bench.suites.loaders.with_without"}
MODULES |= {name: f"bench.suites.loaders.{name}" for name in ("side_by_side", "stages")}
MODULES |= {"puzzle": "bench.models.puzzle", "comixup": "bench.models.comixup"}
MODULES |= {"scale": "bench.scale.start", "distributed": "bench.scale.distributed"}
MODULES |= {"peers": "bench.peers.suite"}
LEVELS = ("quick", "default", "all")  # each holds the ones before it


class Missing(Exception):
    """What a case needs is not here; the text says what, and why."""


class Mismatch(Exception):
    """Two sides of a comparison did not do the same work."""


@dataclasses.dataclass
class Job:
    """What a case runs.

    Attributes:
        runs: Candidates, which take turns; the first is the one that the case is about.
        moved: Bytes that a run reads and writes at least; None where these do not bound its time.
        items: How many of ``unit`` a run yields.
        unit: What a run yields, in the plural.
        others: How many items another candidate yields, where that is not ``items``.
        threads: Threads at work; 0 where the benchmark does not decide on them.
        clock: Which time counts: "cpu" (of all threads of the process) or "wall".
        figures: Makes further figures from the medians in seconds.
        direct: On a GPU, the candidates that are called, not replayed as a graph.
        whole: On a GPU, whether ``clock`` counts there, too; a turn then ends when the device is
            done.
        loops: Whether short runs are repeated within a turn, so that clocks can resolve them.
        turns: The most turns, where runs take seconds; None for as many as were asked for.
    """

    runs: dict[str, Callable[[], object]]
    moved: int | None = None
    items: int = 1
    unit: str = "runs"
    others: dict[str, int] = dataclasses.field(default_factory=dict)
    threads: int = 1
    clock: str = "cpu"
    figures: Callable[[dict[str, float]], dict] = lambda medians: {}
    direct: frozenset[str] = frozenset()
    whole: bool = False
    loops: bool = True
    turns: int | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of a module, with its parameters."""

    bench: str
    parameters: tuple[tuple[str, object], ...]

    @property
    def name(self) -> str:
        """One line that says what it is; ``-k`` looks for its words here."""
        return " ".join([self.bench, *(f"{name}={value}" for name, value in self.parameters)])

    @property
    def module(self):
        """The module that prepares it."""
        return importlib.import_module(MODULES[self.bench])

    @property
    def isolated(self) -> bool:
        """Whether it needs a process of its own."""
        return getattr(self.module, "ISOLATED", False)

    def __getitem__(self, name: str) -> object:
        return dict(self.parameters)[name]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def clock_for(threads: int) -> str:
    """Which time counts: on one thread CPU time, which others at the machine stretch less."""
    return "cpu" if threads == 1 else "wall"


def expand(tables: Iterable[Mapping[str, object]]) -> Iterator[dict[str, object]]:
    """Rows of parameters of tables; ``"all"`` threads are as many as there are cores."""
    for table in tables:
        axes = {"device": "cpu", **table}
        values = [value if isinstance(value, tuple) else (value,) for value in axes.values()]
        for row in itertools.product(*values):
            made = dict(zip(axes, row, strict=True))
            if made.get("threads") == "all":
                made["threads"] = cores()
            yield made


def select(text: str = "", level: str = "default", device: str = "cpu") -> list[Case]:
    """Cases of a level for a device whose names hold every word of a text.

    Raises:
        ValueError: If there is none.
    """
    found: dict[frozenset, Case] = {}
    for bench in MODULES:
        tables = importlib.import_module(MODULES[bench]).TABLES
        held = LEVELS[: LEVELS.index(level) + 1]
        rows = expand(itertools.chain.from_iterable(tables.get(name, []) for name in held))
        for row in rows:
            case = Case(bench, tuple(row.items()))
            if row["device"] == device and all(word in case.name for word in text.split()):
                found.setdefault(frozenset([("bench", bench), *case.parameters]), case)
    if not found:
        raise ValueError(
            f"-k: expected words of a case's name, got {text!r} (device {device}, level {level}); "
            "`python -m bench list --all` shows the names"
        )
    return list(found.values())
