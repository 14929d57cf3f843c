"""The one call for a card: its driver with parts that misbehave, and what the parts would run."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import __main__ as benchmark
from bench import cases, records
from bench.card import __main__ as card
from bench.card import about, counters, parts, prebuilt, runner
from bench.card.parts import MOST_THREADS, PARTS, Part
from dali_msda import build, cache
from dali_msda.backends import nvrtc, packs

ROOT = Path(__file__).parents[2]
CARD = {"gpu": "NVIDIA H200", "arch": "sm_90", "driver": "580.1", "cuda": "13.0"}
ABOUT = {"machine": CARD, "versions": {"python": "3"}, "commit": "abc"}


def fake(name, code, seconds=20, shows="done", **how):
    return Part(name, seconds, ("-c", code), shows, **how)


def outcomes_of(*given, seconds=60, folder):
    results = runner.Results(folder / "new/card.jsonl", ABOUT)
    outcomes = runner.run(given, results, seconds)
    lines = [json.loads(line) for line in (folder / "new/card.jsonl").read_text().splitlines()]
    return outcomes, lines


RESULT = {"bench": "blend", "case": {"method": "mixup"}, "ms": 1.5, "share": 0.5}
RESULT |= {"machine": {"cores": 2}}
SKIPPED = {"bench": "blend", "case": {"method": "fmix"}, "skipped": "no torch"}


def test_parts_that_misbehave_do_not_stop_the_others(tmp_path, capsys):
    outcomes, lines = outcomes_of(
        fake("works", "print('done')"),
        fake("fails", "print('one'); raise SystemExit(3)"),
        fake("dies", "import os; os.abort()"),
        fake("hangs", "import time; print('begun', flush=True); time.sleep(99)", 1),
        fake("deaf", "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (15, 2)]\n"
             "time.sleep(99)", 1),
        fake("does nothing", "print('3 skipped')"),
        fake("floods", "print('x' * (64 << 20)); [print('y' * 999) for _ in range(9999)]\n"
             "print('done')"),
        fake("missing", "", under=("no-such-program",)),
        fake("prints results", f"print('''{json.dumps(RESULT)}'''); print('{{done')"),
        fake("skips", f"print('''{json.dumps(SKIPPED)}''')", shows='"ms"'),
        folder=tmp_path,
    )  # fmt: skip
    found = {outcome.part: (outcome.outcome, outcome.about) for outcome in outcomes}
    assert found == {
        "works": ("passed", "done"),
        "fails": ("failed", "exit code 3: one"),
        "dies": ("failed", found["dies"][1]),
        "hangs": ("timed out", "after 1 s"),
        "deaf": ("timed out", "after 1 s"),
        "does nothing": ("failed", "nothing was run or measured: 3 skipped"),
        "floods": ("passed", "done"),
        "missing": ("not run", found["missing"][1]),
        "prints results": ("passed", "1 lines of results, 50% to 50% of a copy"),
        "skips": ("failed", "nothing was run or measured: fmix: skipped: no torch"),
    }
    assert found["dies"][1].startswith("exit code -6")
    assert found["missing"][1].startswith("no-such-program: not found in PATH and ")
    assert all(outcome.seconds < 15 for outcome in outcomes)
    printed = capsys.readouterr().out
    assert "    begun\n" in printed and len(printed) < 4000
    assert "    mixup: 1.5 ms, 50% of a copy\n" in printed
    by_part = {line["case"]["part"]: line for line in lines if line["bench"] == "card"}
    assert list(by_part) == [outcome.part for outcome in outcomes]
    assert by_part["hangs"]["output"] == ["begun"] and "output" not in by_part["works"]
    assert all(len(json.dumps(line)) < 4000 for line in lines)


def test_lines_say_where_they_come_from(tmp_path):
    code = f"print('''{json.dumps(RESULT)}''')\nimport os; print(os.environ['{MOST_THREADS}'])"
    _, (measured, ended) = outcomes_of(fake("times", code, shows='"ms"', threads=64),
                                       folder=tmp_path)  # fmt: skip
    assert measured == RESULT | {
        "case": {"method": "mixup", "most_threads": 64},
        "part": "times",
        "machine": CARD | {"cores": 2},
        "versions": ABOUT["versions"],
        "commit": "abc",
    }
    assert ended["outcome"] == "passed" and ended.items() >= ABOUT.items()
    assert records.read(tmp_path / "new/card.jsonl") == [measured, ended]


def test_results_are_written_before_a_part_ends(tmp_path):
    """A run that is cut keeps what it had."""
    code = f"import time; print('''{json.dumps(RESULT)}''', flush=True); time.sleep(99)"
    _, (measured, ended) = outcomes_of(fake("cut", code, 2), folder=tmp_path)
    assert measured["ms"] == 1.5 and ended["outcome"] == "timed out"


def test_what_a_part_has_started_ends_with_it(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
        "print('child', child.pid, flush=True); time.sleep(99)"
    )
    _, (line,) = outcomes_of(fake("parent", code, 2), folder=tmp_path)
    pid = int(re.search(r"child (\d+)", line["output"][0])[1])
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")


def test_the_time_of_all_parts_is_limited(tmp_path):
    begun = time.monotonic()
    outcomes, _ = outcomes_of(
        fake("long", "import time; time.sleep(99)", 50),
        fake("late", "print('done')"),
        seconds=runner.LEAST + 1,
        folder=tmp_path,
    )
    assert [outcome.outcome for outcome in outcomes] == ["timed out", "not run"]
    assert outcomes[1].about == "no time was left"
    assert time.monotonic() - begun < runner.LEAST + 10


# The command.


def test_without_a_gpu(tmp_path):
    """It says so within seconds, and writes nothing."""
    if about_a_card():
        pytest.skip("there is one")
    begun = time.monotonic()
    command = [sys.executable, "-m", "bench.card", "--out", tmp_path / "card.jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("no GPU: ") and not done.stdout
    assert time.monotonic() - begun < 20 and not list(tmp_path.iterdir())


def about_a_card():
    try:
        return about.card()
    except RuntimeError:
        return None


def test_the_parts_are_listed(capsys):
    assert card.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:28].strip() for line in lines] == [part.name for part in PARTS]
    assert card.main(["--list", "-k", "memcheck"]) == 0
    assert "compute-sanitizer --tool memcheck" in capsys.readouterr().out


def test_a_run_with_a_card(tmp_path, capsys, monkeypatch):
    """Whole, with two parts, on a card that is pretended."""
    given = (fake("works", "print('done')"), fake("fails", "raise SystemExit('broken')"))
    monkeypatch.setattr(card, "PARTS", given)
    monkeypatch.setattr(about, "card", lambda: CARD)
    monkeypatch.setattr(prebuilt, "PREBUILT", tmp_path / "nowhere")
    file = tmp_path / "lines.jsonl"
    assert card.main(["--out", str(file)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("NVIDIA H200, sm_90, driver 580.1, commit ")
    assert out[1] == "prebuilt: none; compiled at first use"
    table = out[[line.split()[:1] == ["part"] for line in out].index(True) + 1 :]
    assert [line.split()[:2] for line in table[:2]] == [["works", "passed"], ["fails", "failed"]]
    assert table[2].endswith(f"lines in {file}")
    assert card.main(["--out", str(file), "-k", "works"]) == 0
    assert about.file_name(CARD["gpu"]) == "nvidia-h200.jsonl"
    made = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["outcome"] for line in made] == ["passed", "failed", "passed"]
    assert made[0]["machine"] == CARD and "numpy" in made[0]["versions"]


# The parts.


def test_names_differ_and_the_valuable_parts_come_first():
    names = [part.name for part in PARTS]
    assert len({*names}) == len(names) and names[0] == "doctor"
    assert names.index("types") < names.index("blends") < names.index("memcheck")
    sizes = {part.threads for part in PARTS if part.name.startswith("blends")}
    assert len(sizes) == 3 and 0 in sizes


TESTS = [part for part in PARTS if part.module[:2] == ("-m", "pytest")]


COLLECT = """
import json, sys, pytest
for options in json.loads(sys.argv[1]):
    print(f"exit code {int(pytest.main([*options, '--collect-only']))} ----", flush=True)
"""


def test_the_tests_of_every_part_exist():
    """Each expression picks some, of the library that it names."""
    options = json.dumps([part.module[2:] for part in TESTS])
    command = [sys.executable, "-c", COLLECT, options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    for part, listed in zip(TESTS, done.stdout.split(" ----\n")[:-1], strict=True):
        assert listed.endswith("exit code 0"), (part.name, listed)
        names = re.findall(r"^tests/cuda/\S+\[.*\]$", listed, re.M)
        library = "torch" if "torch" in part.module[-2] else "cupy"
        assert names and all(library in name or "cupy" in name for name in names), part.name
        assert re.search(part.shows, f"{len(names)} passed, 3 skipped in 0.1s")
        assert not re.search(part.shows, f"0 passed, {len(names)} skipped in 0.1s")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_command_of_every_part_exists(part, capsys):
    assert part.module[0] == "-m" and 0 < part.seconds <= 90
    name, *options = part.module[1:]
    if name == "bench":
        args = benchmark._parser().parse_args(["run", *options])
        chosen = cases.select(args.k, args.level, args.device)
        assert 1 <= len(chosen) <= 30 and {case["device"] for case in chosen} == {"cuda"}
        assert re.search(part.shows, json.dumps({"ms": 1.0}))
    elif name != "pytest":
        command = [sys.executable, *part.module[:2], *options, "--help"]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    if part.under:
        assert part.under[0] == parts.SANITIZER


def test_programs_of_a_toolkit_are_found(tmp_path, monkeypatch):
    tool = tmp_path / "bin/ncu"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert parts.program("ncu") == str(tool)
    with pytest.raises(FileNotFoundError, match="^compute-sanitizer: not found in PATH and "):
        parts.program("compute-sanitizer")


TABLE = """==PROF== Connected to process 7
==PROF== Profiling "msda_blend_uint8_float16" - 0: 0%....100% - 8 passes
"ID","Kernel Name","gpu__time_duration.sum","dram__bytes_read.sum","launch__block_size","other"
"","","usecond","Mbyte","",""
"0","msda_blend_uint8_float16(MsdaGpuBlend)","52.5","38.5","256","1"
"1","msda_field_masks(MsdaGpuFields)","1,200.5","0","1,024","1"
"""


def test_the_table_of_ncu_is_read():
    blend, fields = counters.lines(TABLE)
    assert blend["case"] == {"kernel": "msda_blend_uint8_float16", "launch": 0}
    assert blend["kernel_ms"] == pytest.approx(0.0525) and blend["dram_read"] == 38.5e6
    assert fields["kernel_ms"] == pytest.approx(1.2005) and fields["threads"] == 1024
    assert runner.spoken(blend) == "0.0525 ms"
    assert runner.spoken(blend | {"dram_percent": 71.4, "issue_percent": 40}) == (
        "0.0525 ms, memory 71 %, issue 40 %"
    )
    with pytest.raises(ValueError, match="expected a table, got '==ERROR== No permission"):
        counters.lines("==ERROR== No permission: ERR_NVGPUCTRPERM\n")


def test_counters_without_ncu(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    assert counters.main([]) == 1
    assert capsys.readouterr().out.startswith("ncu: not found in PATH")


# What is taken along.


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A folder that was filled, with code that costs nothing."""
    (tmp_path / "code").write_bytes(b"\x7fELF")
    monkeypatch.setattr(nvrtc, "kept", lambda source, kind: tmp_path / "code")
    for name in ("PREBUILT", "CACHE"):
        monkeypatch.setattr(prebuilt, name, tmp_path / ".gpu" / name.lower())
    monkeypatch.setattr(prebuilt, "ROOT", tmp_path)
    monkeypatch.setattr(records, "COMMIT_FILE", tmp_path / ".gpu/commit")
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", ""))
    prebuilt.main(["sm_90"])
    return tmp_path


def test_what_was_taken_along_is_found(packed, monkeypatch, capsys):
    assert {path.name for path in prebuilt.PREBUILT.iterdir()} == {
        build.file_name("cpu"), f"{build.file_name('cpu')}.sha256", packs.file_name()
    }  # fmt: skip
    found = prebuilt.install()
    assert found == f"prebuilt: {build.file_name('cpu')} and {packs.file_name()}"
    monkeypatch.setenv("CXX", "/nowhere/g++")
    library = build.library("cpu")
    assert library == cache.folder() / build.file_name("cpu")
    assert library.is_relative_to(packed / ".gpu/cache")
    assert len(packs.read(library.with_name(packs.file_name()))) == len(nvrtc.sources())


def test_code_of_other_sources_is_not_installed(packed, monkeypatch):
    monkeypatch.setattr(build, "kernels_key", lambda: "0123456789abcdef")
    assert prebuilt.install() == "prebuilt: of other sources; compiled at first use"
    assert not prebuilt.CACHE.exists()


def test_a_library_that_does_not_load_is_compiled_anew(packed, monkeypatch):
    (prebuilt.PREBUILT / build.file_name("cpu")).write_bytes(b"of another machine")
    assert re.match(r"prebuilt: the library does not load here \(.*\); comp", prebuilt.install())
    assert cache.find(build.file_name("cpu")) is None


def test_a_plain_copy_knows_its_commit(packed, monkeypatch):
    records.commit.cache_clear()
    made = records.commit()
    assert records.COMMIT_FILE.read_text() == f"{made}\n"
    records.commit.cache_clear()
    monkeypatch.setattr(records, "ROOT", packed)
    assert records.commit() == made
    records.commit.cache_clear()
    records.COMMIT_FILE.unlink()
    assert records.commit() == "unknown"
    records.commit.cache_clear()


def test_the_targets_of_make():
    """`make gpu-once` runs the command, with options."""
    dry = ["make", "--dry-run", "--no-print-directory", "PYTHON=python3", "ONCE=--list"]
    how = dict(cwd=ROOT, capture_output=True, text=True)
    done = subprocess.run([*dry, "gpu-once"], **how)
    assert shlex.split(done.stdout) == ["python3", "-m", "bench.card", "--list"]
    done = subprocess.run([*dry, "gpu-pack", "CARD=sm_80"], **how)
    assert done.stdout.splitlines()[-1].endswith("python -m bench.card.prebuilt sm_80")
