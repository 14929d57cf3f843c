"""What the README says is true: its code runs, its table is the table of methods."""

import re
from pathlib import Path

import pytest

from dali_msda.methods import METHODS

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_code_runs(code):
    exec(compile(code, "README.md", "exec"), {})


def test_there_is_code():
    assert len(BLOCKS) == 2


def test_table_of_methods():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in README.split("## Methods")[1].split("##")[0].splitlines()
        if line.startswith("| [")
    ]
    expected = []
    for method in METHODS.values():
        identifier = method.paper.split("arXiv:")[1]
        expected.append(
            [
                f"[{method.policy}](https://arxiv.org/abs/{identifier})",
                f"`{method.policy}`",
                method.own_weight,
                method.label_weight,
                method.deviations,
            ]
        )
    assert rows == expected
