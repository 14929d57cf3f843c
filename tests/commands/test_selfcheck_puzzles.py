"""The self-check's rows of Puzzle Mix fail where what was found is changed."""

import pytest

from dali_msda.puzzle import solve
from dali_msda.selfcheck import command, puzzles, rows

QUICK = rows.Run(seed=0, share=command.QUICK)


def other_block(found):
    found.cells[..., 0, 0, 0] = 2 - found.cells[..., 0, 0, 0]


def nominal_weight(found):
    found.plan["weight"] = found.plan["lam"]
    found.plan["partner_weight"] = 1 - found.plan["lam"]


def last_first(found):
    found.cells[:] = found.cells[:, ::-1].copy()


@pytest.mark.parametrize(
    "bug, check, name",
    [
        (other_block, puzzles.optimality, "puzzle mix, usual: least cost, 2x2, 3 levels"),
        (nominal_weight, puzzles.weights, "puzzle mix, 4x4: w is the mean of the mask"),
        (last_first, puzzles.weights, "puzzle mix, 8x8: own weights that rise with k"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_puzzle_fails(bug, check, name, monkeypatch):
    def wrong(*arguments, **keywords):
        found = solve(*arguments, **keywords)
        bug(found)
        return found

    monkeypatch.setattr(puzzles.puzzle, "solve", wrong)
    monkeypatch.setattr(puzzles, "GRIDS", [(2, 3)])
    failed = {row.check for row in check(QUICK) if not row.passed}
    assert name in failed
