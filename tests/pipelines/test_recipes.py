"""The recipes: each trains for two epochs on a few pictures, and its changed lines are counted."""

import importlib
import re
from pathlib import Path

import pytest
import torch

from dali_msda.pipelines.recipes import command
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.support.coloured_folders import write_folder

declare_operators()
ROOT = Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "pipelines/recipes").glob("*_*.py"))}
RECIPES.pop("__init__", None)
NEEDS = {"timm_train": "timm", "accelerate_train": "accelerate", "lightning_train": "lightning"}
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
    assert len(re.findall(r"  # changed$", RECIPES[name].read_text(), re.M)) == int(TABLE[name])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(name, tmp_path):
    pytest.importorskip(NEEDS.get(name, "torchvision"))
    write_folder(tmp_path / "train", [4, 4])
    train = importlib.import_module(f"dali_msda.pipelines.recipes.{name}").train
    model = "test_resnet" if name == "timm_train" else "shufflenet_v2_x0_5"
    torch.manual_seed(0)
    small = dict(model=model, size=32, batch=4, workers=0, epochs=2, device="cpu")
    options = [f"--{option}={value}" for option, value in small.items()]
    assert 0 < command.run(train, [str(tmp_path), *options]) < 5
