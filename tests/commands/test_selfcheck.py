"""The self-check: it passes, and fails where a bug is put in; its theory has tests of its own."""

import importlib.util
import math
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dali_msda import Mixup, build, draw, mask
from dali_msda.commands import cli
from dali_msda.selfcheck import boxes as checks
from dali_msda.selfcheck import command, fields, laws, puzzles, rows
from dali_msda.selfcheck import interpolations as several
from tests.support import ROOT

QUICK = rows.Run(seed=0, share=command.QUICK)


def test_sigma_counts_standard_errors():
    row = rows.estimate("check", [0.5, 0.25], [0.5, 0.28], [0.01, 0.01], tolerance=0)
    assert (row.expected, row.measured, row.passed) == (0.25, 0.28, True)
    assert row.sigma == pytest.approx(3)
    assert not rows.estimate("check", 0.5, 0.56, 0.01).passed
    assert rows.estimate("check", 0.5, 0.5, 0.0).passed
    assert not rows.estimate("check", 0.0, 1e-5, 0.0).passed
    assert not rows.estimate("check", 0.5, math.nan, 0.01).passed


def test_equal_values_are_equal():
    assert rows.equal("check", [1, 2], [1, 2]).passed
    assert not rows.equal("check", [1, 2], [1, 3]).passed
    assert not rows.equal("check", [1, 2], [1, math.nan]).passed
    assert rows.equal("check", 1, [1, 1 + 1e-7], tolerance=1e-6).passed


def test_moments_of_chunks():
    masks = np.random.default_rng(3).random((50, 4, 5))
    for sums, values in (
        (rows.pairs, np.einsum("ti,tj->tij", *[masks.reshape(50, -1)] * 2)),
        (rows.displaced([(0, 0), (1, 2)]), None),
    ):
        if values is None:
            products = masks * masks, masks[:, :3, :3] * masks[:, 1:, 2:]
            values = np.stack([product.mean((1, 2)) for product in products], 1)
        mean, deviation, count = rows.moments(np.array_split(masks, 7), sums)
        assert count == 50
        np.testing.assert_allclose(mean, values.mean(0), atol=1e-12)
        np.testing.assert_allclose(deviation, values.std(0), atol=1e-7)


def test_checks_have_random_numbers_of_their_own():
    one, two, again = (
        np.concatenate([*QUICK.plans(check, Mixup(), 1, 1, 4000)])["lam"] for check in "aba"
    )
    assert len(one) == 200 and (one == again).all() and (one != two).any()


# --------------------------------------------------------------------------------------- command


def run(capsys, *arguments):
    code = cli.main(["selfcheck", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def verdicts(out):
    lines = [line for line in out.splitlines() if line.endswith(("  ok", "  FAIL"))]
    return {line[:58].rstrip(): line.split()[-1] for line in lines}


def test_passes(capsys):
    code, out, err = run(capsys, "--quick")
    found = verdicts(out)
    assert code == 0 and not err and set(found.values()) == {"ok"}
    assert re.split(r"\s+", out.splitlines()[0]) == "check expected measured sigma verdict".split()
    assert f"{len(found)} checks passed (seed 0, limit 5 sigma)" in out
    for what in (
        "coverage", "Figure 4", "E[1 - w]", "slope of the power", "arcsine", "changes", "nested",
        "multi-mix of cutmix: variance, K 5, lambdas of each batch", "lamix", "compact targets",
        "least cost",
    ):  # fmt: skip
        assert any(what in check for check in found), what


def test_is_a_function_of_the_seed(monkeypatch, capsys):
    monkeypatch.setattr(checks, "CHECKS", (checks.weights,))
    monkeypatch.setattr(fields, "CHECKS", (fields.regions,))
    monkeypatch.setattr(several, "CHECKS", (several.order,))
    monkeypatch.setattr(puzzles, "CHECKS", ())
    first, again, other = (run(capsys, "--quick", "--seed", seed)[1] for seed in "778")
    assert first == again != other.replace("seed 8", "seed 7")
    code, _, err = run(capsys, "--seed", "-1")
    assert code == 1 and "seed: expected 0 <= seed < 2**64, got -1" in err


def test_a_wrong_expectation_fails(monkeypatch, capsys):
    monkeypatch.setattr(puzzles, "CHECKS", ())
    monkeypatch.setattr(laws, "clipped_share", lambda n: 0.5)
    code, out, err = run(capsys, "--quick")
    failed = [check for check, verdict in verdicts(out).items() if verdict == "FAIL"]
    assert code == 1 and len(failed) == 2 and all("lam uniform" in check for check in failed)
    assert err.startswith("dali_msda selfcheck: 2 of ") and failed[0] in err


def nominal_label(plan):
    plan["weight"], plan["partner_weight"] = plan["lam"], 1 - plan["lam"]


def swapped_point(plan):
    """Where the point stays a pixel: others are refused before anything is measured."""
    swapped = plan["point"][:, :0:-1]
    stays = (swapped[:, 0] < plan["height"]) & (swapped[:, 1] < plan["width"])
    plan["point"][stays, 1:] = swapped[stays]


def one_pixel_more(plan):
    pixels = plan["height"] * plan["width"]
    plan["count"] += (plan["method"] == 3) & (plan["count"] < pixels - plan["soft"])


def off_by_one(plan):
    plan["x0"] += plan["x0"] < plan["x1"]


def below_the_peak(plan):
    plan["y1"] += plan["y1"] < plan["height"]


def another_field(plan):
    plan["decay"] += 0.5


def same_field(plan):
    plan["field_seed"] = plan["field_seed"][0]


def less_often(plan):
    plan["lam"] **= 2


def rising(plan):
    if plan.ndim > 1:
        plan["lam"] = plan["lam"][:, ::-1]


def other_boxes(plan):
    if plan.ndim > 1:
        plan["x0"][:, 1] += plan["x0"][:, 1] < plan["x1"][:, 1]


def own_lambdas(plan):
    if plan.ndim > 1:
        plan["lam"][1:] = np.random.default_rng(0).random(plan["lam"][1:].shape)


def average_label(plan):
    plan["weight"][plan["sources"] == 2] = plan["partner_weight"][plan["sources"] == 2] = 0.5


def pixels_by_lambda(plan):
    plan["inside"] = plan["outside"] = plan["lam"]


BUGS = {  # what is done to the records, and the rows that must notice
    nominal_label: (checks.masks, "cutmix, clip: w is the mean of the mask"),
    swapped_point: (checks.pairs_of_pixels, "gmix, exact: a_jk, 4x7"),
    off_by_one: (checks.coverage, "cutmix, inside: coverage, 4x4"),
    below_the_peak: (checks.around_peaks, "saliencymix: boxes around the peak"),
    one_pixel_more: (fields.counts, "fmix, paper: pixels of each mask"),
    another_field: (fields.slopes, "fmix: slope of the power, 2x2, decay 3"),
    same_field: (fields.stationary, "fmix, paper: E of every pixel"),
    less_often: (checks.lambdas, "mixup: moments of Beta(1, 1)"),
    rising: (several.nesting, "multi-mix of fmix: lambdas that rise"),
    other_boxes: (several.nesting, "multi-mix of hmix: boxes that are not nested"),
    own_lambdas: (several.order, "multi-mix, lambdas of each batch: slots"),
    average_label: (several.lamix, "lamix: labels are mixed by lambda"),
    pixels_by_lambda: (several.lamix, "lamix: pixels are half and half"),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_wrong_draw_fails(bug, monkeypatch, capsys):
    def wrong(*arguments, **keywords):
        plan = draw(*arguments, **keywords)
        bug(plan)
        return plan

    check, name = BUGS[bug]
    monkeypatch.setattr(checks, "CHECKS", (check,))
    for module in (fields, several, puzzles):
        monkeypatch.setattr(module, "CHECKS", ())
    assert run(capsys, "--quick")[0] == 0
    monkeypatch.setattr(rows, "draw", wrong)
    code, out, err = run(capsys, "--quick")
    failed = [check for check, verdict in verdicts(out).items() if verdict == "FAIL"]
    assert code == 1 and any(check.startswith(name) for check in failed), out
    assert "checks failed" in err


def test_a_wrong_mask_fails(monkeypatch):
    monkeypatch.setattr(rows, "mask", lambda plan, *size: mask(plan, *size)[:, :, ::-1])
    assert not all(row.passed for row in checks.coverage(QUICK))


KERNEL_BUGS = {  # file, right, wrong, and the row that must notice
    "swap x and y in GMix": (
        "msda/mask.h",
        "bump(p.falloff[1], row - p.point[1])",
        "bump(p.falloff[1], row - p.point[2])",
        "gmix, code: a_jk, 4x7",
    ),
    "forget the balance of the half spectrum": (
        "msda/field/field.h",
        "? a * 1.41421356f : a",
        "? a : a",
        "fmix: slope of the power, 1x4, decay 1.5",
    ),
    "count a pixel less": (
        "msda/draw/field.h",
        "p.count = static_cast<int32_t>(whole) + up;",
        "p.count = static_cast<int32_t>(whole > 1.0 ? whole - 1.0 : whole) + up;",
        "fmix, paper: pixels of each mask",
    ),
    "label from the nominal lambda": (
        "msda/draw/boxes.h",
        "set_weight(p, static_cast<float>(1.0 - draw_box(p, leaf.box, side_y, side_x, position)));",
        "draw_box(p, leaf.box, side_y, side_x, position), set_weight(p, p.lam);",
        "cutmix, clip: w is the mean of the mask",
    ),
    "draw all anew for each interpolation": (
        "msda/draw.h",
        "draw_record(p, leaf, unit, amounts[k],",
        "draw_record(p, leaf, {&draw, unit_identity + k, peak}, amounts[k],",
        "multi-mix of hmix: each is a mix of its own",
    ),
    "leave the lambdas unsorted": (
        "msda/draw.h",
        "for (; at > 0 && (is_tau",
        "for (; at > 64 && (is_tau",
        "multi-mix of mixup: lambdas that rise with k",
    ),
    "give each pair lambdas of its own": (
        "msda/draw.h",
        "draw.shared ? identity_of(draw, 0) : unit_identity",
        "unit_identity",
        "multi-mix of mixup: variance, K 5, lambdas of each batch",
    ),
    "mix LaMix's pixels by lambda": (
        "msda/draw.h",
        "leaf.mode == kMixupAverage ? 0.5f : p.lam",
        "p.lam",
        "lamix: pixels are half and half",
    ),
    "leave half and half out of Puzzle Mix's prior": (
        "msda/puzzle/cut.h",
        "(leaves - enters) * prior.between;",
        "(enters - leaves) * prior.between;",
        "puzzle mix, usual: least cost, 3x3, 3 levels",
    ),
}


SEEDED = {
    "api.cpp",
    "draw.cpp",
    "field.cpp",
    "fmix_masks.cpp",
    "solve.cpp",
}  # which have those headers


def seeded_library(folder):
    """The kernels with all these bugs at once; what they leave alone is the right library's."""
    kernels = shutil.copytree(build.KERNELS, folder / "kernels")
    for file, right, wrong, _ in KERNEL_BUGS.values():
        path = kernels / file
        assert path.read_text().count(right) == 1, right
        path.write_text(path.read_text().replace(right, wrong))
    objects, compiler = [], shlex.split(os.environ.get("CXX") or "g++")
    for number, unit in enumerate(build.units("cpu")):
        if unit.source.name in SEEDED:
            source = kernels / unit.source.relative_to(build.KERNELS)
            objects.append(folder / f"{number}.o")
            flags = [*unit.flags.split(), "-O1", f"-I{kernels}", "-c", source, "-o", objects[-1]]
            subprocess.run([*compiler, *flags], check=True)
    library, rest = folder / "seeded.so", build.library("cpu")
    how = [*build.LINK.split(), *objects, rest, f"-Wl,-rpath,{rest.parent}", "-o", library]
    subprocess.run([*compiler, *how], check=True)
    return library


def test_wrong_kernels_fail(tmp_path):
    """In a process of its own, which loads these kernels in place of the right ones."""
    code = f"""if True:
        import pathlib, sys
        from dali_msda import build
        build.library = lambda name: pathlib.Path({str(seeded_library(tmp_path))!r})
        from dali_msda.commands import cli
        sys.exit(cli.main(["selfcheck", "--quick"]))
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    failed = [check for check, verdict in verdicts(done.stdout).items() if verdict == "FAIL"]
    assert done.returncode == 1, done.stderr
    for bug, (*_, name) in KERNEL_BUGS.items():
        assert any(check.startswith(name) for check in failed), bug


# ---------------------------------------------------------------------------------------- figure


def test_the_figure_needs_matplotlib(monkeypatch, capsys, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    code, out, err = run(capsys, "--quick", "--plot", str(tmp_path / "figure.png"))
    assert code == 1 and not out and "pip install matplotlib" in err
    assert not (tmp_path / "figure.png").exists()


def test_the_figure_needs_a_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    code, _, err = run(capsys, "--quick", "--plot", str(tmp_path / "none" / "figure.png"))
    assert code == 1 and "plot: expected a file in an existing folder" in err


def test_panels_are_measured_beside_theory():
    shown = {name: (theory, measured) for name, theory, measured in command.panels(QUICK)}
    assert set(shown) >= {*checks.FIGURE, "gmix, exact", "resizemix", "stochastic", "fmix"}
    assert len(shown) % 2 == 0  # two bands of one length
    for name, (theory, measured) in shown.items():
        assert theory.shape == measured.shape == (65, 65)
        assert np.abs(theory - measured).max() < 0.15, name


def test_the_figure_is_drawn(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    for module in (checks, fields, several, puzzles):
        monkeypatch.setattr(module, "CHECKS", ())
    code, out, _ = run(capsys, "--quick", "--plot", str(tmp_path / "figure.png"))
    assert code == 0 and "figure.png: Figure 4" in out
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
