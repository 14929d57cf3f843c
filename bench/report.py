"""The report: tables and figures from results alone, and the part of the README that quotes it."""

from collections.abc import Callable
from pathlib import Path

from bench import plots

BEGIN, END = "<!-- python -m bench report: begin -->", "<!-- end -->"
TITLE = "# Measured\n\nWritten by `python -m bench report` from the lines beside; what the columns "
TITLE += "mean: [bench/README.md](../README.md).\n"


def write(results: list[dict], folder: Path, readme: Path | None = None) -> list[Path]:
    """Write REPORT.md and the figures into a folder; rewrite the README's part where one is given.

    Returns:
        The files that were written.

    Raises:
        ValueError: If there are no results, Matplotlib is missing or the README has no marks.
    """
    measured = [made for made in results if "ms" in made]
    if not measured:
        raise ValueError("expected lines with figures, got none")
    folder.mkdir(parents=True, exist_ok=True)
    figures = [draw(measured, folder) for draw in (roofline, peers, scaling, loaders)]
    drawn = [path for paths in figures for path in paths]
    path = folder / "REPORT.md"
    path.write_text(text(results, [figure.name for figure in drawn]))
    written = [path, *drawn]
    if readme is not None:
        old = readme.read_text()
        if old.count(BEGIN) != 1 or old.count(END) != 1:
            raise ValueError(f"{readme}: expected the marks {BEGIN} and {END}, once each")
        head, tail = old.split(BEGIN)[0], old.split(END)[1]
        readme.write_text(head + quoted(results) + tail)
        written.append(readme)
    return written


def chosen(results: list[dict], bench: str, **wanted: object) -> list[dict]:
    """Measured results of a suite with these parameters."""
    return [
        made
        for made in results
        if made["bench"] == bench
        and "ms" in made
        and all(made["case"].get(name) == value for name, value in wanted.items())
    ]


def roofline(results: list[dict], folder: Path) -> list[Path]:
    """Each method's bytes per second as a share of a plain copy's."""
    written = []
    for device in ("cpu", "cuda"):
        given = chosen(results, "blend", device=device, batch=256, size=224, mirror=False)
        names = sorted({_series(made) for made in given})
        methods = list(dict.fromkeys(made["case"]["method"] for made in given))
        shares = {(made["case"]["method"], _series(made)): made["share"] for made in given}
        rows = [(method, [shares.get((method, name)) for name in names]) for method in methods]
        if rows and len(names) <= 4:
            path = folder / f"roofline-{device}.svg"
            label = "share of a plain copy's bytes per second"
            written.append(plots.bars(path, rows, names, label, line=1.0))
        elif rows:
            for dtype in dict.fromkeys(made["case"]["dtype"] for made in given):
                own = [name for name in names if name.split()[0] == dtype]
                part = [
                    (method, [shares.get((method, name)) for name in own]) for method in methods
                ]
                path = folder / f"roofline-{device}-{dtype}.svg"
                label = f"{dtype}: share of a plain copy's bytes per second"
                written.append(plots.bars(path, part, own, label, line=1.0))
    return written


def _series(made: dict) -> str:
    case = made["case"]
    threads = f" {case['threads']} threads" if case["threads"] > 1 else ""
    return f"{case['dtype']} {case['layout']}{threads}"


def peers(results: list[dict], folder: Path) -> list[Path]:
    """How many times as long as ours each peer takes."""
    written = []
    for device, threads in (("cpu", 1), ("cuda", 0)):
        rows = [(name, [made and times(made) for made in pair])
                for name, pair in side_by_side(results, device, threads)]  # fmt: skip
        if rows:
            series = ["by default", "allocator tuned"][: 2 if device == "cpu" else 1]
            rows = [(name, values[: len(series)]) for name, values in rows]
            path = folder / f"peers-{device}.svg"
            label = "time of the peer over ours, the whole job of a batch"
            written.append(plots.bars(path, rows, series, label, line=1.0, log=True))
    return written


def side_by_side(results: list[dict], device: str = "cpu", threads: int = 1, **wanted: object):
    """Name of each peer's case, and its results by default and with the allocator tuned."""
    found: dict[str, list] = {}
    for made in chosen(results, "peers", device=device, threads=threads, batch=256, **wanted):
        case = made["case"]
        dtype = f", {case['dtype']}" if device == "cuda" else ""
        name = f"{case['peer']} {case['method']}, per {case['scope']}{dtype}"
        slots = found.setdefault(name, [None, None])
        slots[case["allocator"] == "tuned"] = made
    return sorted(found.items(), key=lambda row: [-times(made) for made in row[1] if made])


def times(made: dict) -> float:
    """How many times as long as ours the peer of a line takes."""
    return made["others"][made["case"]["peer"]]["times"]


def scaling(results: list[dict], folder: Path) -> list[Path]:
    """Time over size, a line an axis."""
    drawn = []
    for made in chosen(results, "scaling", threads=1):
        points = [made["of"], *made["others"]]
        xs = [float(point) ** (2 if made["case"]["axis"] == "size" else 1) for point in points]
        ys = [1.0, *(other["times"] for other in made["others"].values())]
        axis = {"size": "pixels"}.get(made["case"]["axis"], made["case"]["axis"])
        name = f"{made['case']['method']}, {axis}: exponent {made['figures']['exponent']:.2f}"
        drawn.append((name, xs, ys))
    return [plots.curves(folder / "scaling.svg", drawn)] if drawn else []


def loaders(results: list[dict], folder: Path) -> list[Path]:
    """Loaders with mixing and without."""
    written = []
    for device, file in (("cpu", "loaders.svg"), ("cuda", "loaders-cuda.svg")):
        rows = [row for made in chosen(results, "loaders", device=device) for row in _ratios(made)]
        if rows:
            series = ["our mixing", "FFCV's own"][: 2 if device == "cpu" else 1]
            label = "time of an image with mixing over that without"
            written.append(plots.bars(folder / file, rows, series, label, line=1.0))
    return written


def _ratios(made: dict) -> list[tuple[str, list[float | None]]]:
    """Of a line about loaders: times with mixing over those without, in rows of a figure."""
    case, times = made["case"], {name: other["times"] for name, other in made["others"].items()}
    name = f"{case['loader']} {case['policy']}"
    if case["device"] == "cpu":
        own = times["own"] / times["without"] if "own" in times else None
        return [(name, [1 / times["without"], own])]
    rows = [(f"{name} {case['dtype']}", [1 / times["without"]])]
    if "mixer" in times:
        there = times["mixer"] / times["mixes nothing"]
        rows.append((f"{name} {case['dtype']}, mixed on the GPU", [there]))
    return rows


def text(results: list[dict], figures: list[str]) -> str:
    """REPORT.md."""
    parts = [TITLE, *_origins(results), *(f"![{name}]({name})\n" for name in figures)]
    for bench in dict.fromkeys(made["bench"] for made in results):
        given = [made for made in results if made["bench"] == bench and "ms" in made]
        if given:
            parts.append(f"## {bench}\n\n{table(given)}")
    lacking = [made for made in results if "ms" not in made]
    if lacking:
        rows = [f"* {_words(made)}: {made.get('skipped') or 'failed: ' + made['failed']}"
                for made in lacking]  # fmt: skip
        parts.append("## Not measured\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _words(made: dict) -> str:
    return " ".join([made["bench"], *map(str, made["case"].values())])


def _origins(results: list[dict]) -> list[str]:
    """Machines, commits and versions, each once."""
    machines = dict.fromkeys(_machine(made) for made in results if "ms" in made)
    commits = dict.fromkeys(made["commit"] for made in results)
    versions = dict.fromkeys(
        f"{name} {number}" for made in results for name, number in made["versions"].items()
    )
    origins = {"Machine": machines, "Commit": commits, "Versions": sorted(versions)}
    return [f"{name}: {', '.join(values)}.\n" for name, values in origins.items()]


def _machine(made: dict) -> str:
    machine = made["machine"]
    if "gpu" in machine:
        return f"{machine['gpu']} (driver {machine['driver']}, CUDA {machine['cuda']})"
    return f"{machine['processor']} ({machine['isa']})"


def table(results: list[dict]) -> str:
    """Lines of one module as a table; parameters that never vary stand above it."""
    names = list(dict.fromkeys(name for made in results for name in made["case"]))
    values = {name: {str(made["case"].get(name, "")) for made in results} for name in names}
    fixed = [f"{name} {made}" for name in names if len(values[name]) == 1 for made in values[name]]
    varying = [name for name in names if len(values[name]) > 1]
    head = [*varying, "ms", "+-", "CPU ms", "MB", "per second", "of a copy", "others take"]
    head += ["also", "waited"]
    rows = [head, ["---"] * len(head)]
    for made in results:
        own = [str(made["case"].get(name, "")) for name in varying]
        share = f"{made['share']:.0%}" if "share" in made else ""
        others = (f"{name} {other['times']:.3g}x" for name, other in made["others"].items())
        also = (f"{name} {value:g}" for name, value in made["figures"].items())
        figures = [f"{made['ms']:g}", f"{made['spread']:.0%}", f"{made.get('cpu_ms', 0):g}"]
        figures += [f"{made['moved_mb']:g}" if "moved_mb" in made else ""]
        figures += [f"{made['per_s']:,.0f} {made['unit']}", share]
        waited = f"{made['waited']:.0%}" if "waited" in made else ""
        rows.append([*own, *figures, ", ".join(others), ", ".join(also), waited])
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return (", ".join(fixed) + "\n\n" if fixed else "") + body + "\n"


def quoted(results: list[dict]) -> str:
    """The README's part: one figure, one table, and what the other results say in a sentence."""
    rows = ["| on one core | images a second | ours: times as fast | with the allocator tuned |"]
    rows.append("| --- | --- | --- | --- |")
    for name, (plain, tuned) in side_by_side(results, method="mixup"):
        if plain:
            rate = plain["others"][plain["case"]["peer"]]["per_s"]
            also = f"{times(tuned):.1f} " if tuned else ""
            rows.append(f"| {name} | {rate:,.0f} | {times(plain):.1f} | {also}|")
    pairs = [pair for name, pair in side_by_side(results, method="mixup") if "dali" not in name]
    ours = [made["per_s"] for pair in pairs for made in pair if made]
    if ours:
        rows.append(f"| ours, per sample | {min(ours):,.0f} to {max(ours):,.0f} | | |")
    parts = [BEGIN, "![Time of the libraries in use over ours](bench/results/peers-cpu.svg)"]
    origins = " ".join(_origins(results)).replace("\n", "")
    return "\n\n".join([*parts, "\n".join(rows), "\n".join(sentences(results)), origins, END])


LOADERS = {"dali": "CPU time", "ffcv": "time", "torch": "time"}  # what counts there
MASKS = {
    "released": "the released code's",
    "numpy64": "those of the same algorithm in NumPy",
    "numpy32": "those of NumPy at its best",
}


def sentences(results: list[dict]) -> list[str]:
    """What the results say besides, in words."""
    made = []
    for dtype in ("float32", "float16"):
        wanted = {"dtype": dtype, "layout": "CHW", "mirror": False}
        given = chosen(results, "blend", device="cpu", batch=256, size=224, **wanted)
        if given:
            made.append(
                f"* The blend alone, to {dtype}, as a share of the bytes per second of a plain "
                f"copy on as many threads: {_by_method(given, lambda each: each['share'])}."
            )
        given = [each for each in given if "writes" in each["others"]]
        if given:
            took = _by_method(given, lambda each: each["others"]["writes"]["times"])
            made[-1] += f" Writing the output alone takes, of its time: {took}."
    for each in chosen(results, "fields", device="cpu", size=224, threads=1):
        found = [
            f"{each['others'][name]['times']:.1f} times {words}"
            for name, words in MASKS.items()
            if name in each["others"]
        ]
        made.append(
            f"* FMix `{each['case']['mask']}`: {each['per_s']:,.0f} masks of 224 x 224 a second on "
            f"one core, {', '.join(found)}."
        )
    for loader, what in LOADERS.items():
        given = chosen(results, "loaders", device="cpu", loader=loader)
        if given:
            found = _between([1 / each["others"]["without"]["times"] for each in given])
            made.append(
                f"* JPEGs to mixed batches, {loader}: {found} of the {what} of the same loader "
                "without mixing."
            )
    given = chosen(results, "pipeline", device="cpu")
    if given:
        found = _between([1 / each["others"]["normalize"]["times"] for each in given])
        made.append(f"* In DALI alone: {found} of the CPU time of `crop_mirror_normalize`.")
    return made


def _by_method(results: list[dict], value: Callable[[dict], float]) -> str:
    found: dict[str, list[float]] = {}
    for made in results:
        found.setdefault(made["case"]["method"], []).append(value(made))
    return ", ".join(f"{name} {_between(values)}" for name, values in found.items())


def _between(values: list[float]) -> str:
    low, high = (f"{round(100 * value)}" for value in (min(values), max(values)))
    return f"{low} %" if low == high else f"{low} to {high} %"
