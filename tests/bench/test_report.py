"""Lines of results, compared and reported."""

import itertools
import json

import pytest

from bench import compare, records, report, summary
from bench.__main__ import main
from tests.bench.small_cases import ROOT, line


def test_compare_flags_a_slowdown_and_not_noise(tmp_path, capsys):
    old = [line(size=size, ms=size, spread=0.03) for size in (10, 20, 30, 40, 50)]
    new = [
        line(size=10, ms=10.3, spread=0.03),  # within 5 %
        line(size=20, ms=26.0, spread=0.03),  # slower
        line(size=30, ms=20.0, spread=0.03),  # faster
        line(size=40, ms=48.0, spread=0.30),  # 20 %, but it varies by 30
        line(size=50, ms=100.0, spread=0.03, copy=10.0),  # slower, as the machine is
        line(size=60, ms=1.0),
    ]
    found = {change.name[-2:]: change.verdict for change in compare.changes(old, new)}
    assert found == {"10": "", "20": "slower", "30": "faster", "40": "",
                     "50": "slower, as the plain copy is"}  # fmt: skip
    for name, given in (("old", old), ("new", new)):
        (tmp_path / name).write_text("".join(json.dumps(made) + "\n" for made in given))
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert (
        "5 cases in both, 3 beyond noise" in out and "not in both: blend device=cpu size=60" in out
    )
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "lost")]) == 1
    (tmp_path / "old").write_text("{}\n")
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    assert "old:1: expected a line" in capsys.readouterr().err


def test_lines_of_a_card_that_are_no_cases_are_not_reported(tmp_path):
    """What became of a part, counters, and measurements with smaller blocks."""
    common = {"method": "mixup", "dtype": "float16", "layout": "CHW", "batch": 256, "size": 224}
    plain = line(**common, most_threads=0)
    made = [plain, line(**common, most_threads=64, ms=99.0)]
    for bench, case in (("card", {"part": "types"}), ("counters", {"kernel": "msda_mask"})):
        made.append({"bench": bench, "case": case, "outcome": "passed", "commit": "abc"})
        made[-1] |= {"versions": {}, "machine": {"gpu": "H"}}
    report.write(made, tmp_path / "both")
    report.write([plain], tmp_path / "alone")
    both, alone = ((tmp_path / name / "REPORT.md").read_text() for name in ("both", "alone"))
    assert both == alone


def fixture():
    common = {"layout": "CHW", "batch": 256, "size": 224, "mirror": False}
    made = [
        line(method=method, dtype="float32", threads=threads, **common)
        for method in ("mixup", "cutmix")
        for threads in (1, 2)
    ]
    both = itertools.product(("a.Mixup", "b.Mixup"), ("default", "tuned"))
    for peer, allocator in (*both, ("once.Mixup", "default")):
        case = {"peer": peer, "method": "mixup", "scope": "sample", "allocator": allocator}
        made.append(line("peers", batch=256, size=224, dtype="float32", threads=1, **case))
        times = {"a": 20.0, "b": 10.0, "once": 5.0}[peer.removesuffix(".Mixup")]
        times /= 1 + (allocator == "tuned")
        made[-1]["others"][peer] = {"ms": 10 * times, "per_s": 123.4, "times": times, "items": 4}
    made.append(line("scaling", axis="size", method="mixup", threads=1))
    made[-1] |= {"of": "32", "figures": {"exponent": 0.9}}
    made[-1]["others"] = {"64": {"times": 3.5, "ms": 35.0}}
    made.append(line("loaders", policy="fmix", loader="dali"))
    made[-1]["others"]["without"] = {"times": 1.25, "ms": 12.5}
    made.append(line("loaders", policy="fmix", loader="torch", device="cuda", dtype="float16"))
    times = {"without": 1.0, "mixer": 0.5, "mixes nothing": 0.4}
    made[-1]["others"] = {name: {"times": value, "ms": 10.0} for name, value in times.items()}
    made[-1]["machine"] = {"gpu": "none", "driver": "1.2", "cuda": "3.4"}
    made.append(line("side_by_side", files="folder") | {"of": "ours, torch"})
    made[-1]["others"] = {"timm.Mixup": {"times": 2.0, "per_s": 200.4, "ms": 20.0}}
    made.append(line("side_by_side", files="beton, JPEGs") | {"of": "ours, ffcv"})
    made[-1]["others"] = {"ffcv": {"times": 4.0, "per_s": 100.0, "ms": 40.0}}
    made.append(line("stages", loader="torch"))
    made[-1]["figures"] = {"ms_decoding": 1.25, "ms_handing_over": -0.01}
    made.append(line("fields", mask="paper", size=224, threads=1))
    made[-1]["others"]["numpy64"] = {"times": 20.04, "ms": 1.0}
    made.append(line("scale", names=1_281_167, classes=1000, loader="dali", ranks=1))
    made[-1]["figures"] = {"first_batch_s": 3.88, "import_s": 1.44, "find_s": 1.2, "beyond_mb": 330}
    made.append(line("distributed", loader="torch"))
    made[-1] |= {"of": "1", "others": {"2": {"times": 0.5, "ms": 5.0, "per_s": 1234.0}}}
    skipped = line("peers", peer="c", allocator="default")
    made.append(
        {name: skipped[name] for name in ("bench", "case", "versions", "commit", "machine")}
    )
    made[-1]["skipped"] = "c: No module named 'c'"
    return made


def test_report_makes_files_from_lines_alone(tmp_path):
    pytest.importorskip("matplotlib")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{summary.BEGIN}\nold\n{summary.END}\nafter\n")
    written = report.write(fixture(), tmp_path / "results", readme)
    names = {path.name for path in written}
    assert names == {"REPORT.md", "README.md", "roofline-cpu.svg", "peers-cpu.svg", "scaling.svg",
                     "loaders.svg", "loaders-cuda.svg", "side_by_side.svg",
                     "stages.svg"}  # fmt: skip
    text = (tmp_path / "results" / "REPORT.md").read_text()
    assert "c: No module named 'c'" in text and "| mixup | 1 | 10 | 2% |" in text
    drawn = (tmp_path / "results" / "loaders-cuda.svg").read_text()
    assert "torch fmix float16, mixed on the GPU" in drawn and ">1.25<" in drawn.replace(" ", "")
    quoted = readme.read_text()
    assert quoted.startswith("before\n") and quoted.endswith("\nafter\n") and "old" not in quoted
    assert "| a.Mixup mixup, per sample | 123 | 20.0 | 10.0 |" in text
    assert "| once.Mixup mixup, per sample | 123 | 5.0 | |" in text
    assert "20.0 times those of the same algorithm" in text
    assert "JPEGs to mixed batches, dali: 80 % of the CPU time" in text
    assert "* 1,281,167 files, dali: the first batch is there 3.9 s after" in text
    assert "together hold 330 MB more" in text and "all together 400 by 1, 1,234 by 2." in text
    figures = " ".join(quoted.split())
    assert "others: `once.Mixup` 5 times, `b.Mixup` 10 times, `a.Mixup` 20 times." in figures
    assert "tuned in their favour: `b.Mixup` 5 times, `a.Mixup` 10 times." in figures
    assert "**400 images a second** on one core" in figures
    assert "in images a second: ours by PyTorch 400, timm's `Mixup` 200." in figures
    drawn = (tmp_path / "results" / "side_by_side.svg").read_text()
    names = ["ours by PyTorch", "ours by FFCV (beton, JPEGs)", "timm's Mixup", "FFCV (beton"]
    assert sorted(names, key=lambda name: drawn.index(f">{name}")) == names  # the fastest first
    drawn = (tmp_path / "results" / "stages.svg").read_text()
    assert "Machine: x (y). Commit: abc. Versions: numpy 1." in drawn
    assert ">decoding<" in drawn and ">handing over<" in drawn and "1.25<" in drawn
    first = {path: path.read_bytes() for path in written}
    report.write(fixture(), tmp_path / "results", readme)
    assert {path: path.read_bytes() for path in written} == first
    with pytest.raises(ValueError, match="expected the marks"):
        readme.write_text("none")
        report.write(fixture(), tmp_path, readme)
    with pytest.raises(ValueError, match="expected lines with figures"):
        report.write(fixture()[-1:], tmp_path)


def test_processors_are_kept_apart(tmp_path):
    """Equal cases of two machines stay two, and each has a part of the report."""
    other = [one | {"machine": {"processor": "z", "isa": "y", "cores": 1}, "ms": 77.0}
             for one in fixture()[:2]]  # fmt: skip
    for name, lines in (("cpu", fixture()), ("cpu-z", other)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    found = records.read(tmp_path / "cpu.jsonl", tmp_path / "cpu-z.jsonl")
    assert len(found) == len(fixture()) + 2
    report.write(found, tmp_path / "results")
    first, second = (tmp_path / "results" / "REPORT.md").read_text().split("# On z (y)\n")
    assert "77" not in first and second.count("| 77 |") == 2 and "Machine: z (y)." in second
    said = compare.table(fixture(), other)
    assert "old: none (driver 1.2, CUDA 3.4), x (y); new: z (y). They are other machines" in said
    assert "other machines" not in compare.table(other, other)


def test_the_readme_quotes_the_lines():
    """Every figure of its part comes from the file of results beside."""
    text = (ROOT / "README.md").read_text()
    assert text.count(summary.BEGIN) == 1
    part = text[text.index(summary.BEGIN) : text.index(summary.END) + len(summary.END)]
    assert part == summary.first_page(records.read(records.CPU_FILE))
    assert (records.RESULTS / "peers-cpu.svg").is_file()
