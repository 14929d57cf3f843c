"""Says in words what the lines hold: the figures of the first page, and the report's summary."""

import textwrap
from collections.abc import Callable

from bench.records import chosen, machine, side_by_side, times

BEGIN, END = "<!-- python -m bench report: begin -->", "<!-- end -->"
PEERS = {  # as the first page calls them
    "dali": "DALI",
    "dali.operators": "DALI's own operators",
    "ffcv": "FFCV",
    "kornia.V2": "kornia's `RandomMixUpV2`",
    "torch": "PyTorch",
    "timm.FastCollateMixup": "timm's `FastCollateMixup`",
    "timm.Mixup": "timm's `Mixup`",
    "torchvision.v2": "torchvision's `MixUp`",
}
LOADERS = {"dali": "CPU time", "ffcv": "time", "torch": "time"}  # which time counts
MASKS = {
    "released": "the released code's",
    "numpy64": "those of the same algorithm in NumPy",
    "numpy32": "those of NumPy at its best",
}


def first_page(results: list[dict]) -> str:
    """The part of the first page: at most five figures, and where they were measured."""
    machines = ", ".join(dict.fromkeys(machine(made) for made in results if "ms" in made))
    where = f"On {machines}; all conditions: [REPORT.md](bench/results/REPORT.md)."
    return "\n".join([BEGIN, "", *headlines(results), "", *textwrap.wrap(where, 100), END])


def headlines(results: list[dict]) -> list[str]:
    """The figures of the first page, an item each; figures that no line holds are left out.

    Of a peer's variants (per sample, per batch) the one that is closest to ours counts.
    """
    rows = side_by_side(results, method="mixup")
    default = _closest([pair[0] for _, pair in rows])
    tuned = _closest([pair[1] for _, pair in rows])
    found = []
    if default:
        ours = [made["per_s"] for _, (made, _) in rows if made]
        found.append(
            f"**{_range(min(ours), max(ours))} images a second** on one core: Mixup per sample, "
            "uint8 to normalised float32, labels included (batch 256, 224 x 224)."
        )
        found.append(f"The same work takes longer with others: {_listed(default)}.")
    if tuned:
        found.append(f"With the memory allocator tuned in their favour: {_listed(tuned)}.")
    for each in chosen(results, "fields", device="cpu", size=224, threads=1, mask="paper"):
        if "released" in each["others"]:
            faster = each["others"]["released"]["times"]
            found.append(
                f"FMix: {each['per_s']:,.0f} masks a second on one core, {faster:.0f} times as "
                "many as the authors' code makes."
            )
    for each in chosen(results, "side_by_side", files="folder"):
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in whole_loaders(each))
        found.append(
            f"Whole loaders on {each['machine']['cores']} cores, from JPEGs of ImageNet's sizes to "
            f"mixed batches, in images a second: {rates}."
        )
    return [textwrap.fill(f"* {text}", 100, subsequent_indent="  ") for text in found]


def whole_loaders(made: dict) -> list[tuple[str, float]]:
    """Images a second of the loaders of a line, by their names; the fastest first."""
    rates = {made["of"]: made["per_s"]}
    rates |= {name: other["per_s"] for name, other in made["others"].items()}
    found = [(loader_name(name), rate) for name, rate in rates.items()]
    return sorted(found, key=lambda row: -row[1])


def loader_name(name: str) -> str:
    """What a reader calls a loader."""
    if name.startswith("ours"):
        return f"ours by {PEERS[name.split(', ')[1]]}"
    return PEERS.get(name, name)


def _closest(results: list[dict | None]) -> dict[str, float]:
    """How many times as long as ours each peer takes, by its name."""
    found: dict[str, float] = {}
    for made in filter(None, results):
        peer = made["case"]["peer"]
        found[peer] = min(times(made), found.get(peer, times(made)))
    return dict(sorted(found.items(), key=lambda row: row[1]))


def _listed(found: dict[str, float]) -> str:
    named = ((PEERS.get(peer, f"`{peer}`"), value) for peer, value in found.items())
    return ", ".join(f"{peer} {value:.0f} times" for peer, value in named)


def in_short(results: list[dict]) -> str:
    """What the lines say, in one table and a few sentences."""
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
        rows.append(f"| ours, per sample | {_range(min(ours), max(ours))} | | |")
    return "## In short\n\n" + "\n".join([*rows, "", *sentences(results)]) + "\n"


def sentences(results: list[dict]) -> list[str]:
    """What the lines say besides, in words."""
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
    return made + _at_scale(results)


def _at_scale(results: list[dict]) -> list[str]:
    """What the lines say of a million files, and of several processes."""
    made = []
    for each in chosen(results, "scale", classes=1000, ranks=1):
        case, found = each["case"], each["figures"]
        made.append(
            f"* {case['names']:,} files, {case['loader']}: the first batch is there "
            f"{found['first_batch_s']:.1f} s after the process was started, of which imports take "
            f"{found['import_s']:.1f} s and finding the files {found['find_s']:.1f} s. All "
            f"processes together hold {found['beyond_mb']:,.0f} MB more than with two files a "
            "class."
        )
    for each in chosen(results, "distributed"):
        rates = {each["of"]: each["per_s"]}
        rates |= {name: other["per_s"] for name, other in each["others"].items()}
        found = ", ".join(f"{rate:,.0f} by {count}" for count, rate in rates.items())
        made.append(
            f"* Processes that train together, {each['case']['loader']}, the same images on "
            f"{each['machine']['cores']} cores: images a second of all together {found}."
        )
    return made


def _by_method(results: list[dict], value: Callable[[dict], float]) -> str:
    found: dict[str, list[float]] = {}
    for made in results:
        found.setdefault(made["case"]["method"], []).append(value(made))
    return ", ".join(f"{name} {_between(values)}" for name, values in found.items())


def _between(values: list[float]) -> str:
    return f"{_range(100 * min(values), 100 * max(values))} %"


def _range(least: float, most: float) -> str:
    low, high = f"{least:,.0f}", f"{most:,.0f}"
    return low if low == high else f"{low} to {high}"
