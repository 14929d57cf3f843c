"""What the README says is true: its code runs, its table is the table of methods."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dali_msda.policy import METHODS
from tests.cuda.host_gpu import HostArray, install

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


GPU = [code for code in BLOCKS if "cupy" in code]
LIGHTNING = [code for code in BLOCKS if "import lightning" in code]
PLAIN = [code for code in BLOCKS if code not in GPU + LIGHTNING]


@pytest.mark.parametrize("code", PLAIN, ids=range(4))
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


def test_code_for_lightning_runs(monkeypatch):
    """With as much of Lightning as calls the hooks."""
    (code,) = LIGHTNING
    names = {}
    module = SimpleNamespace(LightningModule=type("LightningModule", (), {}))
    monkeypatch.setitem(sys.modules, "lightning", module)
    exec(compile(code, "README.md", "exec"), names)
    ours, batch = names["Mixed"](), (torch.rand(4, 3, 8, 8), torch.arange(4))
    ours.trainer = SimpleNamespace(training=False)
    assert ours.on_after_batch_transfer(batch, 0) is batch
    ours.trainer.training = True
    images, targets = ours.on_after_batch_transfer(batch, 0)
    assert images.shape == batch[0].shape and targets.shape == (4, 1000)
    checkpoint = {}
    ours.on_save_checkpoint(checkpoint)
    want = ours.on_after_batch_transfer(batch, 0)
    ours.on_load_checkpoint(checkpoint)
    assert torch.equal(ours.on_after_batch_transfer(batch, 0)[1], want[1])


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
