"""What the README says is true: its code runs, its table is the table of methods."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from host_gpu import HostArray, install

from dali_msda.methods import METHODS

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


GPU = [code for code in BLOCKS if "cupy" in code]


@pytest.mark.parametrize("code", [code for code in BLOCKS if code not in GPU], ids=range(3))
def test_code_runs(code):
    if "ffcv" in code:
        pytest.importorskip("ffcv")
    exec(compile(code, "README.md", "exec"), {})


class HostCupy:
    """As much of CuPy as the README uses, in CPU memory."""

    uint8, float16 = "uint8", "float16"
    zeros, empty, arange = (
        staticmethod(lambda *how, make=make: HostArray(make(*how)))
        for make in (np.zeros, np.empty, np.arange)
    )


def test_code_for_a_gpu_runs(monkeypatch):
    (code,) = GPU
    device, names = install(monkeypatch), {}
    monkeypatch.setitem(sys.modules, "cupy", HostCupy)
    exec(compile(code, "README.md", "exec"), names)
    assert device.launched == ["msda_field_masks", "msda_blend_uint8_float16",
                               "msda_targets_dense_int64"]  # fmt: skip
    assert names["targets"].shape == (8, 1000)


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
