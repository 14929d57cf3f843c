"""The recipes: each trains for two epochs on a few pictures, and its changed lines are counted."""

import importlib
import math
import re
from pathlib import Path

import pytest
import torch

from dali_msda.pipelines.write_beton import write_beton
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.support.coloured_folders import encoded, write_folder, write_shard

declare_operators()
ROOT = Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "pipelines/recipes").glob("*_train.py"))}
NEEDS = dict(
    timm_train="timm",
    accelerate_train="accelerate",
    dali_train="nvidia.dali.plugin.pytorch",
    dali_proxy_train="nvidia.dali.plugin.pytorch",
    ffcv_train="ffcv",
    huggingface_train="datasets",
    jax_train="jax",
    lightning_train="lightning",
    stateful_train="torchdata.stateful_dataloader",
    webdataset_train="webdataset",
)
TABLE = dict(
    re.findall(
        r"^\| .*\[`\w+`\]\(recipes/(\w+)\.py\).* \| (\d+) \|$",
        (ROOT / "pipelines/README.md").read_text(),
        re.M,
    )
)


def test_every_recipe_is_in_the_table():
    assert set(TABLE) == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_changed_lines_are_counted(name):
    assert len(re.findall(r"  # changed(:.*)?$", RECIPES[name].read_text(), re.M)) == int(
        TABLE[name]
    )


SLOW = {"ffcv_train"}  # its process compiles all of FFCV's operations


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in RECIPES],
)
def test_a_recipe_trains(name, tmp_path, monkeypatch):
    pytest.importorskip(NEEDS.get(name, "torchvision"))
    if name == "dali_proxy_train":
        let_the_proxy_run(monkeypatch)
    write_folder(tmp_path / "train", [4, 4])
    small = dict(model="shufflenet_v2_x0_5", size=32, batch=4, workers=0, epochs=2, device="cpu")
    if name == "timm_train":
        small["model"] = "test_resnet"
    if name == "jax_train":
        del small["model"]  # it has its own
    if name in ("dali_train", "jax_train", "dali_proxy_train", "ffcv_train"):
        small["workers"] = 1
    if name in ("webdataset_train", "ffcv_train"):
        small["classes"] = 2
    if name == "webdataset_train":
        pictures = [(encoded(k % 2, k), b"01"[k % 2 :][:1]) for k in range(8)]
        write_shard(tmp_path / "train" / "0.tar", pictures)
    if name == "ffcv_train":
        write_beton(tmp_path / "train", tmp_path / "train.beton", workers=1)
    torch.manual_seed(0)
    main = importlib.import_module(f"dali_msda.pipelines.recipes.{name}").main
    options = [f"--{option}={value}" for option, value in small.items()]
    assert math.isfinite(main([str(tmp_path), *options]))


def let_the_proxy_run(monkeypatch):
    """Without the marks for a profiler, which take torch for CUDA, and without 5 s at its end."""
    from nvidia.dali.plugin.pytorch.experimental.proxy import DALIServer

    for mark in ("range_push", "range_pop"):
        monkeypatch.setattr(torch.cuda.nvtx, mark, lambda *_: 0)
    waits = DALIServer._get_input_batches
    monkeypatch.setattr(
        DALIServer,
        "_get_input_batches",
        lambda self, most, timeout=None: waits(self, most, timeout and 0.1),
    )
