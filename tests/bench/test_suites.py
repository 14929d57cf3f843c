"""What the suites list, measure and check on the CPU."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bench import cases, gpu_timing, records, run
from bench.__main__ import main
from bench.suites.loaders import photographs as jpegs
from dali_msda.puzzle import PuzzleSettings
from tests.bench.small_cases import NEEDED, ROOT, one

STARTS = {"scale", "distributed"}  # which start processes that import torch, many times
NO_BYTES = "loaders side_by_side stages training startup scaling calls puzzle comixup".split()


@pytest.mark.parametrize(
    "bench",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in STARTS)) for name in cases.MODULES],
)
def test_a_case_of_each_module_gives_a_whole_line(bench, photographs):
    made = run.here(one(bench), 2)
    assert made.keys() >= NEEDED, made
    assert made["bench"] == bench and made["repeats"] == 1 + (bench != "scale") and made["ms"] > 0
    assert json.loads(json.dumps(made)) == made
    if bench not in {*NO_BYTES, *STARTS}:
        assert made.keys() >= {"moved_mb", "gb_s", "copy_gb_s", "share"}
        assert made["share"] == pytest.approx(made["gb_s"] / made["copy_gb_s"], rel=2e-3)
    for other in made["others"].values():
        rate = made["ms"] / made["items"], other["ms"] / other["items"]
        assert other["times"] == pytest.approx(rate[1] / rate[0], rel=2e-3)
    assert made["versions"]["numpy"] == np.__version__


PEERS = [("timm.Mixup", "cutmix", "pair"), ("timm.FastCollateMixup", "cutmix", "sample"),
         ("timm.FastCollateMixup", "mixup", "batch"), ("torchvision.v2", "mixup", "batch"),
         ("torchvision.v2", "cutmix", "batch"), ("kornia.V2", "mixup", "sample"),
         ("kornia.V2", "cutmix", "sample"), ("dali.operators", "mixup", "batch"),
         ("timm.Mixup+fused", "mixup", "sample")]  # fmt: skip


@pytest.mark.parametrize(("peer", "method", "scope"), PEERS)
def test_peers_do_the_same_work(peer, method, scope):
    made = run.here(one("peers", peer=peer, method=method, scope=scope), 2)
    if "skipped" in made:
        pytest.skip(made["skipped"])
    assert peer in made["others"] and made["of"] == "ours", made


@pytest.mark.parametrize("kind", ["ffcv", "torch"])
def test_epochs_of_other_loaders(kind, photographs):
    made = run.here(one("loaders", loader=kind), 2)
    if "skipped" in made:
        pytest.skip(made["skipped"])
    assert made.keys() >= NEEDED and made["clock"] == "wall", made
    assert made["others"].keys() == {"without"}
    assert made["items"] == 48  # three photographs of 16 classes


def test_a_case_in_a_process_of_its_own():
    if not importlib.util.find_spec("timm"):
        pytest.skip("timm is not installed")
    made = run._apart(one("peers", allocator="tuned"), 2)
    assert made["case"]["allocator"] == "tuned" and "timm.Mixup" in made["others"], made
    assert made["machine"]["cores"] == 1 and made["versions"]["timm"]
    broken = run._apart(one("peers", allocator="tuned", peer="nobody's"), 2)
    assert "KeyError" in broken["failed"]


def test_copies_are_made_past_the_caches_but_not_those_of_libraries(monkeypatch, tmp_path):
    """What is measured in a process of its own has the C library as it is, or as a user set it."""
    seen = []
    monkeypatch.setattr(run.subprocess, "run", lambda *_, env, **__: seen.append(env) or 1 / 0)
    for value in (*run.STREAMING.values(), "glibc.malloc.check=1"):
        monkeypatch.setenv("GLIBC_TUNABLES", value)
        with pytest.raises(ZeroDivisionError):
            run._apart(one("peers"), 2)
    assert "GLIBC_TUNABLES" not in seen[0] and seen[1]["GLIBC_TUNABLES"] == "glibc.malloc.check=1"

    monkeypatch.undo()
    environment = {k: v for k, v in os.environ.items() if k not in run.STREAMING}
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nprint(os.environ.get('GLIBC_TUNABLES'), file=sys.stderr)"
    )
    environment["PYTHONPATH"] = str(tmp_path)
    command = [sys.executable, "-m", "bench", "list", "-k", "blend quick method=mixup"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stderr.split()[:2] == ["None", *run.STREAMING.values()]


def test_levels_hold_one_another_and_names_are_unique():
    for device in ("cpu", "cuda"):
        quick, default, everything = (cases.select("", level, device) for level in cases.LEVELS)
        keys = [{frozenset(case.parameters) | {case.bench} for case in level}
                for level in (quick, default, everything)]  # fmt: skip
        assert keys[0] < keys[1] < keys[2]
        assert len(keys[2]) == len(everything) == len({case.name for case in everything})
    assert {case.bench for case in cases.select("", "all")} == set(cases.MODULES)


def test_selection_by_words():
    found = cases.select("blend float16 threads=1", "quick")
    assert [case["method"] for case in found] == ["mixup", "cutmix", "fmix"]
    with pytest.raises(
        ValueError, match="-k: expected words of a case's name, got 'blend nothing'"
    ):
        cases.select("blend nothing")


def test_tables_expand_to_products():
    table = {"method": ("a", "b"), "size": 3, "threads": ("all", 1)}
    rows = list(cases.expand([table]))
    assert [row["method"] for row in rows] == ["a", "a", "b", "b"]
    assert {row["threads"] for row in rows} == {1, len(os.sched_getaffinity(0))}
    assert all(row["device"] == "cpu" and row["size"] == 3 for row in rows)


def test_listing_and_running_from_the_command_line(tmp_path, capsys):
    assert main(["list", "-k", "targets"]) == 0
    assert capsys.readouterr().out.count("targets device=cpu") == 2
    file = tmp_path / "new" / "lines.jsonl"
    for _ in range(2):  # appends; of lines about one case the last counts
        assert main(["-k", "targets classes=10 ", "--repeats", "2", "--out", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 4 and len(records.read(file)) == 2
    assert main(["--repeats", "0"]) == 1
    assert main(["--puzzlemix-repo", str(tmp_path)]) == 1
    assert "expected a folder with its mixup.py" in capsys.readouterr().err
    assert main(["--comixup-repo", str(tmp_path)]) == 1
    assert "expected a folder with its match.py" in capsys.readouterr().err
    assert main(["--fmix-repo", str(tmp_path)]) == 1
    assert "expected a folder with fmix.py or mixup.py" in capsys.readouterr().err


def test_what_is_missing_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    made = run.here(one("peers", peer="kornia.V2"), 2)
    assert "kornia" in made["skipped"] and "ms" not in made
    made = run.here(one("peers", peer="released.FMix", method="fmix"), 2)
    assert "--fmix-repo DIR" in made["skipped"]
    made = run.here(one("puzzle", beside="released"), 2)
    assert "--puzzlemix-repo DIR" in made["skipped"]
    made = run.here(one("comixup", beside="released"), 2)
    assert "--comixup-repo DIR" in made["skipped"]
    if gpu_there():
        return
    assert main(["-k", "targets", "--device", "cuda"]) == 0  # skipped is no failure
    assert "no GPU" in json.loads(capsys.readouterr().out.splitlines()[0])["skipped"]


def gpu_there():
    try:
        return gpu_timing.found() is not None
    except cases.Missing:
        return False


def test_a_failure_is_a_line_and_an_exit_code(monkeypatch, capsys):
    from bench.suites import targets

    monkeypatch.setattr(targets, "_check", lambda *given: 1 / 0)
    assert main(["-k", "targets classes=10 ", "--repeats", "2"]) == 1
    assert "ZeroDivisionError" in json.loads(capsys.readouterr().out.splitlines()[0])["failed"]


def test_released_code_is_imported_from_where_it_lies(monkeypatch, tmp_path):
    """A checkout that makes masks of another share of the pixels is found out."""
    from bench.peers import released

    code = "import numpy as np\ndef sample_mask(alpha, decay, shape, max_soft=0.0):\n"
    code += "    mask = np.zeros((1, *shape)); mask[:, : shape[0] // 2] = 1; return {}, mask\n"
    for lam in ("0.5", "0.6"):
        folder = tmp_path / lam
        folder.mkdir()
        (folder / "fmix.py").write_text(code.format(lam))
        monkeypatch.setattr(released, "CHECKOUTS", [folder])
        made = run.here(one("fields"), 2)
        assert ("released" in made.get("others", {})) == (lam == "0.5")
        assert ("outputs differ" in made.get("failed", "")) == (lam == "0.6")


RELEASED_PUZZLE = """
import numpy as np
import torch
def graphcut_multi(own, partner, down, right, lam, border, eta, levels):
    return np.zeros(own.shape)
def mixup_graph(images, grad, indices, block_num, **how):
    none = np.zeros((block_num, block_num))
    costs = none + COST, none, none[1:], none[:, 1:], 0.4, 0.1, 0.2, 3
    mask = torch.tensor(np.stack([graphcut_multi(*costs) for _ in images])).float()[:, None]
    mask = torch.nn.functional.interpolate(mask, size=images.shape[2:])
    return MORE + mask * images + (1 - mask) * images[indices], mask.mean((1, 2, 3))
"""


@pytest.mark.parametrize(
    ("cost", "more", "what"),
    [(-1, 0, ""), (-1, 0.1, "0.1 apart from ours"), (1, 0, "units less than ours")],
)
def test_released_puzzle_mix_is_checked(monkeypatch, tmp_path, cost, more, what):
    """Its images with our masks are ours, and its own masks, all partner here, cost no less."""
    from bench.models import puzzle
    from bench.peers import released

    code = RELEASED_PUZZLE.replace("COST", str(cost)).replace("MORE", str(more))
    (tmp_path / "mixup.py").write_text(code)
    monkeypatch.setattr(released, "CHECKOUTS", [tmp_path])
    monkeypatch.setattr(puzzle.Batch, "settings", lambda _: PuzzleSettings(transport=False))
    made = run.here(one("puzzle", beside="released"), 2)
    assert ("released" in made.get("others", {})) == (not what), made
    assert what in made.get("failed", ""), made


def test_cost_of_a_released_mask_by_hand():
    from bench.models import puzzle

    none = np.zeros((2, 2))
    costs = none + 0.5, none, none[1:], none[:, 1:], 0.4, 0.1, 0.2, 3
    found = puzzle.energy(np.array([[1, 0.5], [0, 0]]), *costs)
    prior = -np.log([0.16, 0.48, 0.36, 0.36]).sum() * 0.2 / 4
    assert found == pytest.approx(4000 * (0.5 * 1.5 + 0.1 * (1 + 0.25 + 0.25) + prior))


def test_photographs_by_turns(photographs):
    once, more = jpegs.of_the_demo(), jpegs.of_the_demo(100)
    assert len(once.files) == 48 and len(more.files) == 100
    assert list(more.files) == (list(once.files) * 3)[:100]
    assert more.labels.tolist() == (once.labels.tolist() * 3)[:100]


def test_parts_of_puzzle_mix_compile():
    """They include the kernels' own source, which changes without them."""
    command = [*os.environ.get("CXX", "g++").split(), "-std=c++17", "-fsyntax-only"]
    command += ["-I", str(ROOT / "kernels"), str(ROOT / "bench/models/puzzle_parts.cpp")]
    assert subprocess.run(command, timeout=300).returncode == 0
