"""Writes the report, its tables and its figures, from the lines of results alone."""

from pathlib import Path

from bench import plots, summary
from bench.cases import MODULES
from bench.records import chosen, machine, side_by_side, times

TITLE = "# Measured\n\nWritten by `python -m bench report` from the lines beside; what the columns "
TITLE += "mean: [bench/README.md](../README.md).\n"


def write(results: list[dict], folder: Path, readme: Path | None = None) -> list[Path]:
    """Write REPORT.md and the figures into a folder; rewrite the README's part where one is given.

    Returns:
        The files that were written.

    Raises:
        ValueError: If there are no lines, Matplotlib is missing or the README has no marks.
    """
    results = [made for made in results if is_reported(made)]
    results, others = _by_processor(results)
    measured = [made for made in results if "ms" in made]
    if not measured:
        raise ValueError("expected lines with figures, got none")
    folder.mkdir(parents=True, exist_ok=True)
    kinds = (side_by_side_loaders, stages, peers, roofline, scaling, loaders)
    figures = [draw(measured, folder) for draw in kinds]
    drawn = [path for paths in figures for path in paths]
    path = folder / "REPORT.md"
    whole = text(results, [figure.name for figure in drawn])
    path.write_text("\n".join([whole, *map(of_another_processor, others)]))
    written = [path, *drawn]
    if readme is not None:
        old, begin, end = readme.read_text(), summary.BEGIN, summary.END
        if old.count(begin) != 1 or old.count(end) != 1:
            raise ValueError(f"{readme}: expected the marks {begin} and {end}, once each")
        head, tail = old.split(begin)[0], old.split(end)[1]
        readme.write_text(head + summary.first_page(results) + tail)
        written.append(readme)
    return written


def _by_processor(results: list[dict]) -> tuple[list[dict], list[list[dict]]]:
    """Lines of the processor that is measured first, and of GPUs; then those of each other."""
    found: dict[str, list[dict]] = {}
    for made in results:
        found.setdefault("" if "gpu" in made["machine"] else machine(made), []).append(made)
    gpus = found.pop("", [])
    first, *others = found.values() or [[]]
    return first + gpus, others


def of_another_processor(results: list[dict]) -> str:
    """What was measured on another processor, under a heading of its own."""
    measured = [made for made in results if "ms" in made]
    lines = [f"# On {machine(results[0])}\n", *_origins(results), *summary.sentences(measured)]
    return "\n".join([*lines, "", *_tables(measured)])


def is_reported(made: dict) -> bool:
    """Whether a line is one of a case as users run it: bench/card writes others, too."""
    return made["bench"] in MODULES and not made["case"].get("most_threads")


def roofline(results: list[dict], folder: Path) -> list[Path]:
    """Each method's bytes per second as a share of a plain copy's."""
    written = []
    for device in ("cpu", "cuda"):
        given = chosen(results, "blend", device=device, batch=256, size=224, mirror=False)
        names = sorted({_series(made) for made in given})
        methods = list(dict.fromkeys(made["case"]["method"] for made in given))
        shares = {(made["case"]["method"], _series(made)): made["share"] for made in given}
        dtypes = dict.fromkeys(made["case"]["dtype"] for made in given)
        parts = {dtype: [name for name in names if name.split()[0] == dtype] for dtype in dtypes}
        if 0 < len(names) <= 4:  # one figure holds them all
            parts = {"": names}
        for dtype, own in parts.items():
            rows = [(method, [shares.get((method, name)) for name in own]) for method in methods]
            path = folder / f"roofline-{device}{dtype and '-' + dtype}.svg"
            label = f"{dtype}{dtype and ': '}share of a plain copy's bytes per second"
            note = _note(results, "blend", device=device)
            written.append(plots.bars(path, rows, own, label, line=1.0, note=note))
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
            note = _note(results, "peers", device=device)
            written.append(plots.bars(path, rows, series, label, line=1.0, log=True, note=note))
    return written


def scaling(results: list[dict], folder: Path) -> list[Path]:
    """Time over size, with a line for each axis."""
    drawn = []
    for made in chosen(results, "scaling", threads=1):
        points = [made["of"], *made["others"]]
        xs = [float(point) ** (2 if made["case"]["axis"] == "size" else 1) for point in points]
        ys = [1.0, *(other["times"] for other in made["others"].values())]
        axis = {"size": "pixels"}.get(made["case"]["axis"], made["case"]["axis"])
        name = f"{made['case']['method']}, {axis}: exponent {made['figures']['exponent']:.2f}"
        drawn.append((name, xs, ys))
    note = _note(results, "scaling", threads=1)
    return [plots.curves(folder / "scaling.svg", drawn, note)] if drawn else []


def side_by_side_loaders(results: list[dict], folder: Path) -> list[Path]:
    """Images a second of whole loaders, ours and those of others."""
    rows = []
    for made in chosen(results, "side_by_side"):
        files = "" if made["case"]["files"] == "folder" else f" ({made['case']['files']})"
        found = summary.whole_loaders(made)
        rows += [(name.replace("`", "") + files, [rate]) for name, rate in found]
    label = "images a second, JPEGs of ImageNet's sizes to mixed batches"
    how = dict(pale=lambda name: not name.startswith("ours"), note=_note(results, "side_by_side"))
    return [plots.bars(folder / "side_by_side.svg", rows, [""], label, **how)] if rows else []


def stages(results: list[dict], folder: Path) -> list[Path]:
    """CPU time of an image by what it is spent on."""
    rows = []
    for made in chosen(results, "stages"):
        own = made["case"]["loader"]
        name = summary.loader_name(f"ours, {own}" if own in summary.LOADERS else own)
        parts = {key.removeprefix("ms_").replace("_", " "): value
                 for key, value in made["figures"].items()}  # fmt: skip
        rows.append((name.replace("`", ""), parts))
    label = "CPU milliseconds of an image"
    note = _note(results, "stages")
    return [plots.stacks(folder / "stages.svg", rows, label, note)] if rows else []


def loaders(results: list[dict], folder: Path) -> list[Path]:
    """Loaders with mixing and without."""
    written = []
    for device, file in (("cpu", "loaders.svg"), ("cuda", "loaders-cuda.svg")):
        rows = [row for made in chosen(results, "loaders", device=device) for row in _ratios(made)]
        if rows:
            label = "time of an image with mixing over that without"
            note = _note(results, "loaders", device=device)
            written.append(plots.bars(folder / file, rows, [""], label, line=1.0, note=note))
    return written


def _ratios(made: dict) -> list[tuple[str, list[float | None]]]:
    """Rows of a figure from a line about loaders: time with mixing over that without."""
    case, times = made["case"], {name: other["times"] for name, other in made["others"].items()}
    name = f"{case['loader']} {case['policy']}"
    if case["device"] == "cpu":
        return [(name, [1 / times["without"]])]
    rows = [(f"{name} {case['dtype']}", [1 / times["without"]])]
    if "mixer" in times:
        there = times["mixer"] / times["mixes nothing"]
        rows.append((f"{name} {case['dtype']}, mixed on the GPU", [there]))
    return rows


def _note(results: list[dict], bench: str, **wanted: object) -> str:
    """Where the lines of a figure come from, as it says itself."""
    return " ".join(map(str.strip, _origins(chosen(results, bench, **wanted))))


def text(results: list[dict], figures: list[str]) -> str:
    """REPORT.md."""
    parts = [TITLE, *_origins(results), summary.in_short(results)]
    parts += [f"![{name}]({name})\n" for name in figures]
    parts += _tables([made for made in results if "ms" in made])
    lacking = [made for made in results if "ms" not in made]
    if lacking:
        rows = [f"* {_words(made)}: {made.get('skipped') or 'failed: ' + made['failed']}"
                for made in lacking]  # fmt: skip
        parts.append("## Not measured\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _tables(measured: list[dict]) -> list[str]:
    return [
        f"## {bench}\n\n{table([made for made in measured if made['bench'] == bench])}"
        for bench in dict.fromkeys(made["bench"] for made in measured)
    ]


def _words(made: dict) -> str:
    return " ".join([made["bench"], *map(str, made["case"].values())])


def _origins(results: list[dict]) -> list[str]:
    """Machines, commits and versions, each once."""
    machines = dict.fromkeys(machine(made) for made in results if "ms" in made)
    commits = dict.fromkeys(made["commit"] for made in results)
    versions = dict.fromkeys(
        f"{name} {number}" for made in results for name, number in made["versions"].items()
    )
    origins = {"Machine": machines, "Commit": commits, "Versions": sorted(versions)}
    return [f"{name}: {', '.join(values)}.\n" for name, values in origins.items()]


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
